package server

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

// replica is a service as a watcher puts it together, believing nothing but what it is sent.
type replica struct {
	vars map[uint64]*model.Variable
	dirs map[uint64]*model.Dir // the service's own among them, with an empty name
	rev  int64
	// service is the id of the service.
	service uint64
	// mine are the values of the client's own reports, for echoes, by seq and variable name.
	mine map[string][]byte
	errs []string
}

func newReplica() *replica {
	return &replica{vars: map[uint64]*model.Variable{}, dirs: map[uint64]*model.Dir{}, mine: map[string][]byte{}}
}

func (r *replica) fail(format string, args ...any) {
	r.errs = append(r.errs, fmt.Sprintf(format, args...))
}

func (r *replica) snapshot(s *transport.Snapshot) {
	r.service = s.Service
	if !s.Resumed {
		r.dirs[s.Service] = &s.Root
	}
	for _, d := range s.Dirs {
		r.dirs[d.ID] = &d
	}
	for _, v := range s.Vars {
		r.vars[v.ID] = &v
	}
	r.events(s.Changes)
	r.rev = s.Rev
}

func (r *replica) events(list []model.Event) {
	for _, e := range list {
		r.event(e)
	}
}

// parentOf is the directory that holds a path; "" is the service itself.
func parentOf(path string) string { return path[:max(0, strings.LastIndexByte(path, '/'))] }

// below reports whether path lies in a directory, at any depth.
func below(path, dir string) bool { return strings.HasPrefix(path, dir+"/") }

// stirred sets the time of the directory in which a name has come or gone.
func (r *replica) stirred(name string, time int64) {
	for _, d := range r.dirs {
		if d.Name == parentOf(name) {
			d.MTime = time
			return
		}
	}
	r.fail("no directory for %s", name)
}

func (r *replica) event(e model.Event) {
	v := r.vars[e.ID]
	if structural := e.Kind != model.EventMeta && (e.Kind != model.EventSet || e.Created); structural != (e.Time != 0) {
		r.fail("event of kind %d for %s with time %d", e.Kind, e.Name, e.Time)
	} else if structural {
		r.stirred(e.Name, e.Time)
		if e.OldName != "" {
			r.stirred(e.OldName, e.Time)
		}
	}
	switch e.Kind {
	case model.EventSet:
		if (v == nil) != e.Created {
			r.fail("set of %s: known %v, created %v", e.Name, v != nil, e.Created)
			return
		}
		if e.Created {
			v = &model.Variable{ID: e.ID, Name: e.Name}
			r.vars[e.ID] = v
		} else if v.Name != e.Name || e.Version < v.Version {
			r.fail("set of %s version %d on %s version %d", e.Name, e.Version, v.Name, v.Version)
		}
		switch {
		case e.Echo != 0:
			data, ok := r.mine[fmt.Sprint(e.Echo, " ", e.Name)]
			if !ok {
				r.fail("echo of report %d for %s, which it did not store", e.Echo, e.Name)
			}
			v.Data = data
		case e.Base != 0:
			if e.Base != v.Version {
				r.fail("%s: ranges over version %d, has %d", e.Name, e.Base, v.Version)
			}
			data := make([]byte, e.Size)
			copy(data, v.Data)
			for _, g := range e.Ranges {
				copy(data[g.Off:], g.Data)
			}
			v.Data = data
		default:
			v.Data = e.Data
		}
		v.Version, v.MTime, v.Mode, v.Size, v.Slot = e.Version, e.MTime, e.Mode, e.Size, e.Slot
		if int64(len(v.Data)) != e.Size {
			r.fail("%s has %d bytes, size %d", e.Name, len(v.Data), e.Size)
		}
	case model.EventDelete:
		if v == nil {
			r.fail("delete of %s, which is not there", e.Name)
		}
		delete(r.vars, e.ID)
	case model.EventRename:
		if e.Other != 0 {
			r.exchange(e)
			return
		}
		if v == nil || v.Name != e.OldName {
			r.fail("rename of %s to %s: not there", e.OldName, e.Name)
			return
		}
		v.Name, v.Version = e.Name, e.Risen(v.Version)
	case model.EventMkdir:
		r.dirs[e.ID] = &model.Dir{ID: e.ID, Name: e.Name, MTime: e.MTime, Mode: e.Mode}
	case model.EventRmdir:
		if d := r.dirs[e.ID]; d == nil || d.Name != e.Name {
			r.fail("rmdir of %s, which is %v", e.Name, d)
		}
		delete(r.dirs, e.ID)
	case model.EventRenameDir:
		if e.Other != 0 {
			r.exchange(e)
			return
		}
		move := func(name string) string {
			if name == e.OldName || below(name, e.OldName) {
				return e.Name + name[len(e.OldName):]
			}
			return name
		}
		for _, d := range r.dirs {
			d.Name = move(d.Name)
		}
		for _, v := range r.vars {
			if to := move(v.Name); to != v.Name {
				v.Name, v.Version = to, e.Risen(v.Version)
			}
		}
	case model.EventMeta:
		switch d := r.dirs[e.ID]; {
		case v != nil && v.Name == e.Name && v.Version <= e.Version: // more in a resumption, if it is renamed later
			v.MTime, v.Mode = e.MTime, e.Mode
		case d != nil && d.Name == e.Name:
			d.MTime, d.Mode = e.MTime, e.Mode
		default:
			r.fail("meta of %s version %d, which is %v, %v", e.Name, e.Version, v, d)
		}
	default:
		r.fail("event of kind %d", e.Kind)
	}
}

