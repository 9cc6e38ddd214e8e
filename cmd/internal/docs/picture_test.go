package docs

import (
	"bufio"
	"fmt"
	"html"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// box is a thing in the picture: a field of the grid with two lines of text.
type box struct {
	column, row int
	lines       []string
}

// arrow leads from one box to another.
type arrow struct {
	from, to string
	bothWays bool
	lines    []string
}

// picture is what docs/picture.txt says.
type picture struct {
	title, desc string
	names       []string // of boxes, in their order
	boxes       map[string]box
	frame       [2]string // the first and the last box in the frame
	frameLabel  string
	arrows      []arrow
}

// parsePicture reads the lines of a picture. Each begins with what it is about.
func parsePicture(text string) (picture, error) {
	p := picture{boxes: map[string]box{}}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		word, rest, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		rest = strings.TrimSpace(rest)
		fields := strings.Fields(rest)
		switch {
		case word == "" || strings.HasPrefix(word, "#"):
		case word == "title":
			p.title = rest
		case word == "desc":
			p.desc = rest
		case word == "box" && len(fields) > 3:
			column, err := strconv.Atoi(fields[1])
			if err != nil {
				return p, err
			}
			row, err := strconv.Atoi(fields[2])
			if err != nil {
				return p, err
			}
			p.names = append(p.names, fields[0])
			p.boxes[fields[0]] = box{column, row, labelOf(fields[3:])}
		case word == "frame" && len(fields) > 2:
			p.frame = [2]string{fields[0], fields[1]}
			p.frameLabel = strings.Join(fields[2:], " ")
		case word == "arrow" && len(fields) > 3:
			p.arrows = append(p.arrows, arrow{from: fields[0], bothWays: fields[1] == "<->", to: fields[2], lines: labelOf(fields[3:])})
		default:
			return p, fmt.Errorf("not understood: %s", lines.Text())
		}
	}
	for _, a := range p.arrows {
		for _, name := range []string{a.from, a.to} {
			if _, ok := p.boxes[name]; !ok {
				return p, fmt.Errorf("an arrow names %s, which is no box", name)
			}
		}
	}
	return p, nil
}

// labelOf divides words into lines at the bars between them.
func labelOf(words []string) []string {
	return strings.Split(strings.Join(words, " "), " | ")
}

// Sizes in pixels. The picture is 700 wide, as README shows it.
const (
	boxWidth, boxHeight = 164, 58
	stepX, stepY        = 252, 104
	marginX, marginY    = 16, 34
	lineHeight          = 16
)

func (b box) x() int       { return marginX + b.column*stepX }
func (b box) y() int       { return marginY + b.row*stepY }
func (b box) centreX() int { return b.x() + boxWidth/2 }
func (b box) centreY() int { return b.y() + boxHeight/2 }

// colours are those of one scheme.
type colours struct{ paper, box, edge, text, quiet, accent, accentText string }

var (
	light = colours{"#ffffff", "#f6f8fa", "#8c959f", "#1f2328", "#57606a", "#0a5c6b", "#ffffff"}
	dark  = colours{"#0d1117", "#161b22", "#6e7681", "#e6edf3", "#9198a1", "#2fb3c6", "#04222a"}
)

