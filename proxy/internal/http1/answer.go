package http1

import "strings"

// Answer is the head of a plain answer. Its strings are parts of one, which Parse makes.
type Answer struct {
	Status int
	Fields []Field // in their order
	Length int64   // of the body in bytes
	Close  bool    // the connection ends behind the answer (RFC 9112 section 9.6)

	lengths int
}

// Parse reads a head, of the length that Find has returned, of an answer to another method than
// HEAD. It reports false if that is not plain: then a is of no use, and somebody else must read the
// head. It allocates one string, and what Fields does not have room for.
func (a *Answer) Parse(head []byte) bool {
	*a = Answer{Fields: a.Fields[:0]}
	line, rest, _ := strings.Cut(string(head), "\r\n")
	if !a.parseLine(line) {
		return false
	}
	for rest != "\r\n" {
		line, rest, _ = strings.Cut(rest, "\r\n")
		f, plain, err := cutField(line)
		if err != nil || !plain || !a.take(f) {
			return false
		}
	}
	return a.lengths == 1
}

// parseLine reads the status line (RFC 9112 section 4).
func (a *Answer) parseLine(line string) bool {
	const version = "HTTP/1.1 "
	if !strings.HasPrefix(line, version) || len(line) < len(version)+4 || line[len(version)+3] != ' ' ||
		!all(line[len(version):len(version)+3], isDigit) || !all(line[len(version)+3:], inValue) {
		return false
	}
	for _, c := range []byte(line[len(version) : len(version)+3]) {
		a.Status = 10*a.Status + int(c-'0')
	}
	switch a.Status {
	case 204, 205, 304: // have no body, whatever their fields say (RFC 9110 section 6.4.1)
		return false
	}
	return 200 <= a.Status && a.Status < 600
}

// take adds a field to the head. It reports false if that says that the answer is not plain.
func (a *Answer) take(f Field) bool {
	switch len(f.Name) {
	case len("Upgrade"): // and Trailer
		if strings.EqualFold(f.Name, "Upgrade") || strings.EqualFold(f.Name, "Trailer") {
			return false
		}
	case len("Connection"):
		if strings.EqualFold(f.Name, "Connection") {
			a.Close = a.Close || hasOption(f.Value, "close")
		}
	case len("Content-Length"):
		if strings.EqualFold(f.Name, "Content-Length") {
			var plain bool
			a.lengths++
			if a.Length, plain, _ = parseLength(f.Value); !plain {
				return false
			}
		}
	case len("Transfer-Encoding"):
		if strings.EqualFold(f.Name, "Transfer-Encoding") {
			return false
		}
	}
	a.Fields = append(a.Fields, f)
	return true
}
