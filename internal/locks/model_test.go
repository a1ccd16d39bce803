package locks

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// model is the same without any wit: what each owner has of each byte, and who waits.
type model struct {
	t     *testing.T
	table *Table
	bytes map[cell]map[Owner]bool // true: exclusive
	line  []*Waiter
	ops   log
}

// log is what was asked for.
type log []logged

type logged struct {
	op   int
	file uint64
	l    Lock
}

func (l log) String() (s string) {
	for i, e := range l {
		s += fmt.Sprintf("%d: op %d file %d %+v\n", i, e.op, e.file, e.l)
	}
	return s
}

type cell struct {
	file uint64
	kind Kind
	at   uint64
}

// modelBytes is how many bytes the model's files have; the last one stands for all behind it.
const modelBytes = 12

func cells(file uint64, l *Lock) (list []cell) {
	if l.Kind == Flock {
		return []cell{{file, Flock, 0}}
	}
	for at := l.Start; at <= min(l.End, modelBytes-1); at++ {
		list = append(list, cell{file, Posix, at})
	}
	return list
}

func (m *model) holders(file uint64, l *Lock) (list []Owner) {
	for _, c := range cells(file, l) {
		for o, mode := range m.bytes[c] {
			if o != l.Owner && (mode || l.Exclusive) && !slices.Contains(list, o) {
				list = append(list, o)
			}
		}
	}
	return list
}

func (m *model) put(file uint64, l *Lock, keep bool) {
	for _, c := range cells(file, l) {
		if m.bytes[c] == nil {
			m.bytes[c] = map[Owner]bool{}
		}
		if delete(m.bytes[c], l.Owner); keep {
			m.bytes[c][l.Owner] = l.Exclusive
		}
	}
}

// grant takes what the table has granted, which nobody must have had.
func (m *model) grant(granted []*Waiter) {
	for _, w := range granted {
		i := slices.Index(m.line, w)
		if i < 0 {
			m.t.Fatalf("%s\ngranted to who does not wait: %+v", m.ops, w)
		}
		m.line = slices.Delete(m.line, i, i+1)
		if by := m.holders(w.File, &w.Lock); len(by) > 0 {
			m.t.Fatalf("%s\ngranted %+v, which %v have", m.ops, w, by)
		}
		m.put(w.File, &w.Lock, true)
	}
}

// deadlock reports whether an owner waits for itself by way of what others have and wait for.
func (m *model) deadlock(file uint64, l *Lock) bool {
	seen := map[Owner]bool{}
	var visit func(o Owner) bool
	visit = func(o Owner) bool {
		if seen[o] {
			return false
		}
		seen[o] = true
		for _, w := range m.line {
			if w.Owner != o || w.Kind != Posix || w.Described {
				continue
			}
			for _, by := range m.holders(w.File, &w.Lock) {
				if by == l.Owner || visit(by) {
					return true
				}
			}
		}
		return false
	}
	return slices.ContainsFunc(m.holders(file, l), visit)
}

// behind returns who a waiter, or a new request, waits behind for its place in the line alone.
func (m *model) behind(file uint64, l *Lock, line []*Waiter) (list []*Waiter) {
	for _, w := range line {
		if w.File == file && w.Kind == l.Kind && w.conflicts(l) && !slices.Contains(m.holders(file, &w.Lock), l.Owner) {
			list = append(list, w)
		}
	}
	return list
}

func (m *model) check() {
	t := m.t
	for file := range uint64(3) {
		for k := range kinds {
			for at := range uint64(modelBytes) {
				if k == Flock && at > 0 {
					break
				}
				got := map[Owner]bool{}
				for _, e := range m.table.Of(file) {
					if !e.Waits && e.Kind == k && e.Start <= at && at <= e.End {
						if _, twice := got[e.Owner]; twice {
							t.Fatalf("%s\n%v has byte %d of %d twice", m.ops, e.Owner, at, file)
						}
						got[e.Owner] = e.Exclusive
					}
				}
				if want := m.bytes[cell{file, k, at}]; fmt.Sprint(got) != fmt.Sprint(want) && len(got)+len(want) > 0 {
					t.Fatalf("%s\nbyte %d of %d: %v, want %v", m.ops, at, file, got, want)
				}
			}
		}
	}
	total := 0
	for _, id := range m.table.Files() {
		list := m.table.Of(id)
		total += len(list)
		// Ranges of an owner that touch and are alike are one.
		for i, a := range list {
			for _, b := range list[:i] {
				if !a.Waits && !b.Waits && a.Kind == b.Kind && a.Owner == b.Owner && a.Exclusive == b.Exclusive && a.Start <= b.End+1 && b.Start <= a.End+1 {
					t.Fatalf("%s\nnot joined: %+v %+v", m.ops, a, b)
				}
			}
		}
	}
	if total != m.table.Len() {
		t.Fatalf("%s\n%d locks are counted as %d", m.ops, total, m.table.Len())
	}
	// Nobody waits for nothing.
	for i, w := range m.line {
		if len(m.holders(w.File, &w.Lock)) == 0 && (w.pass || len(m.behind(w.File, &w.Lock, m.line[:i])) == 0) {
			t.Fatalf("%s\nwaits for nothing: %+v", m.ops, w)
		}
	}
}

