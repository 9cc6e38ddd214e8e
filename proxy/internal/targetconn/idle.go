package targetconn

import "time"

// idleConns are the idle connections of a Pool, which guards them: in the order of
// their age, and for each key in the same order.
type idleConns[K comparable] struct {
	byKey          map[K]*place[K] // the newest of each key
	oldest, newest *place[K]
	count          int
}

// place is where a connection stands among the idle ones. It is made once for each
// connection, so that keeping one allocates nothing.
type place[K comparable] struct {
	conn         *Conn
	key          K
	since        time.Time // when the connection became idle
	older, newer *place[K] // of all keys
	below, above *place[K] // of the same key: the next older and the next newer one
}

// add makes at the newest one.
func (l *idleConns[K]) add(at *place[K], now time.Time) {
	at.since = now
	at.older, at.newer = l.newest, nil
	if l.newest != nil {
		l.newest.newer = at
	} else {
		l.oldest = at
	}
	l.newest = at
	at.below, at.above = l.byKey[at.key], nil
	if at.below != nil {
		at.below.above = at
	}
	if l.byKey == nil {
		l.byKey = map[K]*place[K]{}
	}
	l.byKey[at.key] = at
	l.count++
}

// remove takes at out, wherever it stands.
func (l *idleConns[K]) remove(at *place[K]) {
	if at.older != nil {
		at.older.newer = at.newer
	} else {
		l.oldest = at.newer
	}
	if at.newer != nil {
		at.newer.older = at.older
	} else {
		l.newest = at.older
	}
	switch {
	case at.above != nil:
		at.above.below = at.below
	case at.below != nil:
		l.byKey[at.key] = at.below
	default:
		delete(l.byKey, at.key)
	}
	if at.below != nil {
		at.below.above = at.above
	}
	at.older, at.newer, at.below, at.above = nil, nil, nil, nil
	l.count--
}
