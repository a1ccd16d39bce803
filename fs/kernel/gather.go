package kernel

import (
	"slices"
	"time"
)

// Changes of a value that was written elsewhere are gathered for a while if the mount was told so: the first begins it, and at its
// end there is one event, of the last. What comes, goes or is renamed waits for nothing, and what is gathered of it comes before.

// MaxDelay is the longest while.
const MaxDelay = time.Minute

// manyHurried is how many events that were hurried are left in the list of those that are gathered.
const manyHurried = 1024

// gathering are the events that are gathered, in the order in which that ends.
type gathering struct {
	delay   time.Duration // 0: nothing is gathered
	list    []*event
	hurried int // of list, that are elsewhere by now
}

// gather begins to gather the changes of a node.
func (q *queue) gather(e *event) {
	e.deferred, e.due = true, time.Now().Add(q.gathering.delay)
	q.values[e.ID] = e
	q.gathering.list = append(q.gathering.list, e)
}

func (e *event) gathered() bool { return !e.due.IsZero() }

// left notes that an event in the list is elsewhere.
func (g *gathering) left() {
	if g.hurried++; g.hurried > manyHurried && g.hurried > len(g.list)/2 {
		g.list = slices.DeleteFunc(g.list, func(e *event) bool { return !e.deferred || !e.gathered() })
		g.hurried = 0
	}
}

// ripe has events raised whose while is over.
func (q *queue) ripe(now time.Time) {
	g := &q.gathering
	for len(g.list) > 0 {
		e := g.list[0]
		waits := e.deferred && e.gathered()
		if waits && e.due.After(now) {
			return
		}
		g.list[0], g.list = nil, g.list[1:]
		if waits {
			e.deferred, e.due = false, time.Time{}
			q.list = append(q.list, e)
		} else {
			g.hurried--
		}
	}
	g.list = nil
}

// due is when the next of the events that wait for their time may be raised, false if there is none. own is when those may that
// were written here.
func (q *queue) due(own time.Time) (at time.Time, ok bool) {
	if len(q.gathering.list) > 0 {
		at, ok = q.gathering.list[0].due, true
	}
	if len(q.own) > 0 && (!ok || own.Before(at)) {
		at, ok = own, true
	}
	return at, ok
}
