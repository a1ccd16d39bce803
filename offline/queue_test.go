package offline

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/commy-project/commyfs/model"
)

func openQueue(t testing.TB, dir string, l Limits) *Queue {
	t.Helper()
	q, err := Open(dir, Options{Limits: l, Server: "wss://h:1", Mount: "/mnt"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	return q
}

func entry(key uint64, kind Kind, data string) *Entry {
	return &Entry{Time: 1, Target: Target{Key: key, In: 7, Tenant: "t", Service: "s", Name: fmt.Sprint("v", key)}, Base: 3,
		Edit: Edit{Kind: kind, Data: []byte(data)}}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// state is what a queue has, as one text.
func state(t testing.TB, q *Queue) string {
	t.Helper()
	var b strings.Builder
	for _, e := range q.Next(0, -1) {
		must(t, q.Load(&e))
		doubt := ""
		if e.Doubt != nil {
			doubt = fmt.Sprintf(" doubt %d %v", e.Doubt.Seq, e.Doubt.Lost)
		}
		fmt.Fprintf(&b, "%d key %d kind %d off %d size %d mode %o %q before %v %q%s\n", e.N, e.Key, e.Kind, e.Off, e.Size, e.Mode, e.Data, e.HasBefore,
			e.Before, doubt)
		if p, ok := q.Progress(e.Key); ok {
			fmt.Fprintf(&b, " progress %+v\n", p)
		}
	}
	if s := q.Underway(); s != nil {
		fmt.Fprintf(&b, "sending %d %v\n", s.Seq, s.N)
	}
	return b.String()
}

func TestEntryRoundTrip(t *testing.T) {
	full := Entry{N: 5, Prev: 4, Time: 123456789, Target: Target{Key: 1<<63 | 9, New: true, In: 8, Within: 7, Tenant: "t\xff", Service: "s", Name: "a/b"},
		Base: 77, Edit: Edit{Kind: Write, Off: 1 << 40, Size: 3, Mode: model.NewMode(0o640), HasMTime: true, MTime: -5, Data: []byte("data")},
		HasBefore: true, Before: []byte("before"), Doubt: &Doubt{Client: [16]byte{1, 2}, Seq: 9, First: 8, Lost: true, Size: 6, Sum: [32]byte{3}}, Gap: true}
	for _, e := range []Entry{full, {N: 1, Edit: Edit{Kind: Append, Data: []byte{}}, Before: []byte{}}} {
		b := e.encode()
		var got Entry
		p, err := got.decode(b, 100)
		must(t, err)
		got.Data, got.Before = b[p.data-100:][:p.dataLen], b[p.before-100:][:p.beforeLen]
		if !reflect.DeepEqual(got, e) {
			t.Errorf("got  %+v\nwant %+v", got, e)
		}
		if p != placeOf(&e, 100, len(b)) {
			t.Errorf("placed at %+v, want %+v", placeOf(&e, 100, len(b)), p)
		}
		for n := range b {
			var cut Entry
			if _, err := cut.decode(b[:n], 0); err == nil {
				t.Errorf("cut at %d of %d: no error", n, len(b))
			}
		}
	}
}

func TestQueue(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "q")
	q := openQueue(t, dir, Limits{})
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrLocked) {
		t.Fatalf("opened twice: %v", err)
	}
	w := entry(2, Write, "xy")
	w.Off, w.HasBefore, w.Before = 4, true, []byte("abcd")
	must(t, q.Append(entry(1, Replace, "one"), w))
	must(t, q.Append(entry(1, Append, "+")))
	doubted := entry(3, Replace, "d")
	doubted.Doubt = &Doubt{Seq: 12}
	must(t, q.Append(doubted))
	must(t, q.Sending(Sending{Client: [16]byte{1}, Seq: 4, N: []uint64{1, 2}}))
	check := func(what string) {
		t.Helper()
		before := state(t, q)
		must(t, q.Close())
		q = openQueue(t, dir, Limits{})
		if got := state(t, q); got != before {
			t.Errorf("%s: opened again:\n%swant\n%s", what, got, before)
		}
	}
	check("sending")
	if s := q.Stats(); s.Entries != 4 || s.Variables != 3 || s.Aside != 0 || s.Damaged != 0 {
		t.Errorf("%+v", s)
	}
	must(t, q.Done([]uint64{1, 2}, []Progress{{1, 1, 4}, {2, 2, 9}}))
	check("done")
	if p, ok := q.Progress(1); !ok || p.Version != 4 {
		t.Errorf("progress %+v, %v", p, ok)
	}
	if _, ok := q.Progress(2); ok || q.Has(2) != 0 || q.Has(1) != 1 {
		t.Error("a variable without entries is remembered")
	}
	must(t, q.Certain([]uint64{4}))
	check("certain")
	must(t, q.Lost([]uint64{4}))
	check("lost")
	must(t, q.SetStore("store"))
	check("another store")
	if q.Store() != "store" {
		t.Errorf("store %q", q.Store())
	}
	must(t, q.rewrite())
	check("written anew")
	_, err := q.SetAside(Aside{Tenant: []byte("t"), Service: []byte("s"), Name: []byte("v3"), Reason: "why"}, []byte("value"), []uint64{4}, nil)
	must(t, err)
	check("set aside")
	list, err := Asides(dir)
	must(t, err)
	if len(list) != 1 || list[0].Path() != "t/s/v3" || list[0].ID != 4 || list[0].Size != 5 {
		t.Errorf("set aside: %+v", list)
	}
	if b, err := AsideValue(dir, 4); err != nil || string(b) != "value" {
		t.Errorf("value %q, %v", b, err)
	}
	must(t, q.Done([]uint64{3}, nil))
	must(t, q.empty())
	check("emptied")
	must(t, q.Append(entry(1, Replace, "later")))
	if list := q.Next(0, -1); len(list) != 1 || list[0].N <= 4 {
		t.Errorf("a number was used twice: %+v", list)
	}
	must(t, Drop(dir, 4))
	if q.Stats().Aside != 0 {
		t.Error("dropped and still there")
	}
	if info, err := Queues(filepath.Dir(filepath.Dir(dir))); err != nil || len(info) != 0 {
		t.Errorf("no queues there: %+v, %v", info, err)
	}
	i := inspect(dir)
	if !i.InUse || i.Entries != 1 || i.Mount != "/mnt" || i.Store != "store" || i.Err != nil {
		t.Errorf("%+v", i)
	}
}

// build makes a log with records of each type, and returns its states: after n records, from the headers on.
func build(t *testing.T, dir string) (states []string, ends []int64) {
	q := openQueue(t, dir, Limits{})
	step := func(err error) {
		t.Helper()
		must(t, err)
		states, ends = append(states, state(t, q)), append(ends, q.file.end)
	}
	step(nil)
	e := entry(1, Write, "ab")
	e.HasBefore, e.Before = true, []byte("before")
	step(q.Append(e))
	step(q.Append(entry(2, Replace, "second")))
	d := entry(3, Append, "doubt")
	d.Doubt = &Doubt{Seq: 5}
	step(q.Append(d))
	step(q.Append(entry(1, Append, "cd")))
	step(q.Certain([]uint64{3}))
	step(q.Sending(Sending{Seq: 1, N: []uint64{1, 2}}))
	step(q.Done([]uint64{1, 2}, []Progress{{1, 1, 4}}))
	step(q.Append(entry(2, Truncate, "")))
	step(q.Lost([]uint64{3}))
	step(q.Append(entry(1, Meta, "")))
	must(t, q.Close())
	return states, ends
}

// TestTornAnywhere cuts the log at each byte: what is there whole is there, nothing else, and the queue goes on.
func TestTornAnywhere(t *testing.T) {
	from := filepath.Join(t.TempDir(), "q")
	states, ends := build(t, from)
	whole, err := os.ReadFile(filepath.Join(from, logName))
	must(t, err)
	for n := int(ends[0]); n <= len(whole); n++ {
		dir := filepath.Join(t.TempDir(), "q")
		must(t, os.Mkdir(dir, 0o700))
		must(t, os.WriteFile(filepath.Join(dir, logName), whole[:n], 0o600))
		q := openQueue(t, dir, Limits{})
		i := 0
		for i+1 < len(ends) && ends[i+1] <= int64(n) {
			i++
		}
		if got := state(t, q); got != states[i] {
			t.Fatalf("cut at %d of %d:\n%swant\n%s", n, len(whole), got, states[i])
		}
		if q.Stats().Damaged != 0 {
			t.Fatalf("cut at %d of %d: taken for damage", n, len(whole))
		}
		must(t, q.Append(entry(9, Replace, "after")))
		want := state(t, q)
		must(t, q.Close())
		q = openQueue(t, dir, Limits{})
		if got := state(t, q); got != want || !strings.Contains(got, `"after"`) {
			t.Fatalf("cut at %d of %d, appended to:\n%swant\n%s", n, len(whole), got, want)
		}
		must(t, q.Close())
	}
}

// TestDamageAnywhere changes each byte of the log: no entry but the one that is damaged is lost, none is made up, and it is
// told. What may have been carried out is in doubt.
func TestDamageAnywhere(t *testing.T) {
	from := filepath.Join(t.TempDir(), "q")
	_, ends := build(t, from)
	whole, err := os.ReadFile(filepath.Join(from, logName))
	must(t, err)
	want := map[uint64]string{3: "doubt", 4: "cd", 5: "", 6: ""}
	entryOf := []uint64{0, 1, 2, 3, 4, 0, 0, 0, 5, 0, 6} // of each record behind the headers
	for n := range whole {
		dir := filepath.Join(t.TempDir(), "q")
		must(t, os.Mkdir(dir, 0o700))
		b := bytes.Clone(whole)
		b[n] ^= byte(1 + rand.IntN(255))
		must(t, os.WriteFile(filepath.Join(dir, logName), b, 0o600))
		q := openQueue(t, dir, Limits{})
		i := 0
		for i < len(ends) && ends[i] <= int64(n) {
			i++
		}
		got := map[uint64]Entry{}
		for _, e := range q.Next(0, -1) {
			must(t, q.Load(&e))
			got[e.N] = e
		}
		last := i == len(ends)-1 // taken for torn
		for k, v := range want {
			e, ok := got[k]
			if i < len(entryOf) && entryOf[i] == k {
				if ok {
					t.Fatalf("byte %d: entry %d is damaged and there", n, k)
				}
				continue
			}
			if !ok || string(e.Data) != v {
				t.Fatalf("byte %d: entry %d is %q, %v; want %q", n, k, e.Data, ok, v)
			}
			// Entries that a lost record may have been about cannot be trusted to be unsent.
			if i > int(k) && i < len(ends)-1 && i >= 1 && !last && e.Doubt == nil && k < 5 {
				t.Fatalf("byte %d in record %d: entry %d is not in doubt", n, i, k)
			}
		}
		for k := range got {
			if _, ok := want[k]; !ok && i != 7 { // without the record that says so they are not over
				t.Fatalf("byte %d in record %d: entry %d is there", n, i, k)
			}
		}
		if d := q.Stats().Damaged; d == 0 && i > 0 && !last {
			t.Fatalf("byte %d in record %d: not told", n, i)
		}
		before := state(t, q)
		must(t, q.Close())
		q = openQueue(t, dir, Limits{})
		if after := state(t, q); after != before {
			t.Fatalf("byte %d: opened again:\n%swant\n%s", n, after, before)
		}
		must(t, q.Close())
	}
}

// TestDamageMissing: an entry whose predecessor is lost says so.
func TestDamageMissing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "q")
	q := openQueue(t, dir, Limits{})
	must(t, q.Append(entry(1, Replace, "first")))
	at := q.file.end
	must(t, q.Append(entry(1, Append, "second")))
	must(t, q.Append(entry(2, Append, "other")))
	must(t, q.Append(entry(1, Append, "third")))
	must(t, q.Close())
	b, err := os.ReadFile(filepath.Join(dir, logName))
	must(t, err)
	b[at+recordHead] ^= 1
	must(t, os.WriteFile(filepath.Join(dir, logName), b, 0o600))
	for range 2 { // the second time from the log that was written anew
		q = openQueue(t, dir, Limits{})
		var gaps []bool
		for _, e := range q.Next(0, -1) {
			gaps = append(gaps, e.Gap)
		}
		if want := []bool{false, false, true}; !slices.Equal(gaps, want) {
			t.Errorf("gaps %v, want %v", gaps, want)
		}
		must(t, q.Close())
	}
}

