package core

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/model"
)

// bareService makes the bare service t/s.
func (p *peer) bareService(size int64) uint64 {
	p.t.Helper()
	return p.do(model.Change{Op: model.OpBare, Tenant: "t", Service: "s", Size: size, Parents: true})[0].ID
}

func registered(name string, l model.Layout) model.Change {
	return model.Change{Op: model.OpRegister, Tenant: "t", Service: "s", Name: name, Layout: &l, NoReplace: true, Parents: true}
}

func over(name string, off int64, data string) model.Change {
	return model.Change{Op: model.OpWrite, Tenant: "t", Service: "s", Name: name, Ranges: []model.RangeData{{Off: off, Data: []byte(data)}}}
}

func number(typ model.Type, off int64) model.Layout {
	return model.Layout{Off: off, Size: typ.Size(), Type: typ}
}

func raw(off, size int64) model.Layout { return model.Layout{Off: off, Size: size} }

// bareFile is where the file of t/s is.
func (p *peer) bareFile() string {
	p.t.Helper()
	f, err := p.BareFile(p.service("t", "s"))
	if err != nil {
		p.t.Fatal(err)
	}
	return f.Path
}

// mapBare maps the file of t/s, as a program does that stores into it.
func mapBare(t *testing.T, path string) []byte {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(b) })
	return b
}

func word(b []byte, off int) *uint64 { return (*uint64)(unsafe.Pointer(&b[off])) }

func wantBytes(t *testing.T, path string, off int64, want string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, len(want))
	if _, err := f.ReadAt(b, off); err != nil || string(b) != want {
		t.Fatalf("the file has %q at %d (%v), want %q", b, off, err, want)
	}
}

func f64(v float64) string {
	return string(binary.LittleEndian.AppendUint64(nil, math.Float64bits(v)))
}

// A registered variable is its bytes in the file: what is written to it is there, and wrong values change nothing.
func TestBare_Values(t *testing.T) {
	p := connect(t, startCore(t))
	p.bareService(5000)
	p.do(registered("temp", number(model.TypeF64, 8)), registered("a/raw", raw(100, 8)),
		registered("name", model.Layout{Off: 200, Size: 4, Type: model.TypeText}))
	path := p.bareFile()
	if st, err := os.Stat(path); err != nil || st.Size() != 8192 {
		t.Fatalf("the file: %v, %v, want whole pages", st, err)
	}
	p.wantValue("temp", "0\n")
	p.wantValue("a/raw", "\x00\x00\x00\x00\x00\x00\x00\x00")
	p.wantValue("name", "")

	plain := func(name, value string) model.Change {
		c := store(name, value)
		c.Create = false
		return c
	}
	p.do(plain("temp", " 21.50\n"), plain("a/raw", "abcdefgh"), plain("name", "pump"))
	v := p.wantValue("temp", "21.5\n")
	p.wantValue("name", "pump")
	wantBytes(t, path, 8, f64(21.5))
	wantBytes(t, path, 100, "abcdefgh")
	wantBytes(t, path, 200, "pump")
	if v.Layout == nil || *v.Layout != number(model.TypeF64, 8) {
		t.Errorf("temp has the layout %v", v.Layout)
	}

	p.do(plain("a/raw", "xy"), over("a/raw", 4, "__"), plain("name", "fan"))
	p.wantValue("a/raw", "xycd__gh")
	wantBytes(t, path, 100, "xycd__gh")
	wantBytes(t, path, 200, "fan\x00")
	patch := over("a/raw", 2, "12")
	patch.Op, patch.Size, patch.Base = model.OpPatch, 4, p.wantValue("a/raw", "xycd__gh").Version
	p.do(patch)
	p.wantValue("a/raw", "xy12__gh")
	if r := p.do(plain("temp", "+2.15e1")); !r[0].Unchanged {
		t.Errorf("the same number in other words makes a version")
	}
	truncate := at(model.OpTruncate, "t", "s", "a/raw")
	p.do(truncate)
	p.wantValue("a/raw", "xy12__gh")

	p.refused(model.CodeInvalid, plain("temp", "warm"))
	p.refused(model.CodeInvalid, plain("temp", ""))
	p.refused(model.CodeInvalid, over("temp", 0, "x"))
	p.refused(model.CodeInvalid, plain("name", "a\x00b"))
	p.refused(model.CodeTooLarge, plain("a/raw", "123456789"))
	p.refused(model.CodeTooLarge, over("a/raw", 7, "12"))
	p.refused(model.CodeTooLarge, plain("name", "valve"))
	truncate.Size = 9
	p.refused(model.CodeTooLarge, truncate)
	p.refused(model.CodeUnsupported, appendTo("a/raw", "1"))
	p.refused(model.CodeUnsupported, store("new", "1"))
	p.refused(model.CodeUnsupported, at(model.OpCreate, "t", "s", "new"))
	p.wantValue("temp", "21.5\n")
	p.wantValue("a/raw", "xy12__gh")
	wantBytes(t, path, 100, "xy12__gh\x00")

	// It can be renamed in its service, but does not leave it.
	p.do(renameTo(at(model.OpRename, "t", "s", "temp"), "a/temp"), plain("a/temp", "22"))
	wantBytes(t, path, 8, f64(22))
	p.do(model.Change{Op: model.OpStore, Tenant: "t", Service: "named", Name: "v", Data: []byte("23"), Create: true, Parents: true})
	out := at(model.OpRename, "t", "s", "name")
	out.ToService, out.ToName = "named", "name"
	p.refused(model.CodeCrossDevice, out)
	in := at(model.OpRename, "t", "named", "v")
	in.ToService, in.ToName = "s", "v"
	p.refused(model.CodeCrossDevice, in)
	in.ToName = "a/temp" // its value goes
	p.do(in)
	p.wantValue("a/temp", "23\n")
	wantBytes(t, path, 8, f64(23))

	p.do(at(model.OpDelete, "t", "s", "a/temp"))
	wantBytes(t, path, 8, f64(23))
	p.do(registered("b", number(model.TypeU64, 8)))
	p.wantValue("b", fmt.Sprintf("%d\n", math.Float64bits(23)))
}

