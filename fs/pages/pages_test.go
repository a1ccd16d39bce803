package pages

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/commy-project/commyfs/fs/poke"
	"github.com/commy-project/commyfs/internal/testenv"
)

// bench is a source and a kernel. The file that the kernel is asked about is one of a file system that has a size of its own.
type bench struct {
	t    *testing.T
	file string

	mu      sync.Mutex
	value   Value
	gone    bool
	refuses error
	keeps   int
	letGo   int
	drops   int
	dropped chan struct{} // nil: dropping waits for nothing
	sets    bool          // threads are in the system call by which they set something
	blocked bool          // threads wait for a page
	loading func()        // is called once when a value has been loaded
}

func (b *bench) Value(uint64) (Value, bool) {
	b.mu.Lock()
	value, ok, loading := b.value, !b.gone, b.loading
	b.loading = nil
	b.mu.Unlock()
	if loading != nil {
		loading()
	}
	return value, ok
}

func (b *bench) Path(uint64) (string, bool) { return filepath.Base(b.file), true }

func (b *bench) Cache(context.Context, uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keeps++
	return b.refuses
}

func (b *bench) Uncache(context.Context, uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.letGo++
}

func (b *bench) Sets(uint32) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sets
}

func (b *bench) Blocked(uint32) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.blocked
}

func (b *bench) Bound() time.Duration { return 10 * time.Second }

func (b *bench) DropPages(uint64) error {
	b.mu.Lock()
	b.drops++
	wait := b.dropped
	b.mu.Unlock()
	if wait != nil {
		<-wait
	}
	return nil
}

// set makes another value, and has the kernel's size follow later, as when it asks.
func (b *bench) set(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.value = Value{[]byte(text), b.value.Version + 1}
}

func (b *bench) size(n int) {
	b.t.Helper()
	if err := os.Truncate(b.file, int64(n)); err != nil {
		b.t.Fatal(err)
	}
}

