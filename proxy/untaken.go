package proxy

import (
	"net"
	"time"
)

// untakenTime is how long an app may take nothing of what it is sent. After that it counts as gone:
// its answer would keep the target's from coming to its end.
const untakenTime = 5 * time.Minute

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
