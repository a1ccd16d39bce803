//go:build !race

package estate

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
)

// cut is something that a mount notes. A process that does it is run one instruction at a time; whatever it has stored by then, an
// heir finds what was before, or what is after, or one of lost.
type cut struct {
	name    string
	prepare func(e *Estate) func()
	look    func(e *Estate) string
	lost    []string
}

func lookHandles(e *Estate) string {
	var b strings.Builder
	for h := range e.Handles() {
		w, base := h.Writing()
		r, read := h.Read()
		c, seen := h.Condition()
		n, answer := h.Report.Outcome()
		fmt.Fprintf(&b, "fh %d node %d", h.Opened().Fh, h.Opened().Node) // what does not count is left out
		if data, unique, ok := e.Kept(h); ok {
			fmt.Fprintf(&b, " kept %q of %d over %d", data, unique, base)
		} else if w == Kept || w == Resting {
			b.WriteString(" kept and not there")
		} else {
			fmt.Fprintf(&b, " writing %d", w)
			if w == Clean || w == Emptied {
				fmt.Fprintf(&b, " over %d", base)
			}
		}
		if w >= Emptied && n != 0 {
			fmt.Fprintf(&b, " report %d: %d", n, answer)
		}
		if read {
			fmt.Fprintf(&b, " read %v", r)
		}
		if c != NoCondition {
			fmt.Fprintf(&b, " condition %d %d", c, seen)
		}
		b.WriteString("; ")
	}
	return b.String()
}

func aHandle(e *Estate) *Handle {
	h := e.AddHandle(Opened{Fh: 7, Node: 40})
	h.SetKind(File)
	return h
}

// keeping is a descriptor that has gathered something.
func keeping(e *Estate) *Handle {
	h := aHandle(e)
	e.Keep(h, Kept, 3, []byte("old value"), 0, 9, 100)
	return h
}

const nothing = "fh 7 node 40 writing 4; " // what was gathered is not known: its descriptor gets an error

// lookMoved is where the last announced rename has brought node 40.
func lookMoved(e *Estate) string {
	for _, name := range []string{"old", "new"} {
		for dir := range uint64(3) {
			if e.HasMoved(40, dir, name) {
				return fmt.Sprint(dir, "/", name)
			}
		}
	}
	return "nowhere"
}