func newStopped(t *testing.T, text string) (*bench, *Pages) {
	t.Helper()
	dir := t.TempDir()
	b := &bench{t: t, file: filepath.Join(dir, "v")}
	b.set(text)
	if err := os.WriteFile(b.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return b, New(b, slog.New(slog.DiscardHandler))
}

func newBench(t *testing.T, text string) (*bench, *Pages) {
	t.Helper()
	b, p := newStopped(t, text)
	b.start(p)
	return b, p
}

func (b *bench) start(p *Pages) {
	t, dir := b.t, filepath.Dir(b.file)
	t.Helper()
	st, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	dev := st.Sys().(*syscall.Stat_t).Dev
	var pokers []*poke.Poker
	for range 2 {
		k, err := poke.New(dir, dev)
		if err != nil {
			t.Fatal(err)
		}
		pokers = append(pokers, k)
	}
	p.Start(b, pokers[0], pokers[1])
	t.Cleanup(func() {
		p.Stop()
		for _, k := range pokers {
			k.Close()
		}
	})
}

const id = 7

func (b *bench) read(p *Pages) string {
	b.t.Helper()
	buf := make([]byte, 100)
	n, err, ok := p.Read(id, buf, 0, func() Why { return Reads })
	if err != nil || !ok {
		b.t.Fatalf("read: %v, %t", err, ok)
	}
	return string(buf[:n])
}

func (b *bench) old(p *Pages) <-chan struct{} {
	confirmed := make(chan struct{})
	p.Old([]uint64{id}, func() { close(confirmed) })
	return confirmed
}

func closed(c <-chan struct{}, within time.Duration) bool {
	select {
	case <-c:
		return true
	case <-time.After(within):
		return false
	}
}

func TestSameSize(t *testing.T) {
	b, p := newBench(t, "one")
	for range 2 {
		if !p.Open(t.Context(), id) || b.keeps != 1 {
			t.Fatalf("not cached, or asked for %d times", b.keeps)
		}
	}
	if got := b.read(p); got != "one" {
		t.Fatalf("%q", got)
	}
	// A page that is being read holds up who drops it: until it is gone nothing is confirmed, and nobody else reads what is new.
	b.mu.Lock()
	b.dropped = make(chan struct{})
	b.mu.Unlock()
	b.set("two")
	confirmed := b.old(p)
	if closed(confirmed, 20*time.Millisecond) {
		t.Fatal("confirmed while a page was there")
	}
	if v, _ := p.Value(id); string(v.Data) != "one" {
		t.Errorf("others read %q", v.Data)
	}
	close(b.dropped)
	if !closed(confirmed, 10*time.Second) {
		t.Fatal("not confirmed")
	}
	if v, _ := p.Value(id); string(v.Data) != "two" || b.read(p) != "two" {
		t.Errorf("then %q", v.Data)
	}
	b.mu.Lock()
	b.value = Value{[]byte("old"), 1} // what is told can be behind what was read
	b.mu.Unlock()
	<-b.old(p)
	if got := b.read(p); got != "two" {
		t.Errorf("it goes back to %q", got)
	}
}

func TestAnotherSize(t *testing.T) {
	b, p := newBench(t, "one")
	if !p.Open(t.Context(), id) {
		t.Fatal("not cached")
	}
	b.set("three")
	if !closed(b.old(p), 10*time.Second) {
		t.Fatal("not confirmed")
	}
	// The kernel does not have the size yet.
	if v, _ := p.Value(id); string(v.Data) != "three" {
		t.Errorf("who reads past the page cache has %q", v.Data)
	}
	testenv.Eventually(t, 10*time.Second, func() error {
		if n, _ := p.Size(id); n != 5 {
			return errors.New("the old size is told")
		}
		return nil
	})
	got := make(chan string)
	go func() { got <- b.read(p) }()
	select {
	case s := <-got:
		t.Fatalf("a page of %q before the kernel had its size", s)
	case <-time.After(30 * time.Millisecond):
	}
	b.size(5)
	if s := <-got; s != "three" {
		t.Errorf("%q", s)
	}
	if !p.Settle(id) || p.Open(t.Context(), id) {
		t.Error("it is cached anew at once")
	}
}

// TestAnsweredMeanwhile: the kernel takes the old size from an answer that was given after the new value was loaded. Nobody is
// shown the new value before it has.
func TestAnsweredMeanwhile(t *testing.T) {
	b, p := newBench(t, "one")
	if !p.Open(t.Context(), id) {
		t.Fatal("not cached")
	}
	const thread = 1
	b.set("three")
	b.size(5)
	loaded := make(chan struct{})
	b.mu.Lock()
	b.sets = true
	b.loading = func() { // by Old; the next one is that which is shown
		b.mu.Lock()
		defer b.mu.Unlock()
		b.loading = func() {
			p.Answered(id, thread)
			close(loaded)
		}
	}
	b.mu.Unlock()
	<-b.old(p)
	<-loaded
	for range 20 {
		if n, _ := p.Size(id); n != 3 {
			t.Fatalf("size %d is told while the kernel is on the way to another", n)
		}
		time.Sleep(time.Millisecond)
	}
	p.GoesOn(id, thread)
	if !p.Settle(id) || b.read(p) != "three" {
		t.Error("the new value is not shown")
	}
}

// TestSizeNotTaken: as long as the kernel has another size than that of the value nobody reads a page, and nobody waits for one.
func TestSizeNotTaken(t *testing.T) {
	b, p := newBench(t, "one")
	if !p.Open(t.Context(), id) {
		t.Fatal("not cached")
	}
	b.set("three")
	<-b.old(p)
	for why, want := range map[Why]error{Reads: syscall.EINTR, Copies: syscall.EINVAL} {
		testenv.Eventually(t, 10*time.Second, func() error {
			n, err, ok := p.Read(id, make([]byte, 100), 0, func() Why { return why })
			if !ok || n != 0 || err == nil {
				t.Fatalf("read %d bytes, %v, %t", n, err, ok)
			}
			if err != want {
				return err
			}
			return nil
		})
	}
	b.size(5)
	if !p.Settle(id) || b.read(p) != "three" {
		t.Error("the value is not shown with its size")
	}
}

func TestGrowingWrite(t *testing.T) {
	b, p := newBench(t, "one")
	if !p.Open(t.Context(), id) {
		t.Fatal("not cached")
	}
	const thread = 1
	p.TakesWrite(thread, id, 3)
	p.TakesWrite(thread, id, 5) // returns when it may be answered
	if n, _ := p.Size(id); n != 3 {
		t.Errorf("the size is %d", n)
	}
	// Until the kernel has counted nobody is given a page, but for who keeps it from that.
	got := make(chan string, 1)
	read := func() { got <- b.read(p) }
	go read()
	select {
	case s := <-got:
		t.Fatalf("a page of %q before the kernel has counted", s)
	case <-time.After(30 * time.Millisecond):
	}
	b.mu.Lock()
	b.blocked = true
	b.mu.Unlock()
	if s := <-got; s != "one" {
		t.Errorf("%q", s)
	}
	b.mu.Lock()
	b.blocked = false
	b.mu.Unlock()
	b.size(5)
	go read()
	select {
	case s := <-got:
		t.Fatalf("a page of %q while the kernel has the size of what was written", s)
	case <-time.After(30 * time.Millisecond):
	}
	b.size(3)
	if s := <-got; s != "one" || !p.Settle(id) {
		t.Errorf("%q", s)
	}
}

// TestPageWhileDropping: a page that is given while pages are dropped may be there afterwards. It is dropped again.
func TestPageWhileDropping(t *testing.T) {
	b, p := newBench(t, "one")
	if !p.Open(t.Context(), id) {
		t.Fatal("not cached")
	}
	b.mu.Lock()
	b.dropped = make(chan struct{})
	drops := b.drops
	b.mu.Unlock()
	b.set("three")
	confirmed := b.old(p)
	testenv.Eventually(t, 10*time.Second, func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.drops == drops {
			return errors.New("pages are not dropped")
		}
		return nil
	})
	if got := b.read(p); got != "one" {
		t.Errorf("%q while it is dropped", got)
	}
	b.size(5)
	close(b.dropped)
	<-confirmed
	if b.mu.Lock(); b.drops != drops+2 {
		t.Errorf("%d times dropped", b.drops-drops)
	}
	b.mu.Unlock()
}

