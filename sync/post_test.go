package sync

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/commy-project/commyfs/model"
)

// variable returns one of a buffered service.
func (f *flown) variable(id uint64, value []byte) *Variable {
	s := newService(f.Client, 100)
	s.setAccessor(bufferAccessor{})
	v := &Variable{s: s, id: id, parent: s.root, version: 1}
	v.hold(value)
	f.index.put(v)
	return v
}

func write(s string) Edit { return Edit{Kind: EditWrite, Data: []byte(s)} }

// now returns the reports that have been sent, of which there are n without anybody having been waited for.
func (w *wire) now(t *testing.T, n int) []*sending {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.sent) != n {
		t.Fatalf("%d were sent, want %d", len(w.sent), n)
	}
	return slices.Clone(w.sent)
}

// over fails the test unless the edit is over, with the error.
func (f *flown) over(a *Ack, want error) {
	f.t.Helper()
	select {
	case <-a.Done():
		if _, err := a.Wait(f.t.Context()); !errors.Is(err, want) {
			f.t.Errorf("got %v, want %v", err, want)
		}
	default:
		f.t.Error("it is not over")
	}
}

// nothing fails the test if anything is left of the variable's edits.
func (f *flown) nothing(v *Variable) {
	f.t.Helper()
	f.Flush()
	if v.back.Load() != nil || v.Dirty() {
		f.t.Error("the variable has edits")
	}
	f.update(func(in *inFlight) {
		if n := len(in.reports) + len(in.queue); n > 0 {
			f.t.Errorf("%d reports are left", n)
		}
	})
}

// An edit is sent by who makes it, and over when its answer has been received: no other goroutine is waited for.
func TestPosted(t *testing.T) {
	f := newFlown(t)
	w, _ := f.connect()
	v := f.variable(7, nil)
	for i, want := range []error{nil, model.ErrQuota, model.ErrNotFound, nil} {
		a := v.Enqueue(write("x"))
		m := w.now(t, i+1)[i]
		if ch := m.Changes[0]; ch.ID != 7 || ch.In != 100 || ch.Op != model.OpWrite || m.Seq != uint64(i+1) || m.Acked != m.Seq {
			t.Errorf("sent %+v", m.Report)
		}
		if !v.Dirty() {
			t.Error("it has no edits")
		}
		if want == nil {
			m.answer(&model.Outcome{Results: []model.Result{{ID: 7, Version: 5}}}, nil)
		} else {
			m.answer(&model.Outcome{Code: model.CodeOf(want)}, nil)
		}
		f.over(a, want)
		if want == nil && a.result.Version != 5 {
			t.Errorf("result %+v", a.result)
		}
		f.nothing(v)
	}
}

// Edits of the variable that are made meanwhile follow it, and as one.
func TestPostedAndMoreEdits(t *testing.T) {
	f := newFlown(t)
	w, _ := f.connect()
	v := f.variable(7, nil)
	first, second, third := v.Enqueue(write("a")), v.Enqueue(write("b")), v.Enqueue(write("c"))
	m := w.now(t, 1)[0]
	m.answer(&model.Outcome{Code: model.CodeQuota}, nil)
	f.over(first, model.ErrQuota)
	m = w.await(t, 2)[1]
	if r := m.Changes[0].Ranges; len(r) != 2 || string(r[0].Data) != "b" || string(r[1].Data) != "c" {
		t.Errorf("sent %+v", m.Report)
	}
	m.accept()
	for _, a := range []*Ack{second, third} {
		if _, err := a.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	}
	f.nothing(v)
}

// What is large, or cannot be sent at once, leaves whoever makes it in peace.
func TestNotPosted(t *testing.T) {
	f := newFlown(t)
	v := f.variable(7, nil)
	a := v.Enqueue(write("x"))
	w, _ := f.connect()
	w.await(t, 1)[0].accept()
	if _, err := a.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	f.nothing(v)
	if v.post(write(string(make([]byte, maxPosted+1)))) != nil {
		t.Error("a large edit was posted")
	}
}

