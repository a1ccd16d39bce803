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

// connectEach connects to a server that takes several reports in one message.
func (f *flown) connectEach() (*wire, *session) {
	w := &wire{}
	s := &session{c: f.Client, conn: w, welcome: &model.Welcome{Each: true}}
	f.update(func(f *inFlight) { f.made(s) })
	return w, s
}

// gather makes n reports that wait behind others.
func (f *flown) gather(ctx context.Context, n int) {
	f.t.Helper()
	for i := range n {
		f.report(ctx, 0)
		awaitQueue(f, i+1)
	}
}

// crowd connects and has n reports go as one message, which it returns.
func (f *flown) crowd(ctx context.Context, n int) (*wire, *session, *sending) {
	f.t.Helper()
	f.errs = make(chan error, 2*n+maxOpen)
	w, s := f.connectEach()
	f.open()
	for i := range maxOpen {
		f.report(f.t.Context(), 0)
		w.await(f.t, i+1)
	}
	f.gather(ctx, n)
	for _, lone := range w.await(f.t, maxOpen) {
		if lone.Each || len(lone.Changes) != 1 {
			f.t.Errorf("who is alone: %+v", lone.Report)
		}
		lone.accept()
		f.want("alone", nil)
	}
	m := w.await(f.t, maxOpen+1)[maxOpen]
	if !m.Each || len(m.Changes) != n || m.Seq != maxOpen+1 || m.Age != 0 {
		f.t.Fatalf("sent %+v", m.Report)
	}
	return w, s, m
}

// open has nobody wait less than for ever.
func (f *flown) open() { f.update(func(f *inFlight) { f.looking = true }) }

func (s *sending) acceptEach(refused ...model.Refusal) {
	s.answer(&model.Outcome{Results: make([]model.Result, len(s.Changes)), Refused: refused}, nil)
}

func TestCrowdEachHasItsAnswer(t *testing.T) {
	f := newFlown(t)
	_, _, m := f.crowd(t.Context(), 4)
	m.acceptEach(model.Refusal{Index: 2, Code: model.CodeNotFound, Message: "no"})
	var refused int
	for range 4 {
		switch err := <-f.errs; {
		case errors.Is(err, model.ErrNotFound):
			refused++
		case err != nil:
			t.Error(err)
		}
	}
	if refused != 1 {
		t.Errorf("%d were refused, want 1", refused)
	}
	if len(f.flight.reports) > 0 {
		t.Error("something is left")
	}
}

// What was lost is sent again under its own number, and what nobody waits for is not.
func TestCrowdIsLost(t *testing.T) {
	f := newFlown(t)
	_, s, m := f.crowd(t.Context(), 3)
	f.update(func(f *inFlight) { f.reports[m.Seq+1].state = abandoned })
	f.disconnected(s)
	w, _ := f.connectEach()
	again := w.await(t, 2)
	m.acceptEach() // comes too late
	var numbers []uint64
	for _, r := range again {
		if r.Each || r.Age == 0 {
			t.Errorf("%+v", r.Report)
		}
		numbers = append(numbers, r.Seq)
		r.accept()
		f.want("sent again", nil)
	}
	slices.Sort(numbers)
	if !slices.Equal(numbers, []uint64{m.Seq, m.Seq + 2}) {
		t.Errorf("sent again: %d, want %d and %d", numbers, m.Seq, m.Seq+2)
	}
}

