package estate

import (
	"os"
	"slices"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

func newEstate(t *testing.T) *Estate {
	t.Helper()
	e, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

// heir opens an estate as the next process does.
func heir(t *testing.T, e *Estate) *Estate {
	t.Helper()
	fd, err := syscall.Dup(int(e.File().Fd()))
	if err != nil {
		t.Fatal(err)
	}
	h, err := Open(os.NewFile(uintptr(fd), "estate"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	h.TakeOver()
	return h
}

func TestLayout(t *testing.T) {
	if n := unsafe.Sizeof(header{}); n > headerSize {
		t.Errorf("a header of %d bytes", n)
	}
	if n := unsafe.Sizeof(Handle{}); n != 256 {
		t.Errorf("a handle of %d bytes", n)
	}
	if n := unsafe.Sizeof(Service{}); n != 16 {
		t.Errorf("a service of %d bytes", n)
	}
}

func TestHeirFindsWhatWasNoted(t *testing.T) {
	e := newEstate(t)
	init := make([]byte, 104)
	init[0] = 104
	cmd := Command{Args: []string{"mount", "/mnt/a b"}, Env: []string{"X=1\n2"}}
	if err := e.SetInit(init); err != nil {
		t.Fatal(err)
	}
	if err := e.SetCommand(cmd); err != nil {
		t.Fatal(err)
	}
	e.SetThreads(11, 12)
	e.SetStore("another")
	e.SetStore("store")
	s := e.AddService(5, 100)
	e.AddService(6, 7).SetRev(8)
	e.RemoveService(s)
	a := e.AddHandle(Opened{Fh: 2, Node: 40, Flags: syscall.O_RDWR, Opener: 9})
	b := e.AddHandle(Opened{Fh: 3, Node: 41})
	c := e.AddHandle(Opened{Fh: 4, Node: 42})
	a.SetRead(Read{Version: 17, Size: 3, Ended: true})
	a.SetWriting(Emptied, 16)
	a.SetKind(File)
	e.RemoveHandle(b)
	e.SetLastHandle(4)
	e.SetLastHandle(3)

	h := heir(t, e)
	if !slices.Equal(h.Init(), init) {
		t.Errorf("INIT %v", h.Init())
	}
	if got, err := h.Command(); err != nil || !slices.Equal(got.Args, cmd.Args) || !slices.Equal(got.Env, cmd.Env) {
		t.Errorf("command %+v, %v", got, err)
	}
	if got := h.Store(); got != "store" {
		t.Errorf("store %q", got)
	}
	if got := h.Threads(); !slices.Equal(got, []uint32{11, 12}) {
		t.Errorf("threads %v", got)
	}
	if d := time.Since(h.Started()); d < 0 || d > time.Minute {
		t.Errorf("made %v ago", d)
	}
	services := slices.Collect(h.Services())
	if len(services) != 1 || services[0].ID() != 6 || services[0].Rev() != 8 {
		t.Errorf("services %v", services)
	}
	handles := slices.Collect(h.Handles())
	if len(handles) != 2 || handles[0].Opened() != a.Opened() || handles[1].Opened() != c.Opened() {
		t.Fatalf("handles %+v", handles)
	}
	if r, ok := handles[0].Read(); !ok || r != (Read{Version: 17, Size: 3, Ended: true}) || handles[0].Kind() != File {
		t.Errorf("read %v %v of kind %d", r, ok, handles[0].Kind())
	}
	if w, base := handles[0].Writing(); w != Emptied || base != 16 {
		t.Errorf("writing %v over %d", w, base)
	}
	_, ok := handles[1].Read()
	if w, _ := handles[1].Writing(); ok || w != Settled || handles[1].Kind() != 0 {
		t.Error("a handle that did nothing has done something")
	}
	if got := h.LastHandle(); got != 4 {
		t.Errorf("last handle %d", got)
	}
	// What was free is used again, and nothing else.
	if d := h.AddHandle(Opened{Fh: 5}); d == handles[0] || d == handles[1] || h.header().handles.Load() != 3 {
		t.Errorf("a new handle took record %d of %d", h.index(unsafe.Pointer(d), handlesAt, 256), h.header().handles.Load())
	}
	if h.AddService(9, 0); h.header().services.Load() != 2 {
		t.Errorf("%d records of services", h.header().services.Load())
	}
}

// A process that dies while it notes something leaves a record that does not count.
func TestTornRecords(t *testing.T) {
	e := newEstate(t)
	h := e.AddHandle(Opened{Fh: 2, Node: 40})
	h.SetRead(Read{Version: 1, Size: 10})
	h.read.Store(0)
	h.snap.Version = 2 // and not the size
	half, _ := e.take(&e.freeHandles, &e.header().handles, MaxHandles)
	e.handle(half).open.Fh = 3
	e.header().initLen.Store(100) // of an INIT that says otherwise
	e.header().command.Store(10)
	n := heir(t, e)
	found := slices.Collect(n.Handles())
	if len(found) != 1 || found[0].Opened().Fh != 2 {
		t.Fatalf("handles %+v", found)
	}
	if r, ok := found[0].Read(); ok {
		t.Errorf("half a read counts: %+v", r)
	}
	if n.Init() != nil {
		t.Errorf("INIT %v", n.Init())
	}
	if c, err := n.Command(); err == nil {
		t.Errorf("command %v", c)
	}
}

func TestFull(t *testing.T) {
	e := newEstate(t)
	for i := range MaxHandles {
		if e.AddHandle(Opened{Fh: uint64(i)}) == nil {
			t.Fatalf("no room for handle %d", i)
		}
	}
	if e.AddHandle(Opened{Fh: 1}) != nil {
		t.Error("room for one more handle than there is")
	}
	e.RemoveHandle(nil)
}

// What is left of requests by processes that died is not in the way of later ones, however many die.
func TestTasksOfTheDead(t *testing.T) {
	e := newEstate(t)
	for i := range uint32(maxTasks + 50) {
		a, b := e.Begin(uint64(4*i)), e.Begin(uint64(4*i+2))
		if a == nil || b == nil {
			t.Fatalf("no room after %d processes", i)
		}
		a.Report.Sent(uint64(i) + 1)
		a.Report.Answered(true)
		b.state.Store(taskMade) // it died while it noted it
		e.Claim(i)
		e.TakeOver()
		if n, answer := a.Report.Outcome(); n != uint64(i)+1 || answer != CarriedOut {
			t.Fatalf("report %d: %v", n, answer)
		}
		a.Inherit()
	}
	if e.Overflowed() {
		t.Error("there are requests that were not noted")
	}
	for i := range uint64(maxTasks + 1) {
		if e.Begin(1<<40+2*i) == nil != (i == maxTasks) {
			t.Fatalf("request %d of %d", i, maxTasks)
		}
	}
	for i, want := range []bool{true, true, true, false} { // the process itself, those that may find such requests, and others
		if got := e.Overflowed(); got != want {
			t.Errorf("after %d more processes: %v", i, got)
		}
		e.Claim(e.Restarts())
	}
}

func TestOneClaims(t *testing.T) {
	e := newEstate(t)
	h := heir(t, e)
	if !e.Claim(0) || h.Claim(0) || e.Restarts() != 1 || !h.Claim(1) {
		t.Errorf("claimed by two, or by none: %d restarts", e.Restarts())
	}
	for want := 1; want <= 2*keptDeaths; want++ {
		if n := h.Died(time.Hour); n != min(want, keptDeaths+1) {
			t.Errorf("death %d counts as %d", want, n)
		}
	}
	if n := h.Died(0); n != 1 {
		t.Errorf("%d deaths within no time", n)
	}
}

func TestOpenOfSomethingElse(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(f); err == nil {
		t.Error("an empty file")
	}
	e := newEstate(t)
	e.header().magic++
	fd, err := syscall.Dup(int(e.File().Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(os.NewFile(uintptr(fd), "estate")); err == nil {
		t.Error("another layout")
	}
}
