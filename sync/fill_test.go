package sync

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/commy-project/commyfs/model"
)

// pagesOf calls fn with the pages of a service of n variables.
func pagesOf(n, perDir int, values bool, fn func(*model.Snapshot)) {
	const page = 2500
	for from := 0; from < n; from += page {
		p := &model.Snapshot{More: from+page < n}
		for i := from; i < min(n, from+page); i++ {
			v := model.Variable{ID: uint64(1000 + i), Name: fmt.Sprintf("v%07d", i), Version: 1, MTime: 1, Writer: fmt.Sprint("somebody", i%2), Size: 8}
			if perDir > 0 {
				dir := fmt.Sprintf("d%05d", i/perDir)
				if i%perDir == 0 {
					p.Dirs = append(p.Dirs, model.Dir{ID: uint64(1<<40 + i), Name: dir})
				}
				v.Name = dir + "/" + v.Name
			}
			if values {
				v.Data = fmt.Append(nil, i%10, "1234567")
			}
			p.Vars = append(p.Vars, v)
		}
		fn(p)
	}
}

func filled(n, perDir int, acc accessor) *Service {
	s := newService(newClient(Options{}), 1)
	s.tenant, s.name = &Tenant{c: s.c, name: "t"}, "s"
	_, values := acc.(bufferAccessor)
	sn := &snapshot{}
	pagesOf(n, perDir, values, func(p *model.Snapshot) { sn.add(s, p, values) })
	s.replace(nil, sn, 1, acc)
	return s
}

func heapInUse() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// There can be millions of variables: what one takes beyond its value counts.
func TestMemoryOfAVariable(t *testing.T) {
	const n, most = 200_000, 140
	for _, perDir := range []int{0, 1000} {
		for _, acc := range []accessor{&mappedAccessor{}, bufferAccessor{}} {
			before := heapInUse()
			s := filled(n, perDir, acc)
			each := (heapInUse() - before) / n
			if s.buffered() {
				each -= 8
			}
			if each > most || s.root.variablesLocked() != n {
				t.Errorf("%T, %d in a directory: %d bytes for each of %d, want at most %d", acc, perDir, each, s.root.variablesLocked(), most)
			}
			runtime.KeepAlive(s)
		}
	}
}

// BenchmarkFill is what becomes of the pages of a first listing, once they are decoded.
func BenchmarkFill(b *testing.B) {
	const n = 200_000
	var pages []*model.Snapshot
	pagesOf(n, 0, false, func(p *model.Snapshot) { pages = append(pages, p) })
	b.ReportAllocs()
	for b.Loop() {
		s := newService(newClient(Options{}), 1)
		s.tenant, s.name = &Tenant{c: s.c, name: "t"}, "s"
		sn := &snapshot{}
		for _, p := range pages {
			sn.add(s, p, false)
		}
		s.replace(nil, sn, 1, &mappedAccessor{})
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/variable")
}

// What goes with its directory, or its service, is gone, and a walk that has begun goes on.
func TestEmptied(t *testing.T) {
	s := filled(3000, 1000, bufferAccessor{})
	v, sub := s.lookupLocked("d00001/v0001500").(*Variable), s.lookupLocked("d00001").(*Dir)
	walk := sub.Cursor()
	defer walk.Close()
	if _, ok := s.apply(2, []model.Event{{Kind: model.EventRmdir, ID: sub.id, Name: "d00001"}}); !ok {
		t.Fatal("it does not fit")
	}
	if !v.Gone() || !sub.Gone() || s.c.index.get(v.id) != nil || s.lookupLocked("d00001/v0001500") != nil || s.root.variablesLocked() != 2000 {
		t.Error("the directory is not gone with all that was in it")
	}
	if n := len(walk.walk(100)); n != 1000 {
		t.Errorf("%d entries in the walk, want 1000", n)
	}
	v = s.lookupLocked("d00002/v0002500").(*Variable)
	s.drop()
	if !v.Gone() || v.Name() != "d00002/v0002500" || s.c.index.get(v.id) != nil || !s.root.emptyLocked() {
		t.Error("the service is not gone with all that was in it")
	}
}