var cuts = []cut{
	{"moved", func(e *Estate) func() {
		e.Moved(40, 1, "old")
		e.Moved(40+maxMoved, 2, "new") // in the same place
		e.Moved(40, 1, "old")
		return func() { e.Moved(40, 2, "new") }
	}, lookMoved, []string{"nowhere"}},
	{"open", func(e *Estate) func() {
		aHandle(e)
		old := e.AddHandle(Opened{Fh: 8, Node: 41})
		old.SetRead(Read{Version: 9})
		e.Keep(old, Kept, 5, []byte("of before"), 0, 9, 1)
		e.RemoveHandle(old)
		return func() { e.AddHandle(Opened{Fh: 9, Node: 42}) }
	}, lookHandles, nil},
	{"close", func(e *Estate) func() {
		aHandle(e)
		h := e.AddHandle(Opened{Fh: 8, Node: 41})
		e.Keep(h, Kept, 5, []byte("value"), 0, 5, 1)
		return func() { e.RemoveHandle(h) }
	}, lookHandles, nil},
	{"read", func(e *Estate) func() {
		h := aHandle(e)
		h.SetRead(Read{Version: 1, Size: 10})
		return func() { h.SetRead(Read{Version: 2, Size: 20, Ended: true}) }
	}, lookHandles, []string{"fh 7 node 40 writing 0; "}},
	{"empty", func(e *Estate) func() {
		h := aHandle(e)
		return func() { h.SetWriting(Emptied, 17) }
	}, lookHandles, []string{nothing}},
	{"gather", func(e *Estate) func() {
		h := aHandle(e)
		h.SetWriting(Emptied, 3)
		return func() { e.Keep(h, Kept, 3, []byte("new value"), 0, 9, 101) }
	}, lookHandles, nil},
	{"gather more", func(e *Estate) func() {
		h := keeping(e)
		return func() { e.Keep(h, Kept, 3, []byte("old value, and more"), 9, 19, 101) }
	}, lookHandles, nil},
	{"gather other", func(e *Estate) func() {
		h := keeping(e)
		return func() { e.Keep(h, Resting, 4, []byte("new value"), 0, 3, 101) }
	}, lookHandles, []string{`fh 7 node 40 kept "new value" of 101 over 4; `}}, // it would be committed by itself
	{"gather less", func(e *Estate) func() {
		h := keeping(e)
		return func() { e.Keep(h, Kept, 3, []byte("old"), 0, 0, 101) }
	}, lookHandles, nil},
	{"gather other in much", func(e *Estate) func() {
		h := aHandle(e)
		data := bytes.Repeat([]byte("x"), movedAtMost+1)
		e.Keep(h, Kept, 3, data, 0, len(data), 100)
		data = bytes.Clone(data)
		data[5] = 'y'
		return func() { e.Keep(h, Kept, 3, data, 5, 6, 101) }
	}, lookHandles, []string{nothing}},
	{"gather much more", func(e *Estate) func() {
		h := keeping(e)
		data := append([]byte("old value"), bytes.Repeat([]byte("x"), 200)...)
		return func() { e.Keep(h, Kept, 3, data, 9, len(data), 101) }
	}, lookHandles, nil},
	{"commit", func(e *Estate) func() {
		h := keeping(e)
		return func() { h.Report.Sent(12) }
	}, lookHandles, []string{`fh 7 node 40 kept "old value" of 100 over 3 report 12: 2; `}}, // refused: it is not sent yet
	{"committed", func(e *Estate) func() {
		h := keeping(e)
		h.Report.Sent(12)
		return func() { h.Report.Answered(true) }
	}, lookHandles, nil},
	{"settle", func(e *Estate) func() {
		h := keeping(e)
		h.Report.Sent(12)
		h.Report.Answered(true)
		return func() { h.SetWriting(Settled, 0); e.Drop(h) }
	}, lookHandles, nil},
	{"end of file", func(e *Estate) func() {
		h := aHandle(e)
		h.SetRead(Read{Version: 1, Size: 10})
		return func() { h.SetRead(Read{Version: 1, Size: 10, Ended: true}) }
	}, lookHandles, nil},
	{"condition", func(e *Estate) func() {
		h := aHandle(e)
		return func() { h.SetCondition(Seen, 5) }
	}, lookHandles, nil},
	{"edit", func(e *Estate) func() {
		e.RemoveEdit(e.AddEdit(1, 2, 3, 4, 5, 0, []byte("of before")))
		return func() { e.AddEdit(7, 200, 2, 30, 0, 0, []byte("data")) }
	}, lookEdits, nil},
	{"edit over", func(e *Estate) func() {
		d := e.AddEdit(7, 200, 2, 30, 0, 0, []byte("data"))
		d.Report.Sent(5)
		d.Report.Answered(true)
		return func() { e.RemoveEdit(d) }
	}, lookEdits, nil},
	{"request", func(e *Estate) func() {
		for i := range uint64(maxTasks) { // so that one is used again
			t := e.Begin(2 * i)
			t.Report.Sent(i + 1)
			t.SetValue(i)
			t.Done(0)
		}
		return func() { e.Begin(9000) }
	}, lookTasks, []string{""}},
	{"answer", func(e *Estate) func() {
		t := e.Begin(9000)
		return func() { t.SetValue(77); t.Done(-5) }
	}, lookTasks, nil},
	{"draft", func(e *Estate) func() {
		e.RemoveDraft(e.AddDraft(1, 0o600, 2, "of before"))
		return func() { e.AddDraft(5, 0o644, 6, "name") }
	}, lookDrafts, nil},
	{"move draft", func(e *Estate) func() {
		d := e.AddDraft(5, 0o644, 6, "name")
		return func() { d.Move(8, "another") }
	}, lookDrafts, []string{""}},
	{"describe draft", func(e *Estate) func() {
		d := e.AddDraft(5, 0o644, 6, "name")
		d.Describe(0o644, true, 99)
		return func() { d.Describe(0o600, true, 99) }
	}, lookDrafts, nil},
	{"service", func(e *Estate) func() {
		e.RemoveService(e.AddService(3, 4))
		return func() { e.AddService(5, 6) }
	}, func(e *Estate) (text string) {
		for s := range e.Services() {
			text += fmt.Sprintf("%d at %d; ", s.ID(), s.Rev())
		}
		return text
	}, nil},
	{"store and principal", func(e *Estate) func() {
		e.SetStore("store")
		e.SetPrincipal("one")
		return func() { e.SetStore("store"); e.SetPrincipal("one") } // at each connection
	}, func(e *Estate) string { return e.Store() + " " + e.Principal() }, nil},
}

func lookEdits(e *Estate) (text string) {
	for d := range e.Edits() {
		n, answer := d.Report.Outcome()
		text += fmt.Sprintf("fh %d unique %d kind %d off %d %q report %d: %d; ", d.Fh, d.Unique, d.Kind, d.Off, e.Data(d), n, answer)
	}
	return text
}

