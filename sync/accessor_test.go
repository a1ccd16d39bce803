package sync_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// Both accessors keep the same promises.
func eachAccessor(t *testing.T, test func(t *testing.T, h *host, noMap bool)) {
	for _, noMap := range []bool{false, true} {
		name := "mapped"
		if noMap {
			name = "buffered"
		}
		t.Run(name, func(t *testing.T) { test(t, newHost(t), noMap) })
	}
}

func TestAccessorIsTheOneAskedFor(t *testing.T) {
	eachAccessor(t, func(t *testing.T, h *host, noMap bool) {
		c := h.client(t, noMap)
		store(t, c, "t", "s", "v", "x")
		if v := variable(t, c, "t", "s", "v"); v.Service().Mapped() == noMap {
			t.Errorf("Mapped() = %v", v.Service().Mapped())
		}
	})
}

func TestEdits(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 64)
	tests := []struct {
		name  string
		from  string
		edits []varsync.Edit
		want  string
	}{
		{"replace", "old", []varsync.Edit{{Kind: varsync.EditReplace, Data: []byte("new")}}, "new"},
		{"replace by nothing", "old", []varsync.Edit{{Kind: varsync.EditReplace}}, ""},
		{"replace nothing", "", []varsync.Edit{{Kind: varsync.EditReplace, Data: []byte(big)}}, big},
		{"patch in the middle", big, []varsync.Edit{{Kind: varsync.EditReplace, Data: []byte(big[:500] + "XY" + big[502:])}}, big[:500] + "XY" + big[502:]},
		{"longer with the same beginning", big, []varsync.Edit{{Kind: varsync.EditReplace, Data: []byte(big + big)}}, big + big},
		{"shorter with the same beginning", big + big, []varsync.Edit{{Kind: varsync.EditReplace, Data: []byte(big)}}, big},
		{"write inside", "hello", []varsync.Edit{{Kind: varsync.EditWrite, Off: 1, Data: []byte("a")}}, "hallo"},
		{"write beyond the end", "ab", []varsync.Edit{{Kind: varsync.EditWrite, Off: 4, Data: []byte("c")}}, "ab\x00\x00c"},
		{"large write, mostly equal", big, []varsync.Edit{{Kind: varsync.EditWrite, Off: 100, Data: []byte(big[100:300] + "Z" + big[301:])}}, big[:300] + "Z" + big[301:]},
		{"large write over the end", big, []varsync.Edit{{Kind: varsync.EditWrite, Off: 900, Data: []byte(big[900:] + big)}}, big + big},
		{"append", "a", []varsync.Edit{{Kind: varsync.EditAppend, Data: []byte("b")}, {Kind: varsync.EditAppend, Data: []byte("c")}}, "abc"},
		{"truncate", "hello", []varsync.Edit{{Kind: varsync.EditTruncate, Size: 2}}, "he"},
		{"extend", "hi", []varsync.Edit{{Kind: varsync.EditTruncate, Size: 4}}, "hi\x00\x00"},
		{"in order", "", []varsync.Edit{
			{Kind: varsync.EditWrite, Data: []byte("aaaa")}, {Kind: varsync.EditWrite, Off: 2, Data: []byte("bb")},
			{Kind: varsync.EditAppend, Data: []byte("c")}, {Kind: varsync.EditTruncate, Size: 3}, {Kind: varsync.EditWrite, Off: 1, Data: []byte("d")},
		}, "adb"},
	}
	eachAccessor(t, func(t *testing.T, h *host, noMap bool) {
		c, other := h.client(t, noMap), h.client(t, !noMap)
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				store(t, c, "t", "s", tt.name, tt.from)
				v := variable(t, c, "t", "s", tt.name)
				there := variable(t, other, "t", "s", tt.name)
				var last *varsync.Ack
				for _, e := range tt.edits {
					last = v.Enqueue(e)
				}
				res, err := last.Wait(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				// Acknowledged means readable here at once, and everywhere soon.
				if got, meta := load(t, v); got != tt.want || meta.Version != res.Version || meta.Size != int64(len(tt.want)) {
					t.Errorf("here: %.40q version %d size %d, want %.40q version %d", got, meta.Version, meta.Size, tt.want, res.Version)
				}
				wantValue(t, there, tt.want)
			})
		}
	})
}

func TestStoringTheSameIsNoNews(t *testing.T) {
	for _, size := range []int{0, 10, 100_000} {
		eachAccessor(t, func(t *testing.T, h *host, noMap bool) {
			c := h.client(t, noMap)
			value := strings.Repeat("v", size)
			first := store(t, c, "t", "s", "v", value)
			v := variable(t, c, "t", "s", "v")
			res, err := v.Store(t.Context(), []byte(value))
			if err != nil || !res.Unchanged || res.Version != first.Version {
				t.Errorf("size %d: %+v, %v; first %+v", size, res, err, first)
			}
		})
	}
}