// exchange applies one of the two events of an exchange: the first does it, the second finds it done.
func (r *replica) exchange(e model.Event) {
	name := map[uint64]*string{}
	for id, d := range r.dirs {
		name[id] = &d.Name
	}
	for id, v := range r.vars {
		name[id] = &v.Name
	}
	one, other := name[e.ID], name[e.Other]
	switch {
	case one == nil || other == nil:
		r.fail("exchange of %s and %s: not there", e.OldName, e.Name)
		return
	case *one == e.Name && *other == e.OldName:
		return
	case *one != e.OldName || *other != e.Name:
		r.fail("exchange of %s and %s: they are %s and %s", e.OldName, e.Name, *one, *other)
		return
	}
	for id, n := range name {
		for _, way := range [][2]string{{e.OldName, e.Name}, {e.Name, e.OldName}} {
			if *n == way[0] || below(*n, way[0]) {
				*n = way[1] + (*n)[len(way[0]):]
				if v := r.vars[id]; v != nil {
					v.Version = e.Risen(v.Version)
				}
				break
			}
		}
	}
}

// list is the replica in words.
func (r *replica) list() []string {
	var list []string
	for id, d := range r.dirs {
		list = append(list, fmt.Sprintf("%s/ %d %d %o", d.Name, id, d.MTime, d.Mode))
	}
	for _, v := range r.vars {
		list = append(list, fmt.Sprintf("%s %d v%d %d %o slot%d %q", v.Name, v.ID, v.Version, v.MTime, v.Mode, v.Slot, v.Data))
	}
	slices.Sort(list)
	return list
}

// follower keeps a replica of t/s up to date, sometimes over a new connection.
type follower struct {
	p       *peer
	resumed int

	// mu guards r.
	mu sync.Mutex
	r  *replica
}

func (f *follower) push(m transport.Message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch m := m.(type) {
	case *transport.VariableChanged:
		f.r.events(m.Changes)
		f.r.rev = m.Rev
	case *transport.Snapshot:
		if !m.Resumed {
			f.r.fail("not resumed")
		}
		f.r.snapshot(m)
	}
}

func (f *follower) follow(t *testing.T, s *Server, sid uint64) {
	t.Helper()
	var id []byte
	m := &transport.Watch{Service: sid, Values: true}
	if f.p != nil {
		id = f.p.id
		_ = f.p.cl.Close()
		m.Store, m.Since = f.p.welcome.Store, f.r.rev
	} else {
		f.r = newReplica()
	}
	f.p = connect(t, s, as(id), func(p *peer) { p.onPush = f.push })
	if _, err := f.p.watchWith(m, f.start); err != nil {
		t.Fatal(err)
	}
}

