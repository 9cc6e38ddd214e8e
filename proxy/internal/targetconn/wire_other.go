//go:build !unix

package targetconn

// intake reads for a wire. It cannot tell here whether there is something to read.
type intake struct{ wire *wire }

// init makes i read for w.
func (i *intake) init(w *wire) { i.wire = w }

// read is Read of the connection below the wire.
func (i *intake) read(b []byte) (int, error) { return i.wire.readBlindly(b) }
