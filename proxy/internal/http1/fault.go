package http1

// Fault says why a request is refused. Faults do not change and hold nothing of a request.
type Fault struct {
	Kind Kind
	// Detail is a sentence for the developer of the program that sent the request.
	Detail string
}

// Error implements [error].
func (f *Fault) Error() string { return f.Detail }

// Kind tells faults apart by the status that they are answered with.
type Kind int

const (
	Malformed   Kind = iota // 400: the request breaks the grammar
	TooLarge                // 431: the head has more than MaxHead bytes
	Version                 // 505: it is of another major version than 1
	Coding                  // 501: a transfer coding that is not "chunked" alone (RFC 9112 section 6.1)
	Expectation             // 417: another expectation than 100-continue (RFC 9110 section 10.1.1)
)

// malformed returns a Fault of the kind Malformed.
func malformed(detail string) *Fault { return &Fault{Malformed, detail} }

var (
	errTooLarge    = &Fault{TooLarge, "The request line and the header fields are longer than 64 KiB together."}
	errVersion     = &Fault{Version, "Speak HTTP/1.1 to the sidecar."}
	errCoding      = &Fault{Coding, "Of the transfer codings the sidecar knows chunked only, once."}
	errExpectation = &Fault{Expectation, "Of the expectations the sidecar knows 100-continue only."}

	errLineEnd     = malformed("A line of the request's head does not end with CRLF.")
	errStart       = malformed("The request does not begin with a method of HTTP.")
	errRequestLine = malformed("The request line is not a method, a target and HTTP/1.1 with one space in between.")
	errTarget      = malformed("The target of the request has a character that may not stand there, or a percent sign that escapes nothing.")
	errFold        = malformed("A header field is continued on a second line, or white space stands in front of the first.")
	errName        = malformed("The name of a header field is empty, or has a character that may not stand there, as white space in front of the colon may not.")
	errValue       = malformed("The value of a header field has a control character.")
	errHosts       = malformed("There is no Host header field, or more than one.")
	errHost        = malformed("The Host header field has a character that may not stand there.")
	errLength      = malformed("Content-Length is not one plain number, is too large, or is given twice.")
	errTwoFramings = malformed("Transfer-Encoding stands beside Content-Length, or in a request of HTTP/1.0.")
	errTrailer     = malformed("The Trailer header field names a field that says how the request is to be read.")

	errChunkSize    = malformed("The size of a chunk is not a hexadecimal number alone, or is too large.")
	errExtension    = malformed("The extensions of the chunks are too long, or one has a control character.")
	errChunkEnd     = malformed("A chunk does not end with CRLF where its size says that it ends.")
	errTrailerLine  = malformed("What follows the last chunk is not header fields and an empty line.")
	errLongTrailers = malformed("What follows the last chunk is longer than 4 KiB.")
)