// TestForgedRecords: bytes in a value are never taken for records, also where the log is damaged.
func TestForgedRecords(t *testing.T) {
	other := &header{}
	forged := other.frame(nil, typeEntry, 4, entry(66, Replace, "forged").encode())
	dir := filepath.Join(t.TempDir(), "q")
	q := openQueue(t, dir, Limits{})
	begin := q.file.end
	must(t, q.Append(entry(1, Replace, string(forged))))
	must(t, q.Append(entry(1, Replace, "true")))
	must(t, q.Close())
	b, err := os.ReadFile(filepath.Join(dir, logName))
	must(t, err)
	b[begin] ^= 1
	must(t, os.WriteFile(filepath.Join(dir, logName), b, 0o600))
	q = openQueue(t, dir, Limits{})
	for _, e := range q.Next(0, -1) {
		if e.Key != 1 {
			t.Errorf("%+v", e)
		}
	}
	if q.Len() != 1 || q.Stats().Damaged != 1 {
		t.Errorf("%+v", q.Stats())
	}
}

func TestLimits(t *testing.T) {
	q := openQueue(t, filepath.Join(t.TempDir(), "q"), Limits{Entries: 32, Bytes: 1 << 20})
	must(t, q.Room(100))
	for i := range 32 {
		if i == 30 && !errors.Is(q.Room(1), model.ErrQuota) {
			t.Errorf("room for what is begun with %d entries: %v", i, q.Room(1))
		}
		must(t, q.Append(entry(1, Append, "x")))
	}
	if err := q.Append(entry(1, Append, "x")); !errors.Is(err, model.ErrQuota) {
		t.Errorf("too many: %v", err)
	}
	q = openQueue(t, filepath.Join(t.TempDir(), "q"), Limits{Bytes: 1 << 20})
	if err := q.Room(1 << 20); !errors.Is(err, model.ErrQuota) {
		t.Errorf("room for too much: %v", err)
	}
	if err := q.Append(entry(1, Replace, strings.Repeat("x", 1<<20))); !errors.Is(err, model.ErrQuota) {
		t.Errorf("too much: %v", err)
	}
	must(t, q.Append(entry(1, Replace, strings.Repeat("x", 1<<19))))
	if s := q.Stats(); s.Entries != 1 || s.Bytes < 1<<19 {
		t.Errorf("%+v", s)
	}
}

