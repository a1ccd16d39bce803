package fs

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// question is whether the server would keep changes of the values in a service now: it is there, there is room, and the client
// may write. All who have asked before it is sent share the answer.
type question struct {
	answered chan struct{}
	at       time.Time // when it was answered
	err      error
}

// questions are those that are not answered, at most two for a service: many descriptors that are opened together ask once.
type questions struct {
	f  *FS
	mu sync.Mutex // guards the following
	m  map[*varsync.Service]*line

	// likely says that who opens a file to write will replace its value, as the last one did: then the server can be asked
	// while the kernel is still on its way to O_TRUNC.
	likely atomic.Bool
}

// line is the questions about one service.
type line struct {
	next *question // to be sent when the one under way is answered; nil if nobody has asked
}

func (qs *questions) init(f *FS) { qs.f, qs.m = f, map[*varsync.Service]*line{} }

// ask returns a question that is sent after the call.
func (qs *questions) ask(s *varsync.Service) *question {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	l := qs.m[s]
	if l == nil {
		q := newQuestion()
		l = &line{}
		qs.m[s] = l
		go qs.send(s, l, q)
		return q
	}
	if l.next == nil {
		l.next = newQuestion()
	}
	return l.next
}

func newQuestion() *question { return &question{answered: make(chan struct{})} }

// send sends a question, and those that are asked meanwhile.
func (qs *questions) send(s *varsync.Service, l *line, q *question) {
	for q != nil {
		_, q.err = qs.f.c.Probe(qs.f.ctx, &model.Probe{Tenant: s.Tenant().Name(), Service: s.Name(), Want: model.RightWrite})
		q.at = time.Now()
		close(q.answered)
		qs.mu.Lock()
		if q, l.next = l.next, nil; q == nil {
			delete(qs.m, s)
		}
		qs.mu.Unlock()
	}
}

// wait returns the answer. It takes no longer than a request of one's own: an answer can be the second one to come.
func (q *question) wait(bound time.Duration) error {
	select {
	case <-q.answered:
		return q.err
	default:
	}
	t := time.NewTimer(bound)
	defer t.Stop()
	select {
	case <-q.answered:
		return q.err
	case <-t.C:
		return context.DeadlineExceeded
	}
}

// fresh reports whether the answer is not older than bound, or is to come.
func (q *question) fresh(bound time.Duration) bool {
	select {
	case <-q.answered:
		return time.Since(q.at) <= bound
	default:
		return true
	}
}

// ahead asks what an open to write will want to know if it replaces the value, nil if that is not likely. See handle.keeps.
func (f *FS) ahead(v *varsync.Variable) *question {
	if f.o.Sync == SyncNever || !f.questions.likely.Load() || !v.Service().Mapped() {
		return nil
	}
	return f.questions.ask(v.Service())
}

// errUnsure says that the copy cannot tell of a variable what was asked.
var errUnsure = errors.New("the copy may be behind")

// keeps asks whether the server would keep a change of the variable now. It returns the version that the variable has then,
// and when that was; errUnsure if the server has to be asked about the variable itself.
func (h *handle) keeps(v *varsync.Variable) (version uint64, at time.Time, err error) {
	q := h.ahead
	h.ahead = nil
	if !v.Service().Mapped() {
		return 0, at, errUnsure
	}
	if q == nil || !q.fresh(h.fs.freshAnswer) {
		q = h.fs.questions.ask(v.Service())
	}
	if err := q.wait(h.fs.c.Timeout()); err != nil {
		return 0, at, err
	}
	if !v.StillNamed() {
		return 0, at, errUnsure
	}
	return v.Current().Version, q.at, nil
}
