package device

import "sync/atomic"

// readers counts the goroutines that wait for a request. There are some at any time, and not too many.
type readers struct {
	n    atomic.Int32
	most int32
}

// join counts the caller, unless there are enough. Nobody is counted who does not read, not even for a moment: the last one would
// not see that it is.
func (r *readers) join() bool {
	for {
		n := r.n.Load()
		if n >= r.most {
			return false
		}
		if r.n.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// leave reports whether the caller was the last.
func (r *readers) leave() (last bool) { return r.n.Add(-1) == 0 }