// A posted edit whose connection is lost is sent again under its number, and an answer that comes too late is none.
func TestPostedIsLost(t *testing.T) {
	f := newFlown(t)
	w, s := f.connect()
	v := f.variable(7, nil)
	a := v.Enqueue(write("x"))
	old := w.now(t, 1)[0]
	old.answer(nil, model.ErrDisconnected)
	f.disconnected(s)
	w, _ = f.connect()
	again := w.now(t, 1)[0]
	if again.Seq != old.Seq || again.Age == 0 {
		t.Errorf("sent %+v", again.Report)
	}
	old.answer(&model.Outcome{Code: model.CodeQuota}, nil)
	again.accept()
	f.over(a, nil)
	f.nothing(v)
}

func TestPostedIsDelayed(t *testing.T) {
	f := newFlown(t)
	w, _ := f.connect()
	v := f.variable(7, nil)
	a := v.Enqueue(write("x"))
	w.now(t, 1)[0].answer(&model.Outcome{Code: model.CodeUnavailable}, nil)
	if m := w.await(t, 2)[1]; m.Seq != 1 || m.Age == 0 {
		t.Errorf("sent %+v", m.Report)
	} else {
		m.accept()
	}
	f.over(a, nil)
	f.nothing(v)
}

func TestPostedAndAnotherStore(t *testing.T) {
	f := newFlown(t)
	f.adopt("one")
	_, s := f.connect()
	v := f.variable(7, nil)
	a := v.Enqueue(write("x"))
	f.disconnected(s)
	f.adopt("two")
	f.over(a, model.ErrDisconnected)
	f.nothing(v)
}

func TestPostedAndTheClientIsClosed(t *testing.T) {
	f := newFlown(t)
	f.connect()
	v := f.variable(7, nil)
	first, second := v.Enqueue(write("x")), v.Enqueue(write("y"))
	f.Close()
	f.over(first, model.ErrDisconnected)
	f.over(second, model.ErrDisconnected)
	f.nothing(v)
}

// If somebody else was first, what was written is sent, and not what differed.
func TestPostedOnAStaleBase(t *testing.T) {
	f := newFlown(t)
	w, _ := f.connect()
	v := f.variable(7, make([]byte, 1000))
	data := make([]byte, 500)
	data[250] = 1
	a := v.Enqueue(Edit{Kind: EditWrite, Data: data})
	m := w.now(t, 1)[0]
	if ch := m.Changes[0]; ch.Op != model.OpPatch || ch.Base != 1 || len(ch.Ranges) != 1 || len(ch.Ranges[0].Data) > 100 {
		t.Errorf("sent %+v", ch)
	}
	m.answer(&model.Outcome{Code: model.CodeStaleBase}, nil)
	m = w.await(t, 2)[1]
	if ch := m.Changes[0]; ch.Op != model.OpWrite || len(ch.Ranges) != 1 || len(ch.Ranges[0].Data) != len(data) || m.Seq != 2 {
		t.Errorf("sent %+v", ch)
	}
	m.accept()
	if _, err := a.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	f.nothing(v)
}

// late has a posted edit's time be over, and that be seen.
func (f *flown) late(a *Ack) {
	f.update(func(f *inFlight) { a.deadline = time.Now() })
	f.expire()
}

// Who gets no answer in time is told that; of what comes later nothing is left.
func TestPostedIsNotAnswered(t *testing.T) {
	f := newFlown(t)
	w, _ := f.connect()
	v, other := f.variable(7, nil), f.variable(8, nil)
	a, b := v.Enqueue(write("x")), other.Enqueue(write("x"))
	next := v.Enqueue(write("y"))
	f.late(a)
	f.over(a, errNoAnswer)
	m := w.await(t, 3)
	m[0].accept()
	if m[2].Acked != 2 || m[2].Seq != 3 {
		t.Errorf("sent %+v", m[2].Report)
	}
	m[2].accept()
	if _, err := next.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	m[1].accept()
	f.over(b, nil)
	f.nothing(v)
	f.nothing(other)
}

// Its time is watched by itself, too.
func TestPostedExpires(t *testing.T) {
	f := newFlown(t)
	f.opts.Timeout = time.Millisecond
	f.connect()
	v := f.variable(7, nil)
	for range 2 {
		if _, err := v.Enqueue(write("x")).Wait(t.Context()); !errors.Is(err, errNoAnswer) {
			t.Errorf("got %v, want that there is no answer", err)
		}
	}
}
