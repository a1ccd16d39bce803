package sync

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/model"
)

// fullWire takes nothing, and knows what it is still to take.
type fullWire struct {
	wire
	offers []*model.Report // guarded by mu
	cut    chan struct{}
}

func (w *fullWire) Report(ctx context.Context, r *model.Report, _ func(*model.Outcome, error)) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	w.mu.Lock()
	w.offers = append(w.offers, r)
	w.mu.Unlock()
	select {
	case <-w.cut:
		return model.ErrDisconnected
	case <-ctx.Done():
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.offers = slices.DeleteFunc(w.offers, func(o *model.Report) bool { return o == r })
	return context.Cause(ctx)
}

// offered reports whether a change of a variable is among what can be sent yet.
func (w *fullWire) offered(id uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.offers, func(r *model.Report) bool {
		return slices.ContainsFunc(r.Changes, func(ch model.Change) bool { return ch.ID == id })
	})
}

func (w *fullWire) awaitOffer(t *testing.T, id uint64) {
	t.Helper()
	err := testenv.Poll(10*time.Second, func() error {
		if !w.offered(id) {
			return errors.New("it is not sent")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (f *flown) connectFull() *fullWire {
	w := &fullWire{cut: make(chan struct{})}
	f.t.Cleanup(func() { close(w.cut) })
	s := &session{c: f.Client, conn: w, welcome: &model.Welcome{Each: true}}
	f.update(func(f *inFlight) { f.made(s) })
	return w
}

// gathering has reports wait for each other until together is called.
func (f *flown) gathering() {
	f.update(func(f *inFlight) { f.looking, f.open = true, []*turn{{given: time.Now()}, {given: time.Now()}} })
}

func together(f *inFlight) { f.open = nil }

// waits makes a change of a variable that is waited for, as long as the context says.
func (f *flown) waits(ctx context.Context, id uint64) {
	go func() {
		_, err := f.Client.Change(ctx, model.Change{Op: model.OpDelete, ID: id, In: 100})
		f.errs <- err
	}()
}

// What is over, and not sent yet, is not sent any more, whoever sends it and with what: it would overtake an edit that was made
// since.
func TestOverIsNotSent(t *testing.T) {
	for _, first := range []string{"posted", "waits"} {
		for _, second := range []string{"posted", "waits"} {
			t.Run(first+" "+second, func(t *testing.T) {
				f := newFlown(t)
				w := f.connectFull()
				f.gathering()
				firstCtx, cancelFirst := context.WithCancel(t.Context())
				defer cancelFirst()
				if first == "posted" {
					f.variable(1, nil).Enqueue(write("a"))
				} else {
					f.waits(firstCtx, 1)
				}
				awaitQueue(f, 1)
				ctx, cancel := context.WithCancel(t.Context())
				var a *Ack
				if second == "posted" {
					f.opts.Timeout = 100 * time.Millisecond
					a = f.variable(7, nil).Enqueue(write("x"))
				} else {
					f.waits(ctx, 7)
					awaitQueue(f, 2)
				}
				f.update(together)
				w.awaitOffer(t, 1)
				cancel()
				if a == nil {
					f.want("who is canceled", model.ErrDisconnected)
				} else {
					select {
					case <-a.Done():
					case <-time.After(10 * time.Second):
						t.Error("its time is not over")
					}
				}
				if w.offered(7) {
					t.Error("it can be sent yet")
				}
				if !w.offered(1) {
					t.Error("the other one cannot be sent any more")
				}
			})
		}
	}
}

// Who waits no more is left out also if the message cannot be sent at once.
func TestLeftOutOfWhatIsSentLater(t *testing.T) {
	f := newFlown(t)
	w := f.connectFull()
	f.gathering()
	f.opts.Timeout = time.Second
	f.variable(1, nil).Enqueue(write("a"))
	ctx, cancel := context.WithCancel(t.Context())
	f.waits(ctx, 7)
	awaitQueue(f, 2)
	todo := f.decide(together)
	cancel()
	f.want("who is canceled", model.ErrDisconnected)
	f.sendPosted(todo.turns)
	w.awaitOffer(t, 1)
	if w.offered(7) {
		t.Error("it can be sent yet")
	}
}

// Times are kept that are over before those that began earlier.
func TestPostedExpiresBeforeAnother(t *testing.T) {
	f := newFlown(t)
	f.connect()
	f.variable(1, nil).Enqueue(write("a"))
	f.opts.Timeout = time.Millisecond
	a := f.variable(2, nil).Enqueue(write("b"))
	select {
	case <-a.Done():
	case <-time.After(10 * time.Second):
		t.Error("its time is not over")
	}
}

// What is known of an edit when it is over keeps no value in memory.
func TestPostedKeepsNoValue(t *testing.T) {
	f := newFlown(t)
	w, _ := f.connect()
	a := f.variable(7, make([]byte, 1000)).Enqueue(write(string(make([]byte, 500)) + "x"))
	m := w.now(t, 1)[0]
	p := f.flight.reports[m.Seq].posted
	if p.value == nil {
		t.Fatal("it has no value")
	}
	m.accept()
	f.over(a, nil)
	if p.value != nil {
		t.Error("the value is kept")
	}
}
