package proxy

import (
	"net"
	"time"
)

// untakenTime is how long an app may take nothing of what it is sent. After that it counts as gone:
// its answer would keep the target's from coming to its end.
const untakenTime = 5 * time.Minute

// untakenBytes is about how much of an answer the system keeps for an app that does not read it, in
// bytes; Linux doubles it. Where the system chooses, that is some megabytes, and an app that reads a
// little now and then makes no room for minutes.
const untakenBytes = 128 << 10

// limitUntaken limits what the system keeps for the app at the other end of c.
func limitUntaken(c net.Conn) {
	if c, ok := c.(interface{ SetWriteBuffer(bytes int) error }); ok {
		_ = c.SetWriteBuffer(untakenBytes)
	}
}

// writeLimit ends the writes to a connection of an app that takes nothing. It belongs to whoever
// writes.
type writeLimit struct {
	begun time.Time // when the time for writing was begun anew; zero if there is no limit now
}

// beforeWrite begins the time for writing anew. It does not do so before each write, since that takes
// as long as a small one: an app may have 15 s less.
func (l *writeLimit) beforeWrite(c net.Conn) {
	if now := time.Now(); now.Sub(l.begun) > 15*time.Second {
		l.begun = now
		_ = c.SetWriteDeadline(now.Add(untakenTime))
	}
}
