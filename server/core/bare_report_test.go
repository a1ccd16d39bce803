package core

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/model"
)

// plain writes a value to a variable that is there.
func plain(name, value string) model.Change {
	c := store(name, value)
	c.Create = false
	return c
}

// eventually waits until a variable has a value.
func (p *peer) eventually(name, value string) {
	p.t.Helper()
	testenv.Eventually(p.t, bound, func() error {
		v, err := p.get("t", "s", name)
		if err == nil && string(v.Data) != value {
			err = fmt.Errorf("%s holds %.40q, want %.40q", name, v.Data, value)
		}
		return err
	})
}

// What is written to a variable in the report that registers it is in the memory.
func TestBare_RegisterAndStore(t *testing.T) {
	p := connect(t, startCore(t))
	p.bareService(4096)
	p.do(registered("a", number(model.TypeU64, 0)), plain("a", "7"))
	path := p.bareFile()
	wantBytes(t, path, 0, "\x07\x00\x00\x00\x00\x00\x00\x00")
	p.wantValue("a", "7\n")
	again := registered("a", number(model.TypeU32, 8))
	again.NoReplace = false
	p.do(plain("a", "8"), again, plain("a", "9")) // 8 has been nobody's
	wantBytes(t, path, 0, "\x07\x00\x00\x00\x00\x00\x00\x00\x09\x00\x00\x00")
	p.wantValue("a", "9\n")
}

// Variables that have bytes in common, and are changed by one report, agree in the end, and what is stored into them later is
// found.
func TestBare_OverlapInOneReport(t *testing.T) {
	p := connect(t, startCore(t))
	p.bareService(4096)
	shared := func(name string, l model.Layout) model.Change {
		c := registered(name, l)
		c.Overlap = true
		return c
	}
	p.do(registered("a", raw(0, 8)), shared("b", raw(4, 8)))
	b := mapBare(t, p.bareFile())
	agree := func(names ...string) {
		t.Helper()
		testenv.Eventually(t, bound, func() error {
			for _, name := range names {
				v, err := p.get("t", "s", name)
				if err != nil {
					return err
				}
				if got, want := string(v.Data), string(b[v.Layout.Off:v.Layout.End()]); got != want {
					return fmt.Errorf("%s is %q, and %q in the memory", name, got, want)
				}
			}
			return nil
		})
	}
	for i := range 20 { // in whatever order they are written
		x := string([]byte{'a' + byte(i)})
		p.do(plain("a", x+"aaaaaaa"), plain("b", x+"bbbbbbb"))
		if got, want := string(b[:12]), x+"aaa"+x+"bbbbbbb"; got != want {
			t.Fatalf("the memory is %q after the report, want %q", got, want)
		}
		agree("a", "b")
		copy(b[2:10], x+"stored"+x)
		agree("a", "b")
	}
	// One that comes in the report, and one that goes.
	p.do(shared("c", raw(6, 4)), plain("a", "AAAAAAAA"), at(model.OpDelete, "t", "s", "b"))
	agree("a", "c")
	copy(b, "0123456789")
	agree("a", "c")
}

// A file that is cut short while there is no server has again what the store knows of it.
func TestBare_CutMeanwhile(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	p.bareService(8192)
	p.do(registered("kept", number(model.TypeU64, 0)), registered("put", number(model.TypeU64, 4096)), registered("found", number(model.TypeU64, 8000)))
	p.do(plain("put", "77"))
	path := p.bareFile()
	b := mapBare(t, path)
	atomic.StoreUint64(word(b, 8000), 88)
	p.eventually("found", "88\n")
	atomic.StoreUint64(word(b, 0), 66)
	p.eventually("kept", "66\n")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	atomic.StoreUint64(word(b, 0), 67)
	if err := os.Truncate(path, 4096); err != nil {
		t.Fatal(err)
	}
	p = connect(t, d.start(t))
	p.eventually("kept", "67\n")
	p.wantValue("put", "77\n")
	p.wantValue("found", "88\n")
	wantBytes(t, path, 4096, "\x4d\x00\x00\x00\x00\x00\x00\x00")
	wantBytes(t, path, 8000, "\x58\x00\x00\x00\x00\x00\x00\x00")
}