func TestCrowdIsLeft(t *testing.T) {
	f := newFlown(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, s, m := f.crowd(ctx, 3)
	cancel()
	for range 3 {
		if err := <-f.errs; !errors.Is(err, context.Canceled) || model.CodeOf(err) != model.CodeDisconnected {
			t.Errorf("got %v, want Canceled, and that it may have been carried out", err)
		}
	}
	f.report(t.Context(), 0)
	m.acceptEach()
	f.disconnected(s)
	w, _ := f.connectEach()
	w.await(t, 1)[0].accept()
	f.want("who came later", nil)
	if n := len(w.await(t, 1)); n != 1 {
		t.Errorf("%d were sent again", n)
	}
}

// Who was to send for the others, and waits no more before he does, leaves that to them.
func TestCrowdIsLeftByTheFirst(t *testing.T) {
	f := newFlown(t)
	var list []*report
	f.update(func(f *inFlight) {
		for range 3 {
			r := &report{changes: make([]model.Change, 1), bell: bells.Get().(*bell)}
			list = append(list, r)
			f.queue = append(f.queue, r)
		}
	})
	_, s := f.connectEach()
	first := list[0].turn
	if first == nil || len(first.reports) != 3 {
		t.Fatalf("turn %+v", first)
	}
	if !f.giveUp(list[0]) {
		t.Error("it was over")
	}
	for i, r := range list[1:] {
		if r.turn == nil || r.turn.session != s || !slices.Equal(r.turn.reports, []*report{r}) {
			t.Errorf("report %d has turn %+v", i+1, r.turn)
		}
	}
	if r := list[0]; r.turn != nil || r.state != acknowledged || f.flight.reports[r.seq] != nil {
		t.Errorf("%+v is left", r)
	}
}

// A server that refuses the message has looked at nothing in it: each may be alone.
func TestCrowdIsRefused(t *testing.T) {
	f := newFlown(t)
	w, _, m := f.crowd(t.Context(), 3)
	m.answer(nil, model.ErrTooLarge)
	for i, r := range w.await(t, maxOpen+1+3)[maxOpen+1:] {
		if r.Each || len(r.Changes) != 1 {
			t.Errorf("sent again: %+v", r.Report)
		}
		if i == 0 {
			r.answer(nil, model.ErrTooLarge)
			f.want("the one that was too large", model.ErrTooLarge)
		} else {
			r.accept()
			f.want("the others", nil)
		}
	}
}

// A server that is not available says so to each, and is asked again.
func TestCrowdIsDelayed(t *testing.T) {
	f := newFlown(t)
	w, _, m := f.crowd(t.Context(), 2)
	m.answer(nil, model.ErrUnavailable)
	for _, r := range w.await(t, maxOpen+1+2)[maxOpen+1:] {
		r.accept()
		f.want("in the end", nil)
	}
}

func TestCrowdAndAnotherStore(t *testing.T) {
	f := newFlown(t)
	f.adopt("one")
	_, s, _ := f.crowd(t.Context(), 3)
	f.disconnected(s)
	f.adopt("two")
	for range 3 {
		f.want("of the store before", model.ErrDisconnected)
	}
	w, _ := f.connectEach()
	if len(w.sent) > 0 || len(f.flight.reports)+len(f.flight.queue) > 0 {
		t.Error("something is left")
	}
}

// Others do not wait for long for a message that is not answered.
func TestCrowdDoesNotWaitForEver(t *testing.T) {
	f := newFlown(t)
	w, _ := f.connectEach()
	for range maxOpen + 3 {
		f.report(t.Context(), 0)
	}
	n := 0
	err := testenv.Poll(10*time.Second, func() error {
		n = 0
		for _, m := range w.await(t, 1) {
			n += len(m.Changes)
		}
		if n < maxOpen+3 {
			return errors.New("not all are sent")
		}
		return nil
	})
	if err != nil {
		t.Error(n, err)
	}
}

// Changes that must be made together go alone, and in between.
func TestCrowdTakesNoTransactions(t *testing.T) {
	f := newFlown(t)
	w, _ := f.connectEach()
	f.open()
	for i := range maxOpen {
		f.report(t.Context(), 0)
		w.await(t, i+1)
	}
	go func() {
		_, err := f.Client.report(t.Context(), 0, nil, model.Change{}, model.Change{})
		f.errs <- err
	}()
	m := w.await(t, maxOpen+1)[maxOpen]
	if m.Each || len(m.Changes) != 2 {
		t.Errorf("sent %+v", m.Report)
	}
	m.answer(&model.Outcome{Code: model.CodeConflict, Index: 1}, nil)
	err := <-f.errs
	var r *RefusedError
	if !errors.As(err, &r) || r.Index != 1 || !errors.Is(err, model.ErrConflict) {
		t.Errorf("got %v", err)
	}
}

// What travels together and nobody waits for any more, the first included, before it is sent, takes no room.
func TestCrowdIsLeftBeforeItIsSent(t *testing.T) {
	f := newFlown(t)
	list := f.queueUp(3)
	f.connectEach()
	for _, r := range []*report{list[1], list[0], list[2]} {
		if !f.giveUp(r) {
			t.Error("it was over")
		}
	}
	f.update(func(f *inFlight) {
		if n := len(f.reports) + len(f.queue); n > 0 {
			t.Errorf("%d reports are left", n)
		}
	})
}

// Who has given up before the first sends is not sent for: what he does next must not be overtaken by it.
func TestCrowdLeavesOutWhoHasLeft(t *testing.T) {
	f := newFlown(t)
	list := f.queueUp(3)
	w, _ := f.connectEach()
	f.giveUp(list[1])
	turn, _ := f.take(list[0])
	f.send(t.Context(), turn)
	m := w.await(t, 1)[0]
	if m.Seq != 1 || len(m.Changes) != 3 {
		t.Fatalf("sent %+v", m.Report)
	}
	for i := range m.Changes {
		if got, want := m.Changes[i].Op == model.OpDelete, i != 1; got != want {
			t.Errorf("change %d was sent: %v", i, got)
		}
	}
	f.update(func(f *inFlight) {
		if f.reports[list[1].seq] != nil {
			t.Error("it takes room")
		}
	})
	m.acceptEach(model.Refusal{Index: 1, Code: model.CodeInvalid})
	for _, r := range []*report{list[0], list[2]} {
		if r.state != acknowledged || r.err != nil || len(r.results) != 1 {
			t.Errorf("who has stayed: %+v", r)
		}
	}
}

// What has a number is sent before what has none: that may have no room until it is answered.
func TestCrowdIsNotOvertakenWhenItWaitsAgain(t *testing.T) {
	for what, fall := range map[string]func(f *flown, t *turn){
		"the first gives up": func(f *flown, t *turn) { f.giveUp(t.reports[0]) },
		"it is not sent": func(f *flown, turn *turn) {
			f.take(turn.reports[0])
			f.unsent(turn)
		},
		"it is refused": func(f *flown, turn *turn) {
			f.take(turn.reports[0])
			f.answered(turn, nil, model.ErrTooLarge)
		},
	} {
		t.Run(what, func(t *testing.T) {
			f := newFlown(t)
			list := f.queueUp(2*maxInFlight + 1)
			f.connectEach()
			first := list[0].turn
			for range 10 { // those behind it are answered, as far as they can be sent
				var open []*turn
				f.update(func(f *inFlight) {
					for _, r := range list {
						if r.turn != nil && r.turn != first {
							open = append(open, r.turn)
						}
					}
				})
				for _, o := range open {
					f.take(o.reports[0])
					f.answered(o, &model.Outcome{Results: make([]model.Result, len(o.reports))}, nil)
				}
				f.update(func(f *inFlight) { f.close(first) })
			}
			fall(f, first)
			f.update(func(f *inFlight) {
				for _, r := range first.reports[1:] {
					if r.state != sent || r.turn == nil {
						t.Fatalf("number %d is not sent, state %d, with %d in the queue", r.seq, r.state, len(f.queue))
					}
				}
			})
		})
	}
}

// queueUp has reports wait that nobody waits for.
func (f *flown) queueUp(n int) (list []*report) {
	f.update(func(f *inFlight) {
		for range n {
			r := &report{changes: []model.Change{{Op: model.OpDelete}}, bell: bells.Get().(*bell)}
			list = append(list, r)
			f.queue = append(f.queue, r)
		}
	})
	return list
}
