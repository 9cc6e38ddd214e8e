//go:build !unix

package peek

import "net"

// Peeker cannot look at a connection here.
type Peeker struct{}

// Init does nothing.
func (*Peeker) Init(net.Conn) {}

// Look knows nothing.
func (*Peeker) Look() State { return Unknown }
