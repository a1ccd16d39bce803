package core

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/model"
)

// A server is killed around the moment that it puts a change into the file, and a program stores before or after that. What was
// stored after the put wins, and so does what was stored when the put had not begun; what was put in part is put again.
func TestBare_KilledAroundPut(t *testing.T) {
	const size, at = 1000, 4096
	all := func(b string) string { return strings.Repeat(b, size) }
	const applied, synced, records = 56, 72, 4096 // places in the state file
	type files struct{ memory, state []byte }
	for _, c := range []struct {
		name    string
		n       uint64 // is stored afterwards; 0: nothing is
		block   string
		wantN   string
		wantAll string
	}{
		{name: "before", wantN: "2\n", wantAll: all("b")},
		{name: "before, then stored", n: 9, block: all("z"), wantN: "9\n", wantAll: all("z")},
		{name: "after", wantN: "2\n", wantAll: all("b")},
		{name: "after, then stored", n: 9, block: all("z"), wantN: "9\n", wantAll: all("z")},
		{name: "after, then stored what was there before", n: 1, block: all("a"), wantN: "1\n", wantAll: all("a")},
		{name: "during", wantN: "2\n", wantAll: all("b")},
		{name: "during, then stored in part", block: "z", wantN: "2\n", wantAll: all("b")},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newDirs(t)
			s := d.start(t)
			p := connect(t, s)
			p.bareService(8192)
			p.do(registered("n", number(model.TypeU64, 0)), registered("block", raw(at, size)))
			path := p.bareFile()
			statePath := strings.TrimSuffix(path, "mem") + "state"
			read := func() (f files) {
				var err error
				if f.memory, err = os.ReadFile(path); err == nil {
					f.state, err = os.ReadFile(statePath)
				}
				if err != nil {
					t.Fatal(err)
				}
				return f
			}
			set := func(n, block string) {
				list := []model.Change{store("n", n), store("block", block)}
				for i := range list {
					list[i].Create = false
				}
				p.do(list...)
			}
			set("1", all("a"))
			before := read()
			set("2", all("b"))
			after := read()
			versions := map[string]uint64{"n": p.wantValue("n", "2\n").Version, "block": p.wantValue("block", all("b")).Version}
			block := p.wantValue("block", all("b")).ID
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			when, _, _ := strings.Cut(c.name, ",")
			left := files{bytes.Clone(before.memory), bytes.Clone(before.state)}
			switch when {
			case "after":
				left = files{after.memory, bytes.Clone(after.state)}
				copy(left.state[applied:synced], before.state[applied:synced])
			case "during":
				copy(left.memory[at:], all("b")[:size/2])
				found := false
				for b := left.state[records:]; len(b) >= 32; b = b[32:] {
					if binary.LittleEndian.Uint64(b) == block {
						b[24], found = 1, true
					}
				}
				if !found {
					t.Fatal("there is no record of the variable")
				}
			}
			if c.n != 0 {
				binary.LittleEndian.PutUint64(left.memory, c.n)
			}
			copy(left.memory[at+size-len(c.block):], c.block)
			for name, b := range map[string][]byte{path: left.memory, statePath: left.state} {
				if err := os.WriteFile(name, b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			p = connect(t, d.start(t))
			for name, want := range map[string]string{"n": c.wantN, "block": c.wantAll} {
				testenv.Eventually(t, bound, func() error {
					v, err := p.get("t", "s", name)
					if err == nil && (string(v.Data) != want || v.Version < versions[name]) {
						err = fmt.Errorf("%s is %.10q of version %d, want %.10q, and was version %d", name, v.Data, v.Version, want, versions[name])
					}
					return err
				})
			}
			wantBytes(t, path, at, c.wantAll)
			n, err := fmt.Sscan(c.wantN, &c.n)
			if err != nil || n != 1 {
				t.Fatal(err)
			}
			wantBytes(t, path, 0, string(binary.LittleEndian.AppendUint64(nil, c.n)))
		})
	}
}
