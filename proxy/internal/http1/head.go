package http1

import (
	"bytes"
	"net/url"
	"strings"
)

// Head is the head of a request. Its strings are parts of one, which Parse makes.
type Head struct {
	Method string
	Target string  // as it came
	Host   string  // "" if there is none, as in HTTP/1.0
	Fields []Field // all but Host, in their order

	Plain   bool  // every reader reads the head alike
	Length  int64 // of the body in bytes, if that is not in chunks
	Chunked bool  // the body is in chunks (RFC 9112 section 7.1)
	Expects bool  // the app waits for an answer of 100 before it sends the body
	Close   bool  // Connection has the option close (RFC 9112 section 9.6)

	minor   byte // of the version, whose major is 1
	hosts   int  // fields that are called so
	lengths int
	codings int
}

// Field is one field line (RFC 9112 section 5).
type Field struct {
	Name  string // as it came
	Value string // without the white space around it
}

// Find looks for the end of the head that b begins with, and returns its length with the empty
// line that ends it. The length is 0 if the end has not come yet; of that, from bytes were looked
// at before. It fails with a *Fault as soon as it sees that no head of HTTP begins there, or that a
// line ends otherwise than with CRLF.
func Find(b []byte, from int) (length int, err error) {
	if len(b) > 0 && classes[b[0]]&inToken == 0 {
		return 0, errStart
	}
	for {
		i := bytes.IndexByte(b[from:], '\n')
		if i < 0 {
			if len(b) >= MaxHead {
				return 0, errTooLarge
			}
			return 0, nil
		}
		i += from
		if i+1 > MaxHead {
			return 0, errTooLarge
		}
		if b[i-1] != '\r' { // there is one: the first byte is no line break
			return 0, errLineEnd
		}
		if b[i-2] == '\n' {
			return i + 1, nil
		}
		from = i + 1
	}
}

// Parse reads a head, of the length that Find has returned. It allocates one string, and what
// Fields does not have room for. If it fails, with a *Fault, h is of no use.
func (h *Head) Parse(head []byte) error {
	*h = Head{Fields: h.Fields[:0], Plain: true}
	line, rest, _ := strings.Cut(string(head), "\r\n")
	if err := h.parseLine(line); err != nil {
		return err
	}
	for rest != "\r\n" {
		line, rest, _ = strings.Cut(rest, "\r\n")
		if err := h.parseField(line); err != nil {
			return err
		}
	}
	return h.judge()
}

// plainMethods are those of which every server knows whether they may have a body.
func plainMethod(method string) bool {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return true
	}
	return false
}

// parseLine reads the request line (RFC 9112 section 3).
func (h *Head) parseLine(line string) error {
	method, rest, _ := strings.Cut(line, " ")
	target, version, ok := strings.Cut(rest, " ")
	if !ok || method == "" || !all(method, inToken) || target == "" {
		return errRequestLine
	}
	h.Method, h.Target = method, target
	if len(version) != len("HTTP/1.1") || version[:5] != "HTTP/" || version[6] != '.' || !all(version[5:6]+version[7:], isDigit) {
		return errRequestLine
	}
	if version[5] != '1' {
		return errVersion
	}
	h.minor = version[7] - '0'
	h.Plain = h.minor == 1 && plainMethod(method)
	return h.checkTarget()
}

// checkTarget refuses a target that net/http would not read.
func (h *Head) checkTarget() error {
	target := h.Target
	if !none(target, isControl) {
		return errTarget
	}
	if target[0] == '/' && all(target, inTarget) {
		path, _, _ := strings.Cut(target, "?")
		for i := strings.IndexByte(path, '%'); i >= 0; i = strings.IndexByte(path, '%') {
			if len(path) < i+3 || !all(path[i+1:i+3], isHex) {
				return errTarget
			}
			path = path[i+3:]
		}
		return nil
	}
	h.Plain = false
	if query := strings.IndexByte(target, '?'); query >= 0 && strings.IndexByte(target[query:], '#') >= 0 {
		return errTarget // a fragment is not sent (RFC 9112 section 3.2)
	}
	if h.Method == "CONNECT" && target[0] != '/' {
		target = "http://" + target
	}
	if _, err := url.ParseRequestURI(target); err != nil {
		return errTarget
	}
	return nil
}

// parseField reads one field line of the head.
func (h *Head) parseField(line string) error {
	f, plain, err := cutField(line)
	if err != nil {
		return err
	}
	h.Plain = h.Plain && plain
	return h.take(f)
}

// cutField reads a field line (RFC 9112 section 5), and reports whether that is plain.
func cutField(line string) (f Field, plain bool, err error) {
	if line[0] == ' ' || line[0] == '\t' {
		return f, false, errFold
	}
	colon := 0
	for colon < len(line) && classes[line[colon]]&inName != 0 {
		colon++
	}
	plain = true
	if colon == len(line) || line[colon] != ':' { // the rare case
		plain = false
		for colon < len(line) && classes[line[colon]]&inToken != 0 {
			colon++
		}
		if colon == len(line) || line[colon] != ':' {
			return f, false, errName
		}
	}
	if colon == 0 {
		return f, false, errName
	}
	f = Field{line[:colon], strings.Trim(line[colon+1:], " \t")}
	if !all(f.Value, inValue) {
		if !none(f.Value, isControl) {
			return f, false, errValue
		}
		plain = false
	}
	return f, plain, nil
}
