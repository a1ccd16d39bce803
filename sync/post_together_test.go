package sync

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/commy-project/commyfs/model"
)

// busyWire takes a report only from who waits, and when it is told to.
type busyWire struct {
	wire
	waits chan struct{}
	room  chan struct{}
}

func (w *busyWire) Report(ctx context.Context, r *model.Report, handle func(*model.Outcome, error)) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	default:
	}
	w.waits <- struct{}{}
	select {
	case <-w.room:
		return w.wire.Report(ctx, r, handle)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (f *flown) connectBusy() (*busyWire, *session) {
	w := &busyWire{waits: make(chan struct{}), room: make(chan struct{})}
	s := &session{c: f.Client, conn: w, welcome: &model.Welcome{}}
	f.update(func(f *inFlight) { f.made(s) })
	return w, s
}

// A connection that takes nothing is not waited for by who makes an edit.
func TestPostedOnAFullConnection(t *testing.T) {
	f := newFlown(t)
	w, _ := f.connectBusy()
	v := f.variable(7, nil)
	a := v.Enqueue(write("x"))
	<-w.waits
	w.room <- struct{}{}
	w.await(t, 1)[0].accept()
	f.over(a, nil)
	f.nothing(v)
}

// What is still to be sent when its time is over is not sent: who waited for it may have sent something else since.
func TestPostedOnAConnectionThatStaysFull(t *testing.T) {
	f := newFlown(t)
	f.opts.Timeout = 10 * time.Millisecond
	w, _ := f.connectBusy()
	v := f.variable(7, nil)
	a := v.Enqueue(write("x"))
	<-w.waits
	if _, err := a.Wait(t.Context()); !errors.Is(err, errNoAnswer) {
		t.Errorf("got %v, want that there is no answer", err)
	}
	w.now(t, 0)
	f.nothing(v)
}

// As long as it is being sent it is not over.
func TestPostedIsBeingSent(t *testing.T) {
	f := newFlown(t)
	w, _ := f.connectBusy()
	v := f.variable(7, nil)
	a := v.Enqueue(write("x"))
	<-w.waits
	f.late(a)
	select {
	case <-a.Done():
		t.Error("it is over")
	default:
	}
	w.room <- struct{}{}
	if _, err := a.Wait(t.Context()); !errors.Is(err, errNoAnswer) {
		t.Errorf("got %v, want that there is no answer", err)
	}
	w.now(t, 1)[0].accept()
	f.nothing(v)
}

// Posted edits of several variables travel together while others are under way, sent by who receives an answer. Those that
// nobody waits for any more are left out.
func TestPostedInACrowd(t *testing.T) {
	f := newFlown(t)
	w, _ := f.connectEach()
	f.open()
	var list []*Variable
	var acks []*Ack
	for i := range maxOpen + 4 {
		v := f.variable(uint64(i+1), nil)
		list, acks = append(list, v), append(acks, v.Enqueue(write("x")))
	}
	lone := w.now(t, maxOpen)
	f.late(acks[maxOpen+1])
	f.over(acks[maxOpen+1], errNoAnswer)
	lone[0].accept()
	f.over(acks[0], nil)
	m := w.now(t, maxOpen+1)[maxOpen]
	if !m.Each || len(m.Changes) != 3 || m.Seq != maxOpen+1 {
		t.Fatalf("sent %+v", m.Report)
	}
	for i, id := range []uint64{maxOpen + 1, maxOpen + 3, maxOpen + 4} {
		if m.Changes[i].ID != id {
			t.Errorf("change %d is of %d, want %d", i, m.Changes[i].ID, id)
		}
	}
	f.late(acks[maxOpen+2])
	f.over(acks[maxOpen+2], errNoAnswer)
	m.acceptEach(model.Refusal{Index: 2, Code: model.CodeQuota})
	f.over(acks[maxOpen], nil)
	f.over(acks[maxOpen+3], model.ErrQuota)
	lone[1].accept()
	for _, v := range list {
		f.nothing(v)
	}
}

// One that waits for a crowd's message travels with the others whoever sends it.
func TestPostedBesideWaiters(t *testing.T) {
	for _, first := range []string{"posted", "waits"} {
		t.Run(first, func(t *testing.T) {
			f := newFlown(t)
			w, s := f.connectEach()
			f.open()
			for i := range maxOpen {
				f.report(t.Context(), 0)
				w.await(t, i+1)
			}
			v := f.variable(7, nil)
			var a *Ack
			if first == "posted" {
				a = v.Enqueue(write("x"))
			}
			f.report(t.Context(), 0)
			awaitQueue(f, map[string]int{"posted": 2, "waits": 1}[first])
			if first == "waits" {
				a = v.Enqueue(write("x"))
			}
			for _, lone := range w.await(t, maxOpen)[:maxOpen] {
				lone.accept()
				f.want("alone", nil)
			}
			m := w.await(t, maxOpen+1)[maxOpen]
			if !m.Each || len(m.Changes) != 2 {
				t.Errorf("sent %+v", m.Report)
			}
			f.disconnected(s)
			w, _ = f.connectEach()
			for _, again := range w.await(t, 2) {
				if again.Each || again.Age == 0 {
					t.Errorf("sent %+v", again.Report)
				}
				again.accept()
			}
			f.over(a, nil)
			f.want("who waits", nil)
			f.nothing(v)
		})
	}
}