func TestBare_Register(t *testing.T) {
	s := startCore(t)
	p := connect(t, s)
	p.refused(model.CodeInvalid, model.Change{Op: model.OpBare, Tenant: "t", Service: "s", Parents: true})
	p.refused(model.CodeInvalid, model.Change{Op: model.OpBare, Tenant: "t", Service: "s", Size: 1 << 40, Parents: true})
	p.do(model.Change{Op: model.OpMkdir, Tenant: "t", Service: "named", Parents: true})
	p.bareService(1)
	p.refused(model.CodeExists, model.Change{Op: model.OpBare, Tenant: "t", Service: "s", Size: 1})
	in := registered("v", raw(0, 4))
	in.Service = "named"
	p.refused(model.CodeInvalid, in)
	p.refused(model.CodeInvalid, model.Change{Op: model.OpResize, Tenant: "t", Service: "named", Size: 4096})
	p.refused(model.CodeInvalid, registered("v", raw(4090, 7)))
	p.refused(model.CodeInvalid, registered("v", model.Layout{Size: 3, Type: model.TypeU32}))

	p.do(registered("b", raw(100, 50)), registered("a", raw(0, 100)), registered("d/c", number(model.TypeU8, 150)))
	for _, l := range []model.Layout{raw(99, 1), raw(99, 2), raw(149, 1), raw(0, 4096), raw(120, 4)} {
		p.refused(model.CodeConflict, registered("v", l))
	}
	p.refused(model.CodeConflict, registered("v", raw(200, 8)), registered("w", raw(207, 1))) // within a report
	p.refused(model.CodeExists, registered("a", raw(0, 99)))
	if r := p.do(registered("a", raw(0, 100))); !r[0].Unchanged {
		t.Error("the same layout makes a version")
	}
	again := registered("a", raw(0, 99))
	again.NoReplace = false
	id := p.wantValue("a", string(make([]byte, 100))).ID
	if r := p.do(again); r[0].ID != id || r[0].Size != 99 {
		t.Errorf("registered anew: %+v, want id %d", r[0], id)
	}
	shared := registered("v", raw(90, 20))
	shared.Overlap = true
	p.do(shared)
	c := store("v", "0123456789abcdefghij")
	c.Create = false
	p.do(c) // what the others have of it changes too
	testenv.Eventually(t, bound, func() error {
		b, err := p.get("t", "s", "b")
		if err == nil && string(b.Data[:10]) != "abcdefghij" {
			err = fmt.Errorf("b begins with %q", b.Data[:10])
		}
		return err
	})

	p.refused(model.CodeInvalid, model.Change{Op: model.OpResize, Tenant: "t", Service: "s", Size: 0x7fffffff})
	if l := p.list(&model.List{Tenant: "t"}); l[1].Service != "s" || l[1].Bare != 4096 || l[0].Bare != 0 {
		t.Errorf("the services are %+v", l)
	}
	p.do(model.Change{Op: model.OpResize, Tenant: "t", Service: "s", Size: 8193}, registered("z", raw(12280, 8)))
	if l := p.tree().Services; l[1].Bare+l[0].Bare != 12288 {
		t.Errorf("the services are %+v", l)
	}
	p.refused(model.CodeConflict, model.Change{Op: model.OpResize, Tenant: "t", Service: "s", Size: 8192})
	p.refused(model.CodeNotEmpty, at(model.OpRmdir, "t", "s", ""))
	for _, e := range p.list(&model.List{Tenant: "t", Service: "s", Recursive: true}) {
		if !e.Dir {
			if e.Layout == nil {
				t.Errorf("%s has no layout", e.Name)
			}
			p.do(at(model.OpDelete, "t", "s", e.Name))
		}
	}
	path := p.bareFile()
	p.do(at(model.OpRmdir, "t", "s", "d"), at(model.OpRmdir, "t", "s", ""))
	if l, err := filepath.Glob(filepath.Dir(path) + "/*"); err != nil || len(l) != 0 {
		t.Errorf("of the service there is left %q (%v)", l, err)
	}
}

