package targetconn

import (
	"bufio"
	"io"
	"net/http"
	"net/textproto"

	"token-sidecar/proxy/internal/http1"
)

// ReadHead reads the head of one answer, informational (1xx) or final, to a request
// of the given method. The answer's Body reads from the connection. A head of more than
// 256 KiB is an error. The caller owns the answer, and may change its header, until the next
// call.
func (c *Conn) ReadHead(method string) (*http.Response, error) {
	c.headLeft = maxAnswerHead
	defer func() { c.headLeft = -1 }()
	if method != http.MethodHead {
		if plain, err := c.plain.read(c.in); plain || err != nil {
			return &c.plain.response, err
		}
	}
	c.request.Method = method
	return http.ReadResponse(c.in, &c.request)
}

// WholeBody reads the body of the answer that ReadHead has returned if all of it was read from the
// connection already, and nothing of the answer's Body. It returns nil if not. The caller may read
// it until the next use of c.
func (c *Conn) WholeBody(res *http.Response) []byte {
	body := &c.plain.body
	if res != &c.plain.response || body.left == 0 || body.left > int64(c.in.Buffered()) {
		return nil
	}
	whole, _ := c.in.Peek(int(body.left))
	_, _ = c.in.Discard(len(whole))
	body.left = 0
	return whole
}

// plainAnswer is an answer whose head package http1 has read. What it has for one answer it uses
// again for the next.
type plainAnswer struct {
	head     http1.Answer
	response http.Response
	values   []string // of the fields of response
	body     plainBody
}

// read reads the head of an answer from in, if that is plain. Else it reports false and takes
// nothing of in. An early end is for somebody else to find, too.
func (a *plainAnswer) read(in *bufio.Reader) (plain bool, err error) {
	for known := 0; ; {
		if _, err := in.Peek(known + 1); err == io.EOF || err == bufio.ErrBufferFull {
			return false, nil
		} else if err != nil {
			return false, err
		}
		came, _ := in.Peek(in.Buffered())
		length, err := http1.Find(came, known)
		if err != nil {
			return false, nil
		}
		if length > 0 {
			if !a.head.Parse(came[:length]) {
				return false, nil
			}
			_, _ = in.Discard(length)
			a.setResponse(in)
			return true, nil
		}
		known = len(came)
	}
}

// setResponse makes response that of the head.
func (a *plainAnswer) setResponse(in *bufio.Reader) {
	header := a.response.Header
	if header == nil || len(header) > 100 { // an empty map keeps the room that it had
		header = http.Header{}
	}
	clear(header)
	a.values = a.values[:0]
	for _, f := range a.head.Fields {
		name := textproto.CanonicalMIMEHeaderKey(f.Name)
		if before, ok := header[name]; ok {
			header[name] = append(before, f.Value)
			continue
		}
		n := len(a.values)
		a.values = append(a.values, f.Value)
		header[name] = a.values[n : n+1 : n+1]
	}
	a.body = plainBody{in, a.head.Length}
	a.response = http.Response{StatusCode: a.head.Status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header,
		ContentLength: a.head.Length, Close: a.head.Close, Body: &a.body}
	if a.head.Length == 0 {
		a.response.Body = http.NoBody
	}
}

// plainBody is a body whose length is known.
type plainBody struct {
	in   *bufio.Reader
	left int64
}

// Read implements [io.Reader].
func (b *plainBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n, err := b.in.Read(p[:min(int64(len(p)), b.left)])
	switch b.left -= int64(n); {
	case b.left == 0:
		err = io.EOF
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Close implements [io.Closer].
func (b *plainBody) Close() error { return nil }
