package targetconn

import "time"

// idleConns are the idle connections of a Pool, which guards them. They are linked in the
// order of their age, and those of each key in the same order.
type idleConns[K comparable] struct {
	newest map[K]*idleEntry[K] // of each key
	ends   idleEntry[K]        // a sentinel: it makes a ring of all, so that its newer neighbour is the oldest of all
	count  int
}

// idleEntry is what idleConns knows of a connection: where it stands among the idle ones.
// It is made once for each connection, so that keeping one allocates nothing.
type idleEntry[K comparable] struct {
	conn         *Conn
	key          K
	since        time.Time     // when the connection became idle
	older, newer *idleEntry[K] // its neighbours among all connections
	below, above *idleEntry[K] // those of the same key that are the next older and the next newer; or nil
}

// oldest returns the idleEntry of the connection that has been idle for longest, or nil.
func (l *idleConns[K]) oldest() *idleEntry[K] {
	if l.count == 0 {
		return nil
	}
	return l.ends.newer
}

// add makes p the newest idleEntry.
func (l *idleConns[K]) add(p *idleEntry[K], now time.Time) {
	if l.newest == nil {
		l.newest = map[K]*idleEntry[K]{}
		l.ends.older, l.ends.newer = &l.ends, &l.ends
	}
	p.since = now
	p.older, p.newer = l.ends.older, &l.ends
	p.older.newer, p.newer.older = p, p
	if p.below = l.newest[p.key]; p.below != nil {
		p.below.above = p
	}
	l.newest[p.key] = p
	l.count++
}

// remove removes p, which is the oldest of all places or the newest of its key.
func (l *idleConns[K]) remove(p *idleEntry[K]) {
	p.older.newer, p.newer.older = p.newer, p.older
	switch {
	case p.above != nil:
		p.above.below = nil
	case p.below != nil:
		l.newest[p.key], p.below.above = p.below, nil
	default:
		delete(l.newest, p.key)
	}
	*p = idleEntry[K]{conn: p.conn, key: p.key}
	l.count--
}