// Two clients whose shadows are stale against each other never make a value that nobody wrote, and lose no update that
// was acknowledged.
func TestConcurrentReplacesAreNeverMixed(t *testing.T) {
	eachAccessor(t, func(t *testing.T, h *host, noMap bool) {
		a, b := h.client(t, noMap), h.client(t, noMap)
		store(t, a, "t", "s", "v", strings.Repeat("?", 4096))
		var wg sync.WaitGroup
		for i, c := range []*varsync.Client{a, b} {
			v := variable(t, c, "t", "s", "v")
			wg.Go(func() {
				for n := range 200 {
					value := bytes.Repeat([]byte{byte('a' + i)}, 4096)
					copy(value[n*8:], fmt.Sprintf("%08d", n)) // differs in few bytes from the last one
					if _, err := v.Store(t.Context(), value); err != nil {
						t.Error(err)
						return
					}
					got, _, err := v.Load(nil)
					if err != nil {
						t.Error(err)
						return
					}
					rest := bytes.Trim(got, "0123456789")
					if w := got[0]; w != '0' && bytes.IndexFunc(got, func(r rune) bool { return r != rune(w) && (r < '0' || r > '9') }) >= 0 {
						t.Errorf("mixed value %.60q", rest)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

func TestAppendsAreAllKept(t *testing.T) {
	eachAccessor(t, func(t *testing.T, h *host, noMap bool) {
		const writers, each = 4, 100
		first := h.client(t, noMap)
		store(t, first, "t", "s", "log", "")
		var wg sync.WaitGroup
		for w := range writers {
			c := h.client(t, noMap)
			v := variable(t, c, "t", "s", "log")
			wg.Go(func() {
				var last *varsync.Ack
				for n := range each {
					last = v.Enqueue(varsync.Edit{Kind: varsync.EditAppend, Data: fmt.Appendf(nil, "%d-%d\n", w, n)})
				}
				if _, err := last.Wait(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		v := variable(t, first, "t", "s", "log")
		seen := map[string]int{}
		eventually(t, func() bool {
			got, _ := load(t, v)
			return strings.Count(got, "\n") >= writers*each
		})
		got, _ := load(t, v)
		for line := range strings.Lines(got) {
			seen[line]++
		}
		for w := range writers {
			for n := range each {
				if line := fmt.Sprintf("%d-%d\n", w, n); seen[line] != 1 {
					t.Errorf("%q is there %d times", line, seen[line])
				}
			}
		}
	})
}

// A replica that only listens ends up with the same tree and values as the writers, through every kind of change.
func TestReplicaFollows(t *testing.T) {
	h := newHost(t)
	writer, local, remote := h.client(t, false), h.client(t, false), h.client(t, true)
	store(t, writer, "t", "s", "seed", "x")
	for _, c := range []*varsync.Client{local, remote} {
		variable(t, c, "t", "s", "seed") // load the service
	}
	rng := rand.New(rand.NewPCG(1, 2))
	names := []string{"a", "b", "c", "d/x", "d/y", "e"}
	dirs := []string{"d", "f"}
	for range 600 {
		ch := model.Change{Tenant: "t", Service: "s", Name: names[rng.IntN(len(names))]}
		switch rng.IntN(9) {
		case 8:
			any := append(names, dirs...)
			ch.Op, ch.Name, ch.ToName = model.OpExchange, any[rng.IntN(len(any))], any[rng.IntN(len(any))]
		case 0, 1, 2:
			ch.Op, ch.Create, ch.Data = model.OpStore, true, fmt.Appendf(nil, "%d", rng.IntN(1000))
		case 3:
			ch.Op, ch.Data = model.OpAppend, []byte("+")
		case 4:
			ch.Op = model.OpDelete
		case 5:
			ch.Op, ch.ToTenant, ch.ToService, ch.ToName = model.OpRename, "t", "s", names[rng.IntN(len(names))]
		case 6:
			ch.Op, ch.Name = model.OpMkdir, dirs[rng.IntN(len(dirs))]
		case 7:
			ch.Op, ch.Name = model.OpRename, dirs[rng.IntN(len(dirs))]
			ch.ToTenant, ch.ToService, ch.ToName = "t", "s", dirs[rng.IntN(len(dirs))]
		}
		var refusal *model.Error
		if _, err := writer.Report(t.Context(), ch); err != nil && !errors.As(err, &refusal) {
			t.Fatalf("%+v: %v", ch, err)
		}
	}
	store(t, writer, "t", "s", "last", "end")
	for _, c := range []*varsync.Client{local, remote} {
		wantValue(t, variable(t, c, "t", "s", "last"), "end")
	}
	fresh := h.client(t, true)
	for _, c := range []*varsync.Client{local, remote, writer} {
		wantSame(t, c, fresh)
	}
}

// wantSame waits until c shows service t/s as other does: a client that did not make a change hears of it later.
func wantSame(t *testing.T, c, other *varsync.Client) {
	t.Helper()
	var got, want string
	t.Cleanup(func() {
		if t.Failed() && got != want {
			t.Logf("got\n%s\nwant\n%s", got, want)
		}
	})
	eventually(t, func() bool {
		got, want = dump(t, c), dump(t, other)
		return got == want
	})
}

func dump(t *testing.T, c *varsync.Client) string {
	t.Helper()
	s := c.Tenant("t").Service("s")
	root, err := s.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	var walk func(d *varsync.Dir)
	walk = func(d *varsync.Dir) {
		for _, child := range d.Children() {
			switch n := child.Node.(type) {
			case *varsync.Dir:
				lines = append(lines, fmt.Sprintf("%s/ %d", n.Name(), n.ID()))
				walk(n)
			case *varsync.Variable:
				got, meta, err := n.Load(nil)
				if err != nil { // removed since it was listed
					got = []byte(err.Error())
				}
				lines = append(lines, fmt.Sprintf("%s %d v%d %q", n.Name(), n.ID(), meta.Version, got))
			}
		}
	}
	walk(root)
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