// svg draws the picture.
func (p picture) svg(c colours) string {
	var b strings.Builder
	rows, columns := 0, 0
	for _, x := range p.boxes {
		rows, columns = max(rows, x.row), max(columns, x.column)
	}
	width, height := 2*marginX+columns*stepX+boxWidth, marginY+rows*stepY+boxHeight+marginX
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="title desc" font-family="system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif">`+"\n",
		width, height, width, height)
	fmt.Fprintf(&b, "<title id=\"title\">%s</title>\n<desc id=\"desc\">%s</desc>\n", html.EscapeString(p.title), html.EscapeString(p.desc))
	fmt.Fprintf(&b, `<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto-start-reverse"><path d="M0 1 9 5 0 9z" fill="%s"/></marker></defs>`+"\n", c.text)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" rx="8" fill="%s"/>`+"\n", width, height, c.paper)
	p.drawFrame(&b, c)
	for _, a := range p.arrows {
		p.drawArrow(&b, c, a)
	}
	for _, name := range p.names {
		fill, edge, text, quiet := c.box, c.edge, c.text, c.quiet
		if name == "sidecar" {
			fill, edge, text, quiet = c.accent, c.accent, c.accentText, c.accentText
		}
		x := p.boxes[name]
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d" rx="8" fill="%s" stroke="%s" stroke-width="1.5"/>`+"\n", x.x(), x.y(), boxWidth, boxHeight, fill, edge)
		write(&b, x.centreX(), x.y()+25, "middle", `font-size="15" font-weight="600"`, text, x.lines[0])
		for i, line := range x.lines[1:] {
			write(&b, x.centreX(), x.y()+44+i*lineHeight, "middle", `font-size="13"`, quiet, line)
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// drawFrame draws what two boxes are in.
func (p picture) drawFrame(b *strings.Builder, c colours) {
	first, last := p.boxes[p.frame[0]], p.boxes[p.frame[1]]
	const space = 6
	x, y := first.x()-space, first.y()-24
	width, height := last.x()+boxWidth+space-x, last.y()+boxHeight+space-y
	fmt.Fprintf(b, `<rect x="%d" y="%d" width="%d" height="%d" rx="10" fill="none" stroke="%s" stroke-dasharray="4 4"/>`+"\n", x, y, width, height, c.edge)
	write(b, x+10, y+16, "start", `font-size="13"`, c.quiet, p.frameLabel)
}

// drawArrow draws one arrow, with its label beside it.
func (p picture) drawArrow(b *strings.Builder, c colours, a arrow) {
	from, to := p.boxes[a.from], p.boxes[a.to]
	start := ""
	if a.bothWays {
		start = ` marker-start="url(#tip)"`
	}
	path, x, y, anchor := "", 0, 0, "middle"
	switch {
	case from.row == to.row:
		x1, x2 := from.x()+boxWidth+3, to.x()-3
		path = fmt.Sprintf("M%d %dH%d", x1, from.centreY(), x2)
		x, y = (x1+x2)/2, from.centreY()-8
	case from.column == to.column:
		path = fmt.Sprintf("M%d %dV%d", from.centreX(), from.y()+boxHeight+3, to.y()-3)
		x, y, anchor = from.centreX()+12, (from.y()+boxHeight+to.y())/2+10, "start"
	default: // up from the middle, then to the right
		path = fmt.Sprintf("M%d %dV%dH%d", from.centreX(), from.y()-3, to.centreY(), to.x()-3)
		x, y = (from.centreX()+to.x())/2, to.centreY()-8
	}
	fmt.Fprintf(b, `<path d="%s" fill="none" stroke="%s" stroke-width="1.5" marker-end="url(#tip)"%s/>`+"\n", path, c.text, start)
	write(b, x, y, anchor, `font-size="13"`, c.text, a.lines[0])
	for i, line := range a.lines[1:] { // below the arrow
		write(b, x, y+26+i*lineHeight, anchor, `font-size="13"`, c.text, line)
	}
}

// write writes one line of text.
func write(b *strings.Builder, x, y int, anchor, font, colour, text string) {
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="%s" %s fill="%s">%s</text>`+"\n", x, y, anchor, font, colour, html.EscapeString(text))
}

// TestPictureIsDrawnFromItsText writes or compares the two pictures of README.
func TestPictureIsDrawnFromItsText(t *testing.T) {
	const dir = "../../../docs"
	text, err := os.ReadFile(filepath.Join(dir, "picture.txt"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := parsePicture(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if p.title == "" || p.desc == "" || len(p.boxes) < 5 || len(p.arrows) < 4 {
		t.Fatalf("the text lacks something: %+v", p)
	}
	for name, c := range map[string]colours{"picture.svg": light, "picture-dark.svg": dark} {
		file := filepath.Join(dir, name)
		if *update {
			if err := os.WriteFile(file, []byte(p.svg(c)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != p.svg(c) {
			t.Errorf("docs/%s is not what docs/picture.txt says (%v); run: go test ./cmd/internal/docs -run Picture -update", name, err)
		}
	}
}
