package proxy

import (
	"slices"
	"strings"
	"testing"
)

// Each link of a Link header is judged by itself.
//
// Case P2.
func TestLinksLeadThroughTheSidecar(t *testing.T) {
	eitherWay(t)
	x := asked(t, redirects(t), "/alpha/a/b?q", "")
	for _, c := range []struct{ lines, want []string }{
		{[]string{`</v1/x>; rel="next"`}, []string{`</alpha/x>; rel="next"`}},
		{[]string{`<c>;rel=next,<?page=2>`}, []string{`</alpha/a/c>;rel=next, </alpha/a/b?page=2>`}},
		{[]string{`</v1/x>`, `<https://api.example/v1/y>`}, []string{`</alpha/x>`, `</alpha/y>`}},
		{[]string{`<https://other.example/x>;  rel = next ,<mailto:a@b.example>`}, []string{`<https://other.example/x>;  rel = next ,<mailto:a@b.example>`}},
		{[]string{`<>; rel=self, <#a>`}, []string{`<>; rel=self, <#a>`}},
		{[]string{` , </v1/x> ,, ;`}, nil},
		{[]string{`, </v1/x>,,`}, []string{`</alpha/x>`}},
		{[]string{``, ` , `}, nil},
		{[]string{`</v1/a,b;c=d>; rel=next`}, []string{`</alpha/a,b;c=d>; rel=next`}},
		{[]string{`< /v1/x >; rel=next`}, []string{`</alpha/x>; rel=next`}},
		{[]string{`</elsewhere>`, `<//other.example/>`}, []string{`<https://api.example/elsewhere>`, `<https://other.example/>`}},
		{[]string{`</v1/x>; rel; title*=UTF-8''%e2%82%ac; media=a/b; x=`}, []string{`</alpha/x>; rel; title*=UTF-8''%e2%82%ac; media=a/b; x=`}},
		// A refused one goes alone.
		{[]string{`</v1/x>; rel=a, </beta/x>; rel=b; title="x, y", <https://other.example/>; rel=c`}, []string{`</alpha/x>; rel=a, <https://other.example/>; rel=c`}},
		{[]string{`<http://localhost/x>; rel=next`, `</v1/~bob>`, `</v1/x>`}, []string{`</alpha/x>`}},
		{[]string{`</beta/x>`, `<a\b>`}, nil},
		// Quotes hide commas, semicolons and what looks like a link.
		{[]string{`</v1/x>; title="a, b; c=\"d\" \\", </v1/y>`}, []string{`</alpha/x>; title="a, b; c=\"d\" \\", </alpha/y>`}},
		{[]string{`</v1/x>; title="a, <http://localhost/beta>; rel=next"`}, []string{`</alpha/x>; title="a, \<http://localhost/beta\>; rel=next"`}},
		{[]string{`<https://other.example/>; title="\<a\>"`}, []string{`<https://other.example/>; title="\<a\>"`}},
		{[]string{`<https://other.example/>; title="<a>"`}, []string{`<https://other.example/>; title="\<a\>"`}},
		// What is not well-formed goes, with its line.
		{[]string{`/v1/x`, `</v1/x`, `</v1/x> rel=next`, `</v1/x>; title="a`, `</v1/x>; title="a\"`, `</v1/x>; title=a"b,c"`, `</v1/x>; title="a"b`,
			`</v1/x>; "a"`, `</v1/x>; a=<b>`, `</v1/x></v1/y>`, `<</v1/x>>`, `</v1/<x>`, `</v1/x>; a=b\`, `a, </v1/x>`, `</v1/x>; a="b" c`, `<`, `>`, `"`, `;`}, nil},
		{[]string{`</v1/x>, y`, `</v1/y>`}, []string{`</alpha/y>`}},
	} {
		if got := x.rewriteLinks(c.lines); !slices.Equal(got, c.want) {
			t.Errorf("%q became %q, want %q", c.lines, got, c.want)
		}
	}
}

// Links cannot be made to cost more than their number warrants.
//
// Case P2.
func TestLinksAreBounded(t *testing.T) {
	eitherWay(t)
	p := redirects(t)
	many := strings.Repeat("<c>,", 20_000)
	for n, want := range map[int]bool{1000: true, 20_000: false} {
		x := asked(t, p, "/alpha/"+strings.Repeat("a", 40)+"/b", "")
		if got := x.rewriteLinks([]string{many[:4*n]}); (len(got) == 1) != want {
			t.Errorf("%d links became %d lines", n, len(got))
		}
	}
	long := asked(t, p, "/alpha/"+strings.Repeat("a", 32<<10)+"/b", "")
	if got := long.rewriteLinks([]string{many[:4*7]}); len(got) != 1 {
		t.Errorf("seven links of a long path became %d lines", len(got))
	}
	if got := long.rewriteLinks([]string{many}); got != nil {
		t.Errorf("many links of a long path became %d bytes", len(strings.Join(got, "")))
	}
}