// lookTasks leaves out those that were over.
func lookTasks(e *Estate) (text string) {
	for t := range e.Tasks() {
		if status, done := t.Status(); t.Unique() == 9000 || !done {
			n, answer := t.Report.Outcome()
			text += fmt.Sprintf("%d done %v", t.Unique(), done)
			if done {
				text += fmt.Sprintf(" %d, %d; ", status, t.Value())
			} else {
				text += fmt.Sprintf(" report %d: %d; ", n, answer)
			}
		}
	}
	return text
}

func lookDrafts(e *Estate) (text string) {
	for d := range e.Drafts() {
		parent, name := d.Where()
		mtime, set := d.MTime()
		text += fmt.Sprintf("%d in %d %q mode %o", d.ID, parent, name, d.Mode)
		if set {
			text += fmt.Sprint(" of ", mtime)
		}
		text += "; "
	}
	return text
}

const cutEnv = "COMMYFS_TEST_CUT"

// turn is a word that the two processes take turns by.
func (e *Estate) turn() *atomic.Uint32 { return (*atomic.Uint32)(unsafe.Pointer(&e.mem[headerSize-8])) }

const (
	turnReady = iota + 1 // the child waits
	turnGo
	turnOver
)

func TestMain(m *testing.M) {
	if name := os.Getenv(cutEnv); name != "" {
		beCut(name)
		return
	}
	os.Exit(m.Run())
}

// beCut is the child.
func beCut(name string) {
	debug.SetGCPercent(-1)
	runtime.LockOSThread()
	e, err := Open(os.NewFile(3, "estate"))
	if err != nil {
		panic(err)
	}
	e.TakeOver()
	op := cuts[slices.IndexFunc(cuts, func(c cut) bool { return c.name == name })].prepare(e)
	fmt.Println(unix.Gettid())
	for e.turn().Store(turnReady); e.turn().Load() != turnGo; {
	}
	op()
	e.turn().Store(turnOver)
	select {}
}

// TestCutAnywhere stops a process that notes something after each of its instructions, as kill -9 could.
func TestCutAnywhere(t *testing.T) {
	for _, c := range cuts {
		t.Run(c.name, func(t *testing.T) { c.run(t) })
	}
}

func (c *cut) run(t *testing.T) {
	runtime.LockOSThread() // whoever traces is a thread
	defer runtime.UnlockOSThread()
	e := newEstate(t)
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), cutEnv+"="+c.name, "GODEBUG=asyncpreemptoff=1")
	cmd.ExtraFiles, cmd.Stderr = []*os.File{e.File()}, os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	var tid int
	if _, err := fmt.Fscan(out, &tid); err != nil {
		t.Fatal(err)
	}
	for e.turn().Load() != turnReady {
		runtime.Gosched()
	}
	if err := syscall.PtraceAttach(tid); err == syscall.EPERM {
		testenv.Missing(t, "ptrace", "nothing can be traced here: %v", err)
	} else if err != nil {
		t.Fatalf("ptrace: %v", err)
	}
	stopped := func() {
		var ws syscall.WaitStatus
		if _, err := syscall.Wait4(tid, &ws, syscall.WALL, nil); err != nil || !ws.Stopped() {
			t.Fatalf("status %v, %v", ws, err)
		}
	}
	stopped()
	before := c.heirSees(t, e)
	e.turn().Store(turnGo)
	seen := []string{before}
	steps, stores := 0, 0
	image := c.image(e)
	for ; e.turn().Load() != turnOver; steps++ {
		if err := syscall.PtraceSingleStep(tid); err != nil {
			t.Fatal(err)
		}
		stopped()
		if now := c.image(e); !bytes.Equal(now, image) {
			image = now
			stores++
			if s := c.heirSees(t, e); s != seen[len(seen)-1] {
				seen = append(seen, s)
			}
		}
	}
	after := c.heirSees(t, e)
	t.Logf("%d instructions, %d stores: %.300q", steps, stores, seen)
	if stores == 0 && before != after {
		t.Error("no store was seen")
	}
	for i, s := range seen {
		if s != before && s != after && !slices.Contains(c.lost, s) || s == before && i > 0 && slices.Contains(seen[:i], after) && before != after {
			t.Errorf("an heir finds %.300q; before it was %.300q, after it %.300q", s, before, after)
		}
	}
}

// image is what can change.
func (c *cut) image(e *Estate) []byte {
	var b []byte
	for _, at := range []int{0, servicesAt, handlesAt, tasksAt, editsAt, draftsAt, movedAt, arenaAt} {
		b = append(b, e.mem[at:at+4096]...)
	}
	return b
}

// heirSees is what the next process would find, without changing anything.
func (c *cut) heirSees(t *testing.T, e *Estate) string {
	t.Helper()
	mem, err := unix.Mmap(int(e.File().Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(mem) }()
	h := &Estate{file: e.file, mem: mem}
	h.TakeOver()
	return c.look(h)
}