// TestConcurrent: many append and take out at once, and the log is written anew meanwhile.
func TestConcurrent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "q")
	q := openQueue(t, dir, Limits{})
	const writers, each = 8, 60
	var wg sync.WaitGroup
	for w := range uint64(writers) {
		wg.Go(func() {
			for i := range each {
				if err := q.Append(entry(w, Append, fmt.Sprint(i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := map[uint64]int{}
	for total := 0; total < writers*each; {
		list := q.Next(0, 20)
		var over []uint64
		for _, e := range list {
			if err := q.Load(&e); err != nil || string(e.Data) != fmt.Sprint(done[e.Key]) {
				t.Fatalf("entry %q of %d, %v; want %d", e.Data, e.Key, err, done[e.Key])
			}
			done[e.Key]++
			over = append(over, e.N)
		}
		total += len(over)
		if len(over) > 0 {
			must(t, q.Sending(Sending{N: over}))
			must(t, q.Done(over, nil))
			must(t, q.rewrite())
		}
	}
	wg.Wait()
	if q.Len() != 0 || q.Stats().Bytes != 0 {
		t.Errorf("%+v", q.Stats())
	}
}

func TestApply(t *testing.T) {
	value := []byte("0123456789")
	for _, c := range []struct {
		e    Edit
		want string
	}{
		{Edit{Kind: Replace, Data: []byte("x")}, "x"},
		{Edit{Kind: Write, Off: 8, Data: []byte("abc")}, "01234567abc"},
		{Edit{Kind: Write, Off: 12, Data: []byte("z")}, "0123456789\x00\x00z"},
		{Edit{Kind: Append, Data: []byte("+")}, "0123456789+"},
		{Edit{Kind: Truncate, Size: 3}, "012"},
		{Edit{Kind: Truncate, Size: 11}, "0123456789\x00"},
		{Edit{Kind: Meta}, "0123456789"},
	} {
		if got := c.e.Apply(value); string(got) != c.want {
			t.Errorf("%+v: %q, want %q", c.e, got, c.want)
		}
	}
	if string(value) != "0123456789" {
		t.Errorf("the value was modified: %q", value)
	}
}

// BenchmarkAppend is what an offline write costs: one fsync of the disk that TMPDIR is on.
func BenchmarkAppend(b *testing.B) {
	q := openQueue(b, filepath.Join(b.TempDir(), "q"), Limits{Entries: 1 << 30, Bytes: 1 << 40})
	e := entry(1, Replace, "21.5\n")
	for b.Loop() {
		must(b, q.Append(e))
	}
}
