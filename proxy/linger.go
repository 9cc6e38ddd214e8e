package proxy

import (
	"errors"
	"net"
	"time"
)

// lingerTime is how long the rest of what an app sends is read that nobody wants, so that it learns the
// answer, and not that its connection was reset. It is also the time for a refusal to be sent.
const lingerTime = 500 * time.Millisecond

// linger ends the direction to the app, and reads what it still sends, for lingerTime at most, so
// that the app can read its answer: else the system would tell it that the connection was reset.
func linger(c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(lingerTime))
	err := closeWrite(c)
	rest := make([]byte, 1<<10) // io.Copy takes eight times as much, and thousands may be turned away together
	for err == nil {
		_, err = c.Read(rest)
	}
}

// closeWrite ends the direction of c to the app.
func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