func (m *model) acquire(file uint64, l Lock, wait bool) {
	if l.Kind == Flock {
		if mode, has := m.bytes[cell{file, Flock, 0}][l.Owner]; has && mode != l.Exclusive {
			m.put(file, &l, false)
		}
	}
	had := m.holders(file, &l)
	dead := l.Kind == Posix && !l.Described && m.deadlock(file, &l)
	w, granted, err := m.table.Acquire(file, l, wait, 7)
	if w != nil {
		m.line = append(m.line, w)
	}
	if l.Kind == Flock { // what it has given up comes first
		m.grant(granted)
		granted, had = nil, m.holders(file, &l)
	}
	switch {
	case err == nil && w == nil:
		if len(had) > 0 && len(granted) == 0 {
			m.t.Fatalf("%s\ngot what %v have", m.ops, had)
		}
		m.put(file, &l, true)
	case err == nil:
		if dead || !wait {
			m.t.Fatalf("%s\nwaits: deadlock %v, asked to wait %v", m.ops, dead, wait)
		}
	case errors.Is(err, ErrDeadlock):
		if !dead || !wait {
			m.t.Fatalf("%s\nis no deadlock", m.ops)
		}
	case errors.Is(err, ErrHeld):
		if wait || len(had)+len(m.behind(file, &l, m.line)) == 0 {
			m.t.Fatalf("%s\nrefused, asked to wait %v, held by %v", m.ops, wait, had)
		}
	default:
		m.t.Fatalf("%s\n%v", m.ops, err)
	}
	m.grant(granted)
}

// run carries out what the bytes say.
func (m *model) run(data []byte) {
	next := func(n int) int {
		if len(data) == 0 {
			return 0
		}
		b := data[0]
		data = data[1:]
		return int(b) % n
	}
	for step := 0; len(data) > 0 && step < 200; step++ {
		op, file, n := next(8), uint64(next(3)), uint64(next(3)+10*next(2))
		l := flock(n, next(2) == 1)
		if next(3) > 0 {
			start := uint64(next(modelBytes))
			l = posix(n, l.Exclusive, start, start+uint64(next(modelBytes)))
			l.Described = next(4) == 0
			if l.End >= modelBytes-1 {
				l.End = MaxOffset
			}
		}
		m.ops = append(m.ops, logged{op, file, l})
		switch op {
		case 0, 1:
			m.acquire(file, l, false)
		case 2, 3, 4:
			m.acquire(file, l, true)
		case 5, 6:
			m.put(file, &l, false)
			granted, err := m.table.Release(file, l)
			if err != nil {
				m.t.Fatal(err)
			}
			m.grant(granted)
		case 7:
			if len(m.line) > 0 && n != 0 {
				i := next(len(m.line))
				w := m.line[i]
				m.line = slices.Delete(m.line, i, i+1)
				granted, ok := m.table.Cancel(w)
				if !ok {
					m.t.Fatalf("%s\nnot cancelled: %+v", m.ops, w)
				}
				m.grant(granted)
				break
			}
			client := l.Owner.Client
			m.line = slices.DeleteFunc(m.line, func(w *Waiter) bool { return w.Owner.Client == client })
			for _, had := range m.bytes {
				for o := range had {
					if o.Client == client {
						delete(had, o)
					}
				}
			}
			m.grant(m.table.ReleaseClient(client))
		}
		m.check()
	}
	for n := range uint64(3) {
		m.line = slices.DeleteFunc(m.line, func(w *Waiter) bool { return w.Owner.Client == owner(n).Client })
		for _, had := range m.bytes {
			for o := range had {
				if o.Client == owner(n).Client {
					delete(had, o)
				}
			}
		}
		m.grant(m.table.ReleaseClient(owner(n).Client))
	}
	(&tester{m.t, m.table}).empty()
}

func FuzzTable(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 4 {
		data := make([]byte, 200)
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		(&model{t: t, table: New(Limits{}), bytes: map[cell]map[Owner]bool{}}).run(data)
	})
}

func TestTable(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 50 {
		data := make([]byte, 600)
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		(&model{t: t, table: New(Limits{}), bytes: map[cell]map[Owner]bool{}}).run(data)
	}
}
