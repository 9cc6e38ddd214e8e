// Structure checks that each package can be read from its first file to its last, and
// that nothing in it is too long to be kept in mind.
//
// The package comment names the files in their order. What a file uses should be declared
// in a file that is named later, so that a reader meets a call first and then what is
// called. It counts every use, in one file, of a function, method, type, variable or
// constant that another file of the package declares. A package in which fewer than 95 of
// 100 uses point to a later file fails, and so does one whose comment leaves a file out.
// A method's own receiver is not a use: it only says to what the method belongs. Nor is
// a field: fields are declared with their type, which counts wherever it is named.
// Files for other systems than this one are counted on those.
//
// A file may have 300 lines and a function 50; files of tests may be longer.
//
// Usage: structure [-v] packages
package main

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const (
	least        = 95  // of 100 uses must point to a file that is named later
	fileLines    = 300 // at most
	functionSize = 50  // lines at most
)

// listed is what the go command tells of a package.
type listed struct {
	ImportPath, Dir, Export, Doc string
	GoFiles                      []string
	DepOnly                      bool
}

func main() {
	verbose := flag.Bool("v", false, "print every use that points to an earlier file")
	flag.Parse()
	packages, err := list(flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "structure:", err)
		os.Exit(2)
	}
	failed := false
	for _, p := range packages {
		if p.DepOnly {
			continue
		}
		faults, err := check(p, packages, *verbose)
		if err != nil {
			fmt.Fprintln(os.Stderr, "structure:", err)
			os.Exit(2)
		}
		for _, fault := range faults {
			fmt.Printf("%s: %s\n", p.ImportPath, fault)
			failed = true
		}
	}
	if failed {
		os.Exit(1)
	}
}

// list returns the packages that the patterns name, and all that they import.
func list(patterns []string) (map[string]*listed, error) {
	command := exec.Command("go", append([]string{"list", "-export", "-deps",
		"-json=ImportPath,Dir,Export,Doc,GoFiles,DepOnly"}, patterns...)...)
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("list packages: %w", err)
	}
	packages := map[string]*listed{}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		p := new(listed)
		if err := decoder.Decode(p); err == io.EOF {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the list of packages: %w", err)
		}
		packages[p.ImportPath] = p
	}
}

// use is one file that uses what another declares.
type use struct{ from, to, name string }

// check returns what is wrong with p.
func check(p *listed, packages map[string]*listed, verbose bool) (faults []string, err error) {
	set := token.NewFileSet()
	var files []*ast.File
	comment := ""
	for _, name := range p.GoFiles {
		file, err := parser.ParseFile(set, filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
		comment += file.Doc.Text()
		faults = append(faults, tooLong(set, file)...)
	}
	if len(files) == 1 {
		return faults, nil
	}
	place := map[string]int{} // of each file in the package comment
	for _, name := range p.GoFiles {
		at := regexp.MustCompile(`(^|[\s(])` + regexp.QuoteMeta(name)).FindStringIndex(comment)
		if at == nil {
			faults = append(faults, "the package comment does not name "+name)
			continue
		}
		place[name] = at[0]
	}
	uses, err := between(p, files, set, packages)
	if err != nil {
		return nil, err
	}
	later, all := 0, 0
	earlier := map[use]int{}
	for u, n := range uses {
		all += n
		if place[u.from] < place[u.to] {
			later += n
		} else {
			earlier[u] = n
		}
	}
	if verbose {
		for _, u := range slices.SortedFunc(maps.Keys(earlier), func(a, b use) int {
			return cmp.Or(cmp.Compare(earlier[b], earlier[a]), cmp.Compare(a.from+a.to+a.name, b.from+b.to+b.name))
		}) {
			fmt.Printf("%s: %s uses %s of %s, %d times\n", p.ImportPath, u.from, u.name, u.to, earlier[u])
		}
		fmt.Printf("%s: %d of %d uses point to a later file\n", p.ImportPath, later, all)
	}
	if 100*later < least*all {
		faults = append(faults, fmt.Sprintf("%d of %d uses between files point to a file that the package comment names later; at least %d of 100 should (-v lists the others)", later, all, least))
	}
	return faults, nil
}

// tooLong names the file, and its functions, if they have too many lines.
func tooLong(set *token.FileSet, file *ast.File) (faults []string) {
	lines := func(n ast.Node) int { return set.Position(n.End()).Line - set.Position(n.Pos()).Line + 1 }
	if at := set.Position(file.FileEnd); at.Line > fileLines+1 {
		faults = append(faults, fmt.Sprintf("%s has %d lines; at most %d", filepath.Base(at.Filename), at.Line-1, fileLines))
	}
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && lines(f) > functionSize {
			faults = append(faults, fmt.Sprintf("%s has %d lines; at most %d", f.Name.Name, lines(f), functionSize))
		}
	}
	return faults
}

// between counts the uses between the files of p.
func between(p *listed, files []*ast.File, set *token.FileSet, packages map[string]*listed) (map[use]int, error) {
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	config := types.Config{Importer: importer.ForCompiler(set, "gc", func(path string) (io.ReadCloser, error) {
		if packages[path] == nil {
			return nil, fmt.Errorf("package %s is not in the list", path)
		}
		return os.Open(packages[path].Export)
	})}
	own, err := config.Check(p.ImportPath, set, files, info)
	if err != nil {
		return nil, err
	}
	receivers := map[*ast.Ident]bool{}
	for _, file := range files {
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv != nil {
				ast.Inspect(f.Recv, func(n ast.Node) bool {
					if id, ok := n.(*ast.Ident); ok {
						receivers[id] = true
					}
					return true
				})
			}
		}
	}
	uses := map[use]int{}
	for id, object := range info.Uses {
		if object.Pkg() != own || receivers[id] || !counts(object, own) {
			continue
		}
		u := use{filepath.Base(set.Position(id.Pos()).Filename), filepath.Base(set.Position(object.Pos()).Filename), id.Name}
		if u.from != u.to {
			uses[u]++
		}
	}
	return uses, nil
}

// counts reports whether a use of object tells where a reader goes next.
func counts(object types.Object, own *types.Package) bool {
	if f, ok := object.(*types.Func); ok && f.Signature().Recv() != nil {
		return true
	}
	return object.Parent() == own.Scope()
}
