package fs

import (
	"os"
	"sync"

	varsync "github.com/commy-project/commyfs/sync"
)

// sightings are the versions that processes have seen of variables, for renames over them: who renames has no descriptor
// of what it replaces. They are kept only where conflicts fail.
type sightings struct {
	mu     sync.Mutex        // guards the following
	m      map[int]*sighting // by process
	sweep  int               // at so many processes those that have ended are forgotten
	exists func(pid int) bool
}

// sighting is what one process has seen.
type sighting struct {
	versions map[uint64]uint64 // by variable
	order    []uint64          // the variables, those seen first first
}

const (
	maxSightings = 1024 // of a process; the first are forgotten
	firstSweep   = 64   // processes
)

func (s *sightings) init() {
	s.m, s.sweep = map[int]*sighting{}, firstSweep
	s.exists = func(pid int) bool {
		_, err := os.Lstat(taskFile(uint32(pid), ""))
		return err == nil
	}
}

// note notes that a process has seen a version of a variable, or made it.
func (s *sightings) note(pid int, id, version uint64) {
	if pid == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.m[pid]
	if p == nil {
		s.sweepLocked()
		p = &sighting{versions: map[uint64]uint64{}}
		s.m[pid] = p
	}
	if _, ok := p.versions[id]; !ok {
		if len(p.order) == maxSightings {
			delete(p.versions, p.order[0])
			p.order = p.order[1:]
		}
		p.order = append(p.order, id)
	}
	p.versions[id] = version
}

// sweepLocked forgets processes that have ended, when there are many.
func (s *sightings) sweepLocked() {
	if len(s.m) < s.sweep {
		return
	}
	for pid := range s.m {
		if !s.exists(pid) {
			delete(s.m, pid)
		}
	}
	s.sweep = max(firstSweep, 2*len(s.m))
}

// follow has the processes that have seen a version of a variable see another one, of the same value.
func (s *sightings) follow(id, from, to uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.m {
		if version, ok := p.versions[id]; ok && version == from {
			p.versions[id] = to
		}
	}
}

// of returns the version that a process has seen of a variable.
func (s *sightings) of(pid int, id uint64) (version uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.m[pid]
	if p == nil {
		return 0, false
	}
	version, ok = p.versions[id]
	return version, ok
}

// empty reports whether no process has seen anything.
func (s *sightings) empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.m) == 0
}

// noted is what was noted of a descriptor last.
type noted struct {
	thread  uint32
	pid     int // of the thread
	version uint64
}

// processOf is the process of a thread that uses the descriptor, mostly the one that did so last; h.mu must be held.
func (h *handle) processOf(thread uint32) int {
	if h.noted.thread != thread {
		h.noted = noted{thread: thread, pid: h.fs.callers.process(thread)}
	}
	return h.noted.pid
}

// noteRead notes what a thread has read through a descriptor; h.mu must be held.
func (h *handle) noteRead(thread uint32) {
	if !h.fs.failsConflicts() || h.v == nil || thread == 0 {
		return
	}
	r := h.state.view()
	if r == nil || r.snap.version == 0 {
		return
	}
	if pid := h.processOf(thread); h.noted.version != r.snap.version {
		h.noted.version = r.snap.version
		h.fs.sightings.note(pid, h.v.ID(), r.snap.version)
	}
}

// noteWritten notes what a descriptor's writer has made of a variable that its process has read; h.mu must be held.
func (h *handle) noteWritten(version uint64) {
	if !h.fs.failsConflicts() || h.v == nil || h.fs.sightings.empty() {
		return
	}
	pid := h.processOf(h.writer.Load())
	if _, ok := h.fs.sightings.of(pid, h.v.ID()); ok {
		h.noted.version = version
		h.fs.sightings.note(pid, h.v.ID(), version)
	}
}

// seenBy is what a rename over a variable by a thread depends on: the version that its process has seen. nil: it has not, and
// replaces whatever is there.
func (f *FS) seenBy(thread uint32, v *varsync.Variable) *varsync.Seen {
	if !f.failsConflicts() || thread == 0 {
		return nil
	}
	version, ok := f.sightings.of(f.callers.process(thread), v.ID())
	if !ok {
		return nil
	}
	return varsync.NewSeen(version)
}
