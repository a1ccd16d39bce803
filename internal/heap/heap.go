// Package heap keeps the memory of a process near what it uses.
//
// Go's heap grows to twice of what lives in it before garbage is collected, and keeps what it has grown to. That is right
// while a program is busy. A process that was busy once, and holds much, gives back here what it does not need.
package heap

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// interval is how often it is looked.
	interval = 2 * time.Second
	// quiet is how much is allocated in an interval at most by who is not busy.
	quiet = 16 << 20
	// So much, and one part in worthPart of what lives, is worth it.
	worth     = 16 << 20
	worthPart = 4
	// rest is how many times longer than the last time nothing is done.
	rest = 100
)

// Trim returns memory to the system that nothing lives in, now and then while little is allocated, until ctx ends.
func Trim(ctx context.Context) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var t trimmer
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if now := time.Now(); t.due(measure(), now) {
			debug.FreeOSMemory()
			t.did(now, time.Since(now))
		}
	}
}

// state is what the process has: allocated ever; live in the last collection; objects, dead ones among them; and free,
// taken from the system for nothing.
type state struct{ allocated, live, objects, free uint64 }

func measure() state {
	m := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/unused:bytes"},
	}
	metrics.Read(m)
	n := func(i int) uint64 { return m[i].Value.Uint64() }
	return state{n(0), n(1), n(2), n(3) + n(4)}
}

type trimmer struct {
	allocated uint64
	next      time.Time
}

// due reports whether it is time to trim.
func (t *trimmer) due(s state, now time.Time) bool {
	allocated := s.allocated - t.allocated
	t.allocated = s.allocated
	if allocated > quiet || now.Before(t.next) {
		return false
	}
	spare := s.free
	if s.objects > s.live {
		spare += s.objects - s.live
	}
	return spare > worth+s.live/worthPart
}

func (t *trimmer) did(began time.Time, took time.Duration) { t.next = began.Add(took * (1 + rest)) }