// What a program stores into the file becomes a value, with its version and event.
func TestBare_Found(t *testing.T) {
	p := connect(t, startCore(t))
	sid := p.bareService(1 << 20)
	p.do(registered("n", number(model.TypeU64, 64)), registered("block", raw(8192, 300)))
	was := p.wantValue("n", "0\n")
	p.mustWatch(&model.Watch{Service: sid, Values: true})
	b := mapBare(t, p.bareFile())
	atomic.StoreUint64(word(b, 64), 12345)
	var ev model.Event
	p.await("event", func(l []any) bool {
		for _, m := range l {
			if c, ok := m.(*model.Changes); ok && c.Changes[0].Name == "n" {
				ev = c.Changes[0]
				return true
			}
		}
		return false
	})
	if string(ev.Data) != "12345\n" || ev.Version != was.Version+1 || ev.Writer != "memory" {
		t.Errorf("the event is %+v, want version %d", ev, was.Version+1)
	}
	p.wantValue("n", "12345\n")
	for i := range 300 {
		b[8192+i] = byte(i)
	}
	testenv.Eventually(t, bound, func() error {
		v, err := p.get("t", "s", "block")
		if err == nil && string(v.Data) != string(b[8192:8492]) {
			err = fmt.Errorf("block holds %q", v.Data)
		}
		return err
	})
	// A change from elsewhere is in the memory when it is acknowledged.
	c := store("n", "7")
	c.Create = false
	p.do(c)
	if n := atomic.LoadUint64(word(b, 64)); n != 7 {
		t.Errorf("the memory has %d, want 7", n)
	}
}

// Stores from when there is no server are found by the next one. What it had stored before it ended, and had not written into
// the file, is written then.
func TestBare_Restart(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	p.bareService(4096)
	p.do(registered("a", number(model.TypeU64, 0)), registered("b", number(model.TypeU64, 8)), registered("c", number(model.TypeU64, 16)))
	set := func(name, value string) model.Change {
		c := store(name, value)
		c.Create = false
		return c
	}
	p.do(set("a", "1"), set("b", "1"), set("c", "1"))
	path := p.bareFile()
	b := mapBare(t, path)
	atomic.StoreUint64(word(b, 16), 5)
	testenv.Eventually(t, bound, func() error {
		v, err := p.get("t", "s", "c")
		if err == nil && string(v.Data) != "5\n" {
			err = fmt.Errorf("c holds %q", v.Data)
		}
		return err
	})
	// The server dies when b is stored and not yet in the file.
	state := path[:len(path)-len("mem")] + "state"
	noted, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	p.do(set("b", "2"))
	version := p.wantValue("b", "2\n").Version
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(state, noted, 0o600); err != nil {
		t.Fatal(err)
	}
	atomic.StoreUint64(word(b, 8), 1)
	// Meanwhile programs go on.
	atomic.StoreUint64(word(b, 0), 9)
	atomic.StoreUint64(word(b, 16), 6)

	p = connect(t, d.start(t))
	if v := p.wantValue("b", "2\n"); v.Version != version {
		t.Errorf("b has version %d, want %d", v.Version, version)
	}
	if n := atomic.LoadUint64(word(b, 8)); n != 2 {
		t.Errorf("the memory of b has %d, want 2", n)
	}
	for name, want := range map[string]string{"a": "9\n", "c": "6\n"} {
		testenv.Eventually(t, bound, func() error {
			v, err := p.get("t", "s", name)
			if err == nil && string(v.Data) != want {
				err = fmt.Errorf("%s holds %q", name, v.Data)
			}
			return err
		})
	}
	for i, want := range []uint64{9, 2, 6} {
		if n := atomic.LoadUint64(word(b, 8*i)); n != want {
			t.Errorf("word %d of the memory has %d, want %d", i, n, want)
		}
	}
}

