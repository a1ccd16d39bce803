package fs

import "time"

// clearTime is how long a descriptor that has emptied its file can rest before what it has written since is published, and
// partTime how long if the last write looks like a part of more: it filled a buffer, as the pieces of one write(2) do and
// those that stdio makes.
const (
	clearTime = 200 * time.Millisecond
	partTime  = 2 * time.Second
)

// rest is for a descriptor that may be kept open for ever (a file with a process id): its value is committed once it has
// rested for a moment.
type rest struct {
	timer *time.Timer
	wrote time.Time // the last write
	part  bool      // it looks like a part of one
}

// clear is ftruncate(fd, 0) on an editing descriptor: somebody (vim, for one) is about to write the file anew. Committed
// at once it would show everybody an empty value, and then a growing one. So the descriptor replaces, as if opened with
// O_TRUNC, until its next commit, or until it has rested.
func (e *editor) clear() error {
	if e.told {
		e.err, e.told = nil, false // it is told until the next write, and this begins one
	}
	if err := e.settle(); err != nil {
		return err
	}
	r := &replacer{reader: e.reader, stage: dirty}
	if e.fs.o.Sync != SyncNever {
		if err := r.ask(0); err != nil {
			return e.orMoved(err)
		}
	}
	r.rest = &rest{wrote: time.Now(), timer: time.AfterFunc(clearTime, r.rested)}
	e.state = r
	return nil
}

// begin has a descriptor be looked at later, also one whose commit was refused meanwhile.
func (t *rest) begin(part bool) {
	t.wrote, t.part = time.Now(), part
	t.timer.Reset(clearTime)
}

func (t *rest) end() {
	if t != nil {
		t.timer.Stop()
	}
}

// rested publishes what the descriptor has, once it has rested for long enough.
func (r *replacer) rested() {
	r.mu.Lock()
	defer r.unlock()
	if r.state != r || r.stage != dirty || r.refused {
		return
	}
	bound := clearTime
	if r.rest.part {
		bound = partTime
	}
	if wait := bound - time.Since(r.rest.wrote); wait > 0 {
		r.rest.timer.Reset(wait)
		return
	}
	if err := r.commit(); err != nil && err != errMoved {
		r.fs.log.Warn("a value could not be committed yet", "node", r.node, "err", err)
	}
}
