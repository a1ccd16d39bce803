// Package heap keeps the memory of a process near what it uses.
//
// Go's heap grows to twice of what lives in it before garbage is collected, and keeps what it has grown to. That is right
// while a program is busy. A process that was busy once, and holds much, gives back here what it does not need. One that is
// busy, and holds little, would collect garbage without end, and gets more room for it.
package heap

import (
	"context"
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// interval is how often it is looked.
	interval = 2 * time.Second
	// quiet is how much is allocated in an interval at most by who is not busy.
	quiet = 16 << 20
	// So much more than the last time left, and one part in worthPart of what lives, is worth it. What is quiet takes so long to
	// allocate that much that collecting it takes a few hundredths of the time at most.
	worth     = 16 << 20
	worthPart = 4
)

// room is how much more than twice of what lives in it the heap can grow to.
const room = 32 << 20

// ballast lives in the heap, and takes no memory: it is never touched.
func ballast() []byte {
	if debug.SetMemoryLimit(-1) != math.MaxInt64 {
		return nil // it would count
	}
	return make([]byte, room/2)
}

// Trim returns memory to the system that nothing lives in, now and then while little is allocated, and lets a small heap grow
// before it is collected, until ctx ends.
func Trim(ctx context.Context) {
	unused := ballast()
	defer runtime.KeepAlive(unused)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var t trimmer
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if t.due(measure()) {
			debug.FreeOSMemory()
			t.did(measure())
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

// spare is what nothing lives in, as far as one knows.
func (s state) spare() uint64 {
	if s.objects > s.live {
		return s.free + s.objects - s.live
	}
	return s.free
}

type trimmer struct {
	allocated uint64
	left      uint64 // what cannot be given back: it is in pages in which something lives
}

// due reports whether it is time to trim.
func (t *trimmer) due(s state) bool {
	allocated := s.allocated - t.allocated
	t.allocated, t.left = s.allocated, min(t.left, s.spare())
	return allocated <= quiet && s.spare()-t.left > worth+s.live/worthPart
}

// did notes what there is after it.
func (t *trimmer) did(s state) { t.allocated, t.left = s.allocated, s.spare() }