// A file that is lost is made again from what is stored.
func TestBare_Lost(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	p.bareService(4096)
	p.do(registered("a", number(model.TypeU64, 0)))
	c := store("a", "77")
	c.Create = false
	p.do(c)
	path := p.bareFile()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	p = connect(t, d.start(t))
	p.wantValue("a", "77\n")
	wantBytes(t, path, 0, "\x4d\x00\x00\x00\x00\x00\x00\x00")
}

// In one report a variable can go with the end of the memory, and one come behind the old end.
func TestBare_ResizeWithVariables(t *testing.T) {
	s := startCore(t)
	p := connect(t, s)
	p.bareService(8192)
	p.do(registered("a", raw(0, 8)), registered("far", raw(8184, 8)))
	size := func(n int64) model.Change {
		return model.Change{Op: model.OpResize, Tenant: "t", Service: "s", Size: n}
	}
	p.do(at(model.OpDelete, "t", "s", "far"), size(4096))
	p.do(size(12288), registered("across", raw(4092, 8)), registered("behind", raw(12280, 8)))
	c := store("behind", "12345678")
	c.Create = false
	p.do(c)
	wantBytes(t, p.bareFile(), 12280, "12345678")
	if !s.bareLog.last.IsZero() {
		t.Error("the file could not be had in between")
	}
}

// After a power cut the file may lack what was not synced: the store has it. What was stored and synced behind the server's back
// is in the file alone.
func TestBare_PowerCut(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	p.bareService(4096)
	p.do(registered("put", number(model.TypeU64, 0)), registered("found", number(model.TypeU64, 8)), registered("ahead", number(model.TypeU64, 16)))
	path := p.bareFile()
	stateFile := path[:len(path)-len("mem")] + "state"
	set := store("put", "1")
	set.Create = false
	p.do(set)
	const synced, boot = 64, 40 // places in the state file
	var state []byte
	testenv.Eventually(t, bound, func() (err error) { // what there is now is synced
		state, err = os.ReadFile(stateFile)
		s.view.mu.RLock()
		rev := uint64(s.view.rev)
		s.view.mu.RUnlock()
		if err == nil && binary.LittleEndian.Uint64(state[synced:]) != rev {
			err = fmt.Errorf("synced up to %d of %d", binary.LittleEndian.Uint64(state[synced:]), rev)
		}
		return err
	})
	memory, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	set.Data = []byte("2")
	p.do(set)
	b := mapBare(t, path)
	atomic.StoreUint64(word(b, 8), 5)
	testenv.Eventually(t, bound, func() error {
		v, err := p.get("t", "s", "found")
		if err == nil && string(v.Data) != "5\n" {
			err = fmt.Errorf("found holds %q", v.Data)
		}
		return err
	})
	version := p.wantValue("found", "5\n").Version
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	memory[16] = 7
	state[boot]++
	for name, content := range map[string][]byte{path: memory, stateFile: state} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p = connect(t, d.start(t))
	p.wantValue("put", "2\n")
	if v := p.wantValue("found", "5\n"); v.Version != version {
		t.Errorf("found has version %d, had %d", v.Version, version)
	}
	testenv.Eventually(t, bound, func() error {
		v, err := p.get("t", "s", "ahead")
		if err == nil && string(v.Data) != "7\n" {
			err = fmt.Errorf("ahead holds %q", v.Data)
		}
		return err
	})
	wantBytes(t, path, 0, "\x02\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00")
}
