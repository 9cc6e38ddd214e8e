// Release makes the files of a release from the source that it lies in: archives, packages for
// Debian and for systems with rpm, bills of material, the chart, the image and the checksums. The
// same source, time and version of Go give the same bytes, whoever makes them. It is a module of its
// own so that its libraries stay out of the program's go.mod.
//
// main.go reads the command line; release.go says what is made, in which order, and from which
// version and time; program.go builds the program; sbom.go writes down its modules; linuxpackage.go
// makes the packages; chart.go packages the chart; image.go makes the image; archive.go writes the
// archives of them all. names.go has what all of these share: what a release is, and how its files are called.
//
// Usage: release -version v1.2.3 -out DIR [-image]
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	version := flag.String("version", "", "the version, such as v1.2.3 or v1.2.3-rc.1")
	out := flag.String("out", "", "the directory for the files; files of an earlier release in it are removed")
	image := flag.Bool("image", false, "fail if the image cannot be made")
	flag.Parse()
	if err := run(*version, *out, *image); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(version, out string, image bool) error {
	r, err := newRelease(version, out, targets)
	if err != nil {
		return err
	}
	return r.make(image)
}