func (f *follower) start(snap *transport.Snapshot) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if snap.Resumed {
		f.resumed++
	} else {
		fresh := newReplica()
		fresh.mine, fresh.errs = f.r.mine, f.r.errs
		f.r = fresh
	}
	f.r.snapshot(snap)
}

// TestModel has several clients do random things to one service, with few names so that they meet, while watchers build
// replicas from snapshots, pushes and resumptions. In the end all replicas, the list, the memory file and what the next
// server loads are the same.
func TestModel(t *testing.T) {
	seed := testenv.Seed(t)
	d := newDirs(t)
	s := d.start(t)
	first := connect(t, s)
	first.do(store("start", ""))
	sid := first.service("t", "s")
	const writers, rounds = 4, 500

	followers := make([]*follower, writers+1) // each writer is one as well
	for i := range followers {
		followers[i] = &follower{}
		followers[i].follow(t, s, sid)
	}
	var wg sync.WaitGroup
	counts := [writers]map[model.Code]int{}
	for i := range writers {
		counts[i] = map[model.Code]int{}
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(i)))
			f := followers[i]
			for range rounds {
				changes := testenv.RandomChanges(rnd)
				p := f.p
				p.seq++
				f.mu.Lock()
				for _, c := range changes {
					if c.Op == model.OpStore {
						f.r.mine[fmt.Sprint(p.seq, " ", c.Name)] = c.Data
					}
				}
				f.mu.Unlock()
				m, err := call[*transport.VariableChangesAcknowledged](p, &transport.ReportVariableChanges{Seq: p.seq, Acked: p.seq, Changes: changes})
				if err != nil {
					t.Errorf("report: %v", err)
					return
				}
				counts[i][m.Code]++
				if m.Code == model.CodeInternal {
					t.Errorf("%+v: %s", changes, m.Message)
				}
			}
		})
	}
	for range 15 {
		followers[writers].follow(t, s, sid)
	}
	wg.Wait()
	if followers[writers].resumed == 0 {
		t.Error("no watch was resumed")
	}
	for i := range counts {
		t.Logf("writer %d: answers by code %v", i, counts[i])
		if counts[i][model.CodeOK] < rounds/10 {
			t.Errorf("writer %d had %d accepted of %d", i, counts[i][model.CodeOK], rounds)
		}
	}

	truth := newReplica()
	truth.snapshot(first.mustWatch(&transport.Watch{Service: sid, Values: true}))
	want := truth.list()
	for i, f := range followers {
		testenv.Eventually(t, bound, func() error {
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.r.rev < truth.rev {
				return fmt.Errorf("follower %d is at %d, not at %d", i, f.r.rev, truth.rev)
			}
			return nil
		})
		f.mu.Lock()
		if got := f.r.list(); !slices.Equal(got, want) {
			t.Errorf("follower %d has\n%s\nwant\n%s", i, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		for _, e := range f.r.errs[:min(len(f.r.errs), 5)] {
			t.Errorf("follower %d: %s", i, e)
		}
		f.mu.Unlock()
	}
	wantInFile(t, first, memoryPath(d.run, sid))
	var listed []string
	for _, e := range first.list(&transport.List{Tenant: "t", Service: "s", Recursive: true}) {
		listed = append(listed, fmt.Sprint(e.Name, e.Dir))
	}
	if len(listed) != len(want)-1 { // the service itself
		t.Errorf("listed %d entries, the replicas have %d", len(listed), len(want))
	}

	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := newReplica()
	again.snapshot(connect(t, d.start(t)).mustWatch(&transport.Watch{Service: sid, Values: true}))
	for _, r := range []*replica{truth, again} {
		for _, v := range r.vars {
			v.Slot = 0 // may be another one
		}
	}
	if got, want := again.list(), truth.list(); !slices.Equal(got, want) {
		t.Errorf("after a restart\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
