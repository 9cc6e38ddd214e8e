package http1

// Chunks follows the bytes of a body in chunks (RFC 9112 section 7.1) and tells its faults and
// its end. The zero Chunks is at the beginning of a body. It keeps no bytes and allocates
// nothing.
type Chunks struct {
	state chunkState
	left  int64 // bytes of the chunk that are still to come
	spent int64 // bytes that are not data, beyond those that each chunk is free to have
	line  int   // bytes of the line so far, or of all trailers
	name  int   // bytes of the name of the trailer so far
	begun bool
}

type chunkState uint8

const (
	sizeStart    chunkState = iota // in front of the first digit
	size                           // behind a digit
	extension                      // behind a semicolon
	sizeEnd                        // behind the CR of the line
	data                           // in the chunk
	dataEnd                        // behind the chunk
	dataEnded                      // behind the CR that follows it
	trailerStart                   // in front of a trailer, or of the empty line
	trailerName
	trailerValue
	trailerEnd // behind the CR of a trailer
	bodyEnd    // behind the CR of the empty line
	done
)

const (
	maxSizeDigits = 15       // of the size of a chunk, so that no reader's number overflows
	maxSizeLine   = 1 << 10  // of a line with a size and its extensions
	maxSpent      = 16 << 10 // of what is not data, beyond what is free; net/http refuses more
	maxTrailers   = 4 << 10  // of all trailers and the empty line together; net/http refuses more
)

// Begun reports whether the line with the size of the first chunk was good.
func (c *Chunks) Begun() bool { return c.begun }

// Done reports whether the body has ended.
func (c *Chunks) Done() bool { return c.state == done }

// Check looks at the next bytes of the body and returns how many of them belong to it, which
// are all unless the body ends within them. If it fails, with a *Fault, the bytes before the
// fault are counted; no reader can take a size or a trailer from those of the faulty line.
func (c *Chunks) Check(b []byte) (n int, err error) {
	for n < len(b) && c.state != done {
		if c.state == data {
			in := min(c.left, int64(len(b)-n))
			n += int(in)
			if c.left -= in; c.left == 0 {
				c.state = dataEnd
			}
			continue
		}
		if fault := c.next(b[n]); fault != nil {
			return n, fault
		}
		n++
	}
	return n, nil
}

// next takes one byte that is not of a chunk's data.
func (c *Chunks) next(b byte) *Fault {
	switch c.state {
	case sizeStart, size, extension:
		return c.inSize(b)
	case sizeEnd:
		return c.expect(b, '\n', c.afterSize(), errChunkSize)
	case dataEnd:
		return c.expect(b, '\r', dataEnded, errChunkEnd)
	case dataEnded:
		c.line, c.left = 0, 0
		return c.expect(b, '\n', sizeStart, errChunkEnd)
	case trailerEnd:
		c.line++
		c.name = 0
		return c.expect(b, '\n', trailerStart, errTrailerLine)
	case bodyEnd:
		return c.expect(b, '\n', done, errTrailerLine)
	}
	return c.inTrailer(b)
}

// expect goes on to the state next if b is the byte that must come.
func (c *Chunks) expect(b, must byte, next chunkState, fault *Fault) *Fault {
	if b != must {
		return fault
	}
	c.begun = true
	c.state = next
	return nil
}

// afterSize is the state behind the line with a size.
func (c *Chunks) afterSize() chunkState {
	if c.left > 0 {
		return data
	}
	return trailerStart
}

// inSize takes a byte of the line with a chunk's size.
func (c *Chunks) inSize(b byte) *Fault {
	c.line++
	switch {
	case c.line > maxSizeLine:
		return errExtension
	case c.state != sizeStart && b == '\r':
		return c.endSize()
	case c.state == extension:
		if classes[b]&isControl != 0 {
			return errExtension
		}
	case classes[b]&isHex != 0:
		if c.line > maxSizeDigits {
			return errChunkSize
		}
		c.left = c.left<<4 | hexValue(b)
		c.state = size
	case c.state == size && b == ';':
		c.state = extension
	default:
		return errChunkSize
	}
	return nil
}

// endSize takes the CR of the line with a chunk's size, if the chunks so far are not for the most
// part extensions. As in net/http, each is free to have 16 bytes that are not data, and twice as
// many as it has data.
func (c *Chunks) endSize() *Fault {
	if c.left == 0 {
		c.line = 0 // that of the trailers
	} else if c.spent = max(0, c.spent+int64(c.line+len("\n"))-16-2*c.left); c.spent > maxSpent {
		return errExtension
	}
	c.state = sizeEnd
	return nil
}

// inTrailer takes a byte of a trailer. At least a line feed follows it.
func (c *Chunks) inTrailer(b byte) *Fault {
	if c.line++; c.line >= maxTrailers {
		return errLongTrailers
	}
	switch {
	case c.state == trailerStart && b == '\r':
		c.state = bodyEnd
	case c.state == trailerValue && b == '\r':
		c.state = trailerEnd
	case c.state == trailerValue:
		if classes[b]&isControl != 0 {
			return errTrailerLine
		}
	case b == ':' && c.name > 0:
		c.state = trailerValue
	case classes[b]&inToken != 0:
		c.state = trailerName
		c.name++
	default:
		return errTrailerLine
	}
	return nil
}

// hexValue returns the value of a hexadecimal digit.
func hexValue(b byte) int64 {
	if b <= '9' {
		return int64(b - '0')
	}
	return int64(b|0x20-'a') + 10
}
