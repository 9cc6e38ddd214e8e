package targetconn

import "time"

// idleConns are the idle connections of a Pool, which guards them. They are linked in the
// order of their age, and those of each key in the same order.
type idleConns[K comparable] struct {
	newest map[K]*place[K] // of each key
	ends   place[K]        // its newer is the oldest connection of all, its older the newest
	count  int
}

// place is where a connection stands among the idle ones. It is made once for each
// connection, so that keeping one allocates nothing.
type place[K comparable] struct {
	conn         *Conn
	key          K
	since        time.Time // when the connection became idle
	older, newer *place[K] // its neighbours among all connections
	below, above *place[K] // those of the same key that are the next older and the next newer; or nil
}

// oldest returns the place of the connection that has been idle for longest, or nil.
func (l *idleConns[K]) oldest() *place[K] {
	if l.count == 0 {
		return nil
	}
	return l.ends.newer
}

// add makes p the newest place.
func (l *idleConns[K]) add(p *place[K], now time.Time) {
	if l.newest == nil {
		l.newest = map[K]*place[K]{}
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
func (l *idleConns[K]) remove(p *place[K]) {
	p.older.newer, p.newer.older = p.newer, p.older
	switch {
	case p.above != nil:
		p.above.below = nil
	case p.below != nil:
		l.newest[p.key], p.below.above = p.below, nil
	default:
		delete(l.newest, p.key)
	}
	*p = place[K]{conn: p.conn, key: p.key}
	l.count--
}