func TestNotCached(t *testing.T) {
	b, p := newBench(t, "one")
	b.refuses = errors.New("no")
	if p.Open(t.Context(), id) || p.Has(id) {
		t.Error("cached though the server does not ask")
	}
	if _, _, ok := p.Read(id, nil, 0, nil); ok {
		t.Error("it has pages")
	}
	if !closed(b.old(p), 10*time.Second) {
		t.Error("not confirmed")
	}
	for _, text := range []string{"", string(make([]byte, Max+1))} {
		b, p := newBench(t, text)
		if p.Open(t.Context(), id) {
			t.Errorf("a value of %d bytes is cached", len(text))
		}
		testenv.Eventually(t, 10*time.Second, func() error {
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.letGo != 1 {
				return errors.New("it is not let go")
			}
			return nil
		})
	}
	var none *Pages
	none.Settle(id)
	none.Wrote(id)
	none.Forgotten(id)
	none.GoesOn(id, 1)
	if none.Has(id) {
		t.Error("nothing has something")
	}
}

// TestInherit: what the kernel has of a process before is dropped before anybody is given a page or a size.
func TestInherit(t *testing.T) {
	b, p := newStopped(t, "three")
	if err := os.Truncate(b.file, 3); err != nil {
		t.Fatal(err)
	}
	b.dropped = make(chan struct{})
	p.Inherit(id, 1)
	read, told := make(chan string, 1), make(chan struct{})
	go func() { read <- b.read(p) }()
	go func() {
		defer close(told)
		p.AwaitInherited(id)
	}()
	b.start(p)
	select {
	case s := <-read:
		t.Fatalf("a page of %q before the old one was dropped", s)
	case <-told:
		t.Fatal("a size is told before")
	case <-time.After(30 * time.Millisecond):
	}
	close(b.dropped)
	<-told
	b.size(5)
	if s := <-read; s != "three" || !p.Settle(id) || b.keeps != 1 {
		t.Errorf("%q, asked for %d times", s, b.keeps)
	}
	p.Close(id)
	b.mu.Lock()
	b.gone = true
	b.mu.Unlock()
	<-b.old(p)
	testenv.Eventually(t, 10*time.Second, func() error {
		if p.Has(id) {
			return errors.New("still cached")
		}
		return nil
	})
}

func TestLetGo(t *testing.T) {
	b, p := newBench(t, "one")
	if !p.Open(t.Context(), id) {
		t.Fatal("not cached")
	}
	p.Forgotten(id) // not while it is open
	if !p.Has(id) {
		t.Fatal("not cached any more")
	}
	b.mu.Lock()
	b.gone = true
	b.mu.Unlock()
	<-b.old(p)
	if got := b.read(p); got != "one" {
		t.Errorf("removed: %q", got)
	}
	p.Close(id)
	<-b.old(p)
	testenv.Eventually(t, 10*time.Second, func() error {
		if p.Has(id) {
			return errors.New("still cached")
		}
		return nil
	})
}
