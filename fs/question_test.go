package fs

import (
	"context"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// asking is a connection whose probes are counted, and held back if let is not nil.
type asking struct {
	varsync.Conn
	probes *probes
}

type probes struct {
	asked, about atomic.Int32 // all, and those about one variable
	let          atomic.Pointer[chan error]
}

func (a asking) Probe(ctx context.Context, p *model.Probe) (*model.Probed, error) {
	a.probes.asked.Add(1)
	if p.ID != 0 {
		a.probes.about.Add(1)
	}
	if let := a.probes.let.Load(); let != nil {
		select {
		case err := <-*let:
			if err != nil {
				return nil, err
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return a.Conn.Probe(ctx, p)
}

// askingMount is a mount of a host with t/s, in which there are variables, whose probes are seen.
func (h *host) askingMount(timeout time.Duration, variables ...string) (*mount, *probes) {
	h.t.Helper()
	p := &probes{}
	by := h.options()
	by.Timeout = timeout
	dial := by.Dial
	by.Dial = func(ctx context.Context) (varsync.Conn, error) {
		c, err := dial(ctx)
		return asking{c, p}, err
	}
	m := h.mountBy(h.t, by, Options{})
	m.freshAnswer = time.Hour // however slow the machine is
	m.mkdir(rootID, "t")
	m.mkdir(m.id("t"), "s")
	for _, name := range variables {
		m.put("t/s/"+name, "old")
	}
	p.asked.Store(0)
	p.about.Store(0)
	return m, p
}

// hold has probes wait for what is sent.
func (p *probes) hold() chan error {
	let := make(chan error)
	p.let.Store(&let)
	return let
}

// replacing opens with O_TRUNC on a goroutine, and closes.
func (m *mount) replacing(node uint64) chan fuse.Status {
	done := make(chan fuse.Status, 1)
	go func() {
		var out fuse.OpenOut
		status := m.Open(nil, &fuse.OpenIn{InHeader: m.header(node), Flags: trunc}, &out)
		if status == 0 {
			m.Release(nil, &fuse.ReleaseIn{InHeader: m.header(node), Fh: out.Fh})
		}
		done <- status
	}()
	return done
}

// waiting is how many questions there are that are not answered.
func (m *mount) waiting() (n int) {
	m.questions.mu.Lock()
	defer m.questions.mu.Unlock()
	for _, l := range m.questions.m {
		n++
		if l.next != nil {
			n++
		}
	}
	return n
}

// Who asks while a question is under way shares the next one with all others who do: its answer is of after they asked.
func TestSharedQuestions(t *testing.T) {
	m, p := newHost(t).askingMount(0, "v")
	s := m.node(m.id("t/s")).(*varsync.Service)
	let := p.hold()
	first, second, third := m.questions.ask(s), m.questions.ask(s), m.questions.ask(s)
	if first == second || second != third {
		t.Errorf("questions %p, %p, %p", first, second, third)
	}
	let <- nil
	<-first.answered
	eventually(t, "the second question is under way", func() bool { return p.asked.Load() == 2 })
	if fourth := m.questions.ask(s); fourth == second || !second.fresh(0) {
		t.Error("a question that is under way was shared")
	}
	let <- model.ErrNoSpace
	if err := second.wait(time.Hour); model.CodeOf(err) != model.CodeNoSpace {
		t.Errorf("answer %v", err)
	}
	let <- nil
	eventually(t, "no question is left", func() bool { return m.waiting() == 0 })
	if got := p.asked.Load(); got != 3 {
		t.Errorf("asked %d times, want 3", got)
	}
}

// What the server refuses fails the opens that asked, and no later one.
func TestRefusedQuestion(t *testing.T) {
	m, p := newHost(t).askingMount(0, "v")
	node := m.id("t/s/v")
	let := p.hold()
	done := m.replacing(node)
	let <- model.ErrNoSpace
	m.want("open on a full disk", <-done, syscall.ENOSPC)
	m.wantValue("t/s/v", "old")
	p.let.Store(nil)
	m.ok("open", <-m.replacing(node))
	if got := p.about.Load(); got != 0 {
		t.Errorf("asked %d times about one variable", got)
	}
}

// An answer is waited for as long as any, also if it is the second one to come.
func TestSilentServer(t *testing.T) {
	m, p := newHost(t).askingMount(2*time.Second, "v", "w")
	p.hold()
	v := m.replacing(m.id("t/s/v"))
	eventually(t, "the first question is under way", func() bool { return p.asked.Load() == 1 })
	w := m.replacing(m.id("t/s/w"))
	m.want("open", <-v, syscall.EIO)
	m.want("open", <-w, syscall.EIO)
	m.wantValue("t/s/v", "old")
}

// Who opens files to replace their values has asked before the kernel comes to O_TRUNC; who opens them for something else
// stops that.
func TestQuestionAhead(t *testing.T) {
	m, p := newHost(t).askingMount(0, "v")
	f, _ := m.emptied("t/s/v", wr)
	m.ok("write", f.write(0, "1"))
	m.ok("close", f.close())
	if got := p.asked.Load(); got != 1 {
		t.Fatalf("the first open has asked %d times", got)
	}

	let := p.hold()
	f = m.opened("t/s/v", wr)
	eventually(t, "the open has asked", func() bool { return p.asked.Load() == 2 })
	p.let.Store(nil)
	let <- nil
	m.ok("setattr", m.emptying(f.node, &fuse.AttrOut{}))
	m.ok("write", f.write(0, "2"))
	m.ok("close", f.close())
	m.wantStored("v", "2")
	if got := p.asked.Load(); got != 2 {
		t.Errorf("asked %d times, want 2", got)
	}

	f = m.opened("t/s/v", wr)
	m.ok("write", f.write(0, "3"))
	m.ok("close", f.close())
	if got := p.asked.Load(); got != 3 {
		t.Errorf("asked %d times, want 3", got)
	}
	f = m.opened("t/s/v", wr)
	m.ok("write", f.write(0, "4"))
	m.ok("close", f.close())
	m.wantStored("v", "4")
	if got := p.asked.Load(); got != 3 {
		t.Errorf("an open to write in place has asked: %d, want 3", got)
	}
}

// An answer that came long before O_TRUNC does not count.
func TestQuestionTooFarAhead(t *testing.T) {
	m, p := newHost(t).askingMount(0, "v")
	m.questions.likely.Store(true)
	f := m.opened("t/s/v", wr)
	h := m.handles.get(f.fh)
	<-h.ahead.answered
	h.ahead.at = h.ahead.at.Add(-2 * m.freshAnswer)
	m.ok("setattr", m.emptying(f.node, &fuse.AttrOut{}))
	if got := p.asked.Load(); got != 2 {
		t.Errorf("asked %d times, want 2", got)
	}
	m.ok("close", f.close())
}

// The version that is emptied is the one there was when the server answered, and what was removed by then is not there.
func TestQuestionAndOtherMounts(t *testing.T) {
	h := newHost(t)
	m, p := h.askingMount(0, "v", "gone")
	other := h.mount(t, Options{})
	node, gone := m.id("t/s/v"), m.id("t/s/gone")
	eventually(t, "there", func() bool { _, status := other.lookup(other.id("t/s"), "gone"); return status == 0 })

	let := p.hold()
	done := m.replacing(node)
	eventually(t, "the question is under way", func() bool { return m.waiting() == 1 })
	other.put("t/s/v", "newer")
	p.let.Store(nil)
	let <- nil
	m.ok("open", <-done)
	m.wantStored("v", "")

	p.let.Store(&let)
	done = m.replacing(gone)
	eventually(t, "the question is under way", func() bool { return m.waiting() == 1 })
	other.ok("unlink", other.unlink("t/s/gone"))
	p.let.Store(nil)
	let <- nil
	m.want("open of what was removed", <-done, syscall.ESTALE)
}
