package http1

import "strings"

// take adds a field to the head. It looks at those that say how the request is to be read.
func (h *Head) take(f Field) error {
	if len(f.Name) == len("Host") && strings.EqualFold(f.Name, "Host") {
		h.hosts++
		h.Host = f.Value
		return nil
	}
	h.Fields = append(h.Fields, f)
	switch len(f.Name) {
	case len("TE"):
		h.Plain = h.Plain && !strings.EqualFold(f.Name, "TE")
	case len("Expect"):
		if strings.EqualFold(f.Name, "Expect") {
			h.Plain, h.Expects = false, h.Expects || f.Value != ""
			if f.Value != "" && !isWord(f.Value, "100-continue") {
				return errExpectation
			}
		}
	case len("Upgrade"): // and Trailer
		if strings.EqualFold(f.Name, "Upgrade") {
			h.Plain = false
		} else if strings.EqualFold(f.Name, "Trailer") {
			h.Plain = false
			return checkTrailer(f.Value)
		}
	case len("Connection"):
		if strings.EqualFold(f.Name, "Connection") {
			h.Close = h.Close || hasOption(f.Value, "close")
		}
	case len("Content-Length"):
		if strings.EqualFold(f.Name, "Content-Length") {
			h.lengths++
			return h.takeLength(f.Value)
		}
	case len("Transfer-Encoding"):
		if strings.EqualFold(f.Name, "Transfer-Encoding") {
			h.Plain, h.Chunked = false, true
			h.codings++
			if !isWord(f.Value, "chunked") {
				return errCoding
			}
		}
	}
	return nil
}

// maxDigits is how many digits a Content-Length may have: that is a body of nearly an exabyte.
const maxDigits = 18

// takeLength reads the value of Content-Length (RFC 9112 section 6.3).
func (h *Head) takeLength(digits string) error {
	length, plain, ok := parseLength(digits)
	if !ok {
		return errLength
	}
	h.Length, h.Plain = length, h.Plain && plain
	return nil
}

// parseLength reads a length, and reports whether it is one, and whether it has no leading zero.
func parseLength(digits string) (length int64, plain, ok bool) {
	if digits == "" || len(digits) > maxDigits || !all(digits, isDigit) {
		return 0, false, false
	}
	for i := range len(digits) {
		length = 10*length + int64(digits[i]-'0')
	}
	return length, digits[0] != '0' || digits == "0", true
}

// judge refuses what the fields say only together.
func (h *Head) judge() error {
	switch {
	case h.lengths > 1:
		return errLength
	case h.codings > 0 && (h.lengths > 0 || h.minor == 0):
		return errTwoFramings
	case h.codings > 1:
		return errCoding
	case h.hosts > 1 || h.hosts == 0 && h.minor > 0:
		return errHosts
	}
	if !digitsBehindPort(h.Host) {
		return errHost
	}
	if !all(h.Host, inHost) || h.Host == "" {
		h.Plain = false
		for i := range len(h.Host) { // as net/http takes it: RFC 3986 section 3.2.2, without its structure
			if c := h.Host[i]; classes[c]&inHost == 0 && !in("!$%&'()*+,;=~", c) {
				return errHost
			}
		}
	}
	return nil
}

// digitsBehindPort reports whether nothing but digits follow the colon of a Host that has one (RFC
// 3986 section 3.2.3). Colons in brackets are those of an IPv6 address.
func digitsBehindPort(host string) bool {
	_, port, _ := strings.Cut(host[strings.IndexByte(host, ']')+1:], ":")
	return all(port, isDigit)
}

// checkTrailer refuses a Trailer field that names one which must not be a trailer (RFC 9110
// section 6.5.1), as net/http does.
func checkTrailer(value string) error {
	for _, name := range [...]string{"Transfer-Encoding", "Trailer", "Content-Length"} {
		if hasOption(value, name) {
			return errTrailer
		}
	}
	return nil
}

// hasOption reports whether a list of words has one of them, whatever its case.
func hasOption(list, word string) bool {
	for option := range strings.SplitSeq(list, ",") {
		if isWord(strings.Trim(option, " \t"), word) {
			return true
		}
	}
	return false
}

// isWord reports whether s is a word of ASCII, whatever its case. Other characters that fold to
// those of the word, as U+212A does to k, have more bytes.
func isWord(s, word string) bool { return len(s) == len(word) && strings.EqualFold(s, word) }
