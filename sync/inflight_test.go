package sync

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/model"
)

// wire is a connection that keeps the reports that are sent over it, and answers nothing by itself.
type wire struct {
	Conn
	mu   sync.Mutex
	sent []*sending
}

type sending struct {
	*model.Report
	answer func(*model.Outcome, error)
}

func (w *wire) LastReceived() time.Time { return time.Now() }
func (w *wire) Err() error              { return errors.New("cut") }

func (w *wire) Goodbye(context.Context) error { return nil }

func (w *wire) Report(_ context.Context, r *model.Report, handle func(*model.Outcome, error)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = append(w.sent, &sending{r, handle})
	return nil
}

// await returns the first n reports that were sent.
func (w *wire) await(t *testing.T, n int) []*sending {
	t.Helper()
	err := testenv.Poll(10*time.Second, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.sent) < n {
			return errors.New("not sent")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sent
}

func (s *sending) accept() {
	s.answer(&model.Outcome{Results: make([]model.Result, len(s.Changes))}, nil)
}

// flown is a client, what its reports came to, and a way to make one.
type flown struct {
	*Client
	t    *testing.T
	errs chan error
}

func newFlown(t *testing.T) *flown {
	c := newClient(Options{Timeout: time.Minute})
	t.Cleanup(func() { c.Close() })
	return &flown{c, t, make(chan error, 10)}
}

func (f *flown) connect() (*wire, *session) {
	w := &wire{}
	s := &session{c: f.Client, conn: w, welcome: &model.Welcome{}}
	f.update(func(f *inFlight) { f.made(s) })
	return w, s
}

func (f *flown) report(ctx context.Context, epoch uint64) {
	go func() {
		_, err := f.Client.report(ctx, epoch, nil, model.Change{Op: model.OpDelete})
		f.errs <- err
	}()
}

func (f *flown) want(what string, want error) {
	f.t.Helper()
	select {
	case err := <-f.errs:
		if !errors.Is(err, want) {
			f.t.Errorf("%s: got %v, want %v", what, err, want)
		}
	case <-time.After(10 * time.Second):
		f.t.Fatalf("%s: no answer", what)
	}
}

// Numbers in flight rise and fall away in any order; the acked never passes one that waits.
func TestAcked(t *testing.T) {
	f := newFlown(t)
	w, _ := f.connect()
	for i := range 5 {
		f.report(t.Context(), 1)
		w.await(t, i+1)
	}
	sent := w.await(t, 5)
	for _, tt := range []struct{ done, want uint64 }{{2, 1}, {1, 3}, {4, 3}, {3, 5}, {5, 6}} {
		sent[tt.done-1].accept()
		f.want("accepted", nil)
		f.update(func(f *inFlight) {
			if got := f.acked(); got != tt.want {
				t.Errorf("after %d: acked %d, want %d", tt.done, got, tt.want)
			}
		})
	}
	f.report(t.Context(), 2)
	f.want("a report for another epoch", model.ErrNotFound)
}

// What a report is told depends on how far it had come.
func TestStatesOfReports(t *testing.T) {
	canceled := func(f *flown, epoch uint64, w *wire, n int) {
		ctx, cancel := context.WithCancel(t.Context())
		f.report(ctx, epoch)
		if w != nil {
			w.await(t, n)
		} else {
			awaitQueue(f, 1)
		}
		cancel()
	}
	t.Run("queued, not waited for", func(t *testing.T) {
		f := newFlown(t)
		canceled(f, 0, nil, 0)
		err := <-f.errs
		if err != context.Canceled { // nobody can have seen it
			t.Errorf("got %v", err)
		}
		w, _ := f.connect()
		if len(w.sent) > 0 {
			t.Error("it was sent")
		}
	})
	t.Run("sent, not waited for", func(t *testing.T) {
		f := newFlown(t)
		w, s := f.connect()
		canceled(f, 0, w, 1)
		err := <-f.errs
		if !errors.Is(err, context.Canceled) || model.CodeOf(err) != model.CodeDisconnected { // it may be carried out
			t.Errorf("got %v", err)
		}
		f.update(func(f *inFlight) {
			if r := f.reports[1]; r == nil || r.state != abandoned || f.acked() != 2 {
				t.Errorf("%+v, acked %d", r, f.acked())
			}
		})
		f.disconnected(s)
		if w, _ := f.connect(); len(w.sent) > 0 || len(f.flight.reports) > 0 {
			t.Error("it was sent again")
		}
	})
	t.Run("lost", func(t *testing.T) {
		f := newFlown(t)
		w, s := f.connect()
		f.report(t.Context(), 0)
		f.report(t.Context(), 0)
		old := w.await(t, 2)
		f.disconnected(s)
		w, _ = f.connect()
		again := w.await(t, 2)
		old[0].answer(nil, model.ErrInternal) // comes too late
		for _, r := range again {
			if r.Age == 0 || r.Seq != 1 && r.Seq != 2 {
				t.Errorf("%+v", r)
			}
			r.accept()
			f.want("sent again", nil)
		}
	})
	t.Run("delayed", func(t *testing.T) {
		f := newFlown(t)
		w, _ := f.connect()
		f.report(t.Context(), 0)
		for i := range 3 {
			w.await(t, i+1)[i].answer(&model.Outcome{Code: model.CodeUnavailable}, nil)
		}
		w.await(t, 4)[3].accept()
		f.want("in the end", nil)
	})
	t.Run("refused", func(t *testing.T) {
		f := newFlown(t)
		w, s := f.connect()
		f.report(t.Context(), 0)
		w.await(t, 1)
		f.disconnected(s)
		f.update(func(f *inFlight) { f.failed(model.ErrUnauthorized) })
		f.report(t.Context(), 0)
		f.want("never sent", model.ErrUnauthorized)
		f.update(func(f *inFlight) { f.state = unreachable })
		f.want("sent before", model.ErrDisconnected)
	})
	t.Run("another store", func(t *testing.T) {
		f := newFlown(t)
		w, s := f.connect()
		f.adopt("one")
		f.report(t.Context(), 0)
		w.await(t, 1)
		f.disconnected(s)
		f.report(t.Context(), 0)
		awaitQueue(f, 2)
		f.adopt("two")
		f.want("lost", model.ErrDisconnected)
		f.want("queued", model.ErrDisconnected)
	})
	t.Run("closed", func(t *testing.T) {
		f := newFlown(t)
		f.report(t.Context(), 0)
		awaitQueue(f, 1)
		f.Close()
		f.want("queued", model.ErrDisconnected)
		f.report(t.Context(), 0)
		f.want("later", model.ErrDisconnected)
	})
}

func awaitQueue(f *flown, n int) {
	f.t.Helper()
	err := testenv.Poll(10*time.Second, func() (err error) {
		f.update(func(f *inFlight) {
			if len(f.queue) != n {
				err = errors.New("not queued")
			}
		})
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// There is no more room than the server has for answers; who comes then waits for it.
func TestRoom(t *testing.T) {
	f := newFlown(t)
	f.errs = make(chan error, 2*maxInFlight)
	w, _ := f.connect()
	for range maxInFlight + 10 {
		f.report(t.Context(), 0)
	}
	sent := slices.Clone(w.await(t, maxInFlight))
	slices.SortFunc(sent, func(a, b *sending) int { return cmp.Compare(a.Seq, b.Seq) })
	awaitQueue(f, 10)
	sent[maxInFlight-1].accept() // the oldest counts
	awaitQueue(f, 10)
	sent[0].accept()
	w.await(t, maxInFlight+1)
}
