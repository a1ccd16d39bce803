package fs

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/commy-project/commyfs/fs/estate"
	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// short describes notices.
func short(list []varsync.Notice) (out []string) {
	kinds := map[varsync.NoticeKind]string{varsync.Created: "created", varsync.Deleted: "deleted", varsync.Renamed: "renamed", varsync.Modified: "modified"}
	for _, n := range list {
		text := kinds[n.Kind]
		if n.Dir {
			text += " dir"
		}
		if n.Kind == varsync.Renamed {
			text += " " + strings.Join(n.OldPath[1:], "/")
		}
		out = append(out, text+" "+strings.Join(n.Path[1:], "/"))
	}
	return out
}

// TestMissedMoves: what went from one service to another is one rename, in the order in which it came about, whichever service's
// events are looked at first.
func TestMissedMoves(t *testing.T) {
	m := newMount(t, Options{})
	m.mkdir(m.id("t"), "r")
	// How it is now: d and x have come from s to r, y has gone the other way, all in the places of what there was before.
	m.mkdir(m.id("t/r"), "in")
	m.mkdir(m.id("t/r/in"), "d")
	m.mkdir(m.id("t/r/in/d"), "sub")
	m.put("t/r/in/d/sub/v", "v")
	m.put("t/r/x", "x")
	m.mkdir(m.id("t/s"), "y")
	m.mkdir(m.id("t/s"), "d")
	s, r := m.c.Node(m.id("t/s")).(*varsync.Service), m.c.Node(m.id("t/r")).(*varsync.Service)
	services := map[*varsync.Service]*estate.Service{s: nil, r: nil}
	d, sub, v, x, y, d2 := m.id("t/r/in/d"), m.id("t/r/in/d/sub"), m.id("t/r/in/d/sub/v"), m.id("t/r/x"), m.id("t/s/y"), m.id("t/s/d")
	const gone = 1 << 30
	rmdir := func(id uint64, name string, moved, other uint64) model.Event {
		return model.Event{Kind: model.EventRmdir, ID: id, Name: name, Moved: moved, Other: other}
	}
	mkdir := func(id uint64, name string, moved, other uint64) model.Event {
		return model.Event{Kind: model.EventMkdir, ID: id, Name: name, Moved: moved, Other: other}
	}
	set := func(id uint64, name string, moved uint64) model.Event {
		return model.Event{Kind: model.EventSet, Created: true, ID: id, Name: name, Moved: moved}
	}
	whole := []model.Event{mkdir(d, "in/d", s.ID(), 0), mkdir(sub, "in/d/sub", s.ID(), 0), set(v, "in/d/sub/v", s.ID())}
	for _, tt := range []struct {
		name string
		s, r []model.Event
		want []string
	}{
		{"a directory with what is in it", []model.Event{rmdir(d, "old", r.ID(), 0)}, whole, []string{"renamed dir s/old r/in/d"}},
		{"whose name is made again", []model.Event{rmdir(d, "d", r.ID(), 0), mkdir(d2, "d", 0, 0)}, whole,
			[]string{"renamed dir s/d r/in/d", "created dir s/d"}},
		{"to where another one was", []model.Event{rmdir(d, "old", r.ID(), 0)},
			append([]model.Event{rmdir(gone, "in/d", 0, 0)}, whole...), []string{"deleted dir r/in/d", "renamed dir s/old r/in/d"}},
		{"in which something is made", []model.Event{rmdir(d, "old", r.ID(), 0)}, append(slices.Clone(whole), set(gone, "in/d/sub/w", 0)),
			[]string{"renamed dir s/old r/in/d", "created r/in/d/sub/w"}},
		{"to a service that is not told of", []model.Event{rmdir(d, "old", r.ID(), 0)}, nil, []string{"renamed dir s/old r/in/d"}},
		{"from one that is not told of", nil, whole, []string{"created dir r/in/d"}},
		{"and is gone", []model.Event{rmdir(gone, "old", r.ID(), 0)}, nil, []string{"deleted dir s/old"}},
		{"a variable", []model.Event{{Kind: model.EventDelete, ID: x, Name: "old", Moved: r.ID()}}, []model.Event{set(x, "x", s.ID())},
			[]string{"renamed s/old r/x"}},
		{"there and back and there", []model.Event{rmdir(d, "a", r.ID(), 0), mkdir(d, "b", r.ID(), 0), rmdir(d, "b", r.ID(), 0)},
			append([]model.Event{mkdir(d, "c", s.ID(), 0), rmdir(d, "c", s.ID(), 0)}, whole...),
			[]string{"renamed dir s/a r/c", "renamed dir r/c s/b", "renamed dir s/b r/in/d"}},
		{"exchanged", []model.Event{rmdir(d, "y", r.ID(), y), mkdir(y, "y", r.ID(), d)}, append([]model.Event{rmdir(y, "in/d", s.ID(), d)},
			mkdir(d, "in/d", s.ID(), y), mkdir(sub, "in/d/sub", s.ID(), 0)), []string{"renamed dir s/y r/in/d", "renamed dir r/in/d s/y"}},
		{"both at once, one in the place that the other has left", []model.Event{mkdir(y, "y", r.ID(), 0), rmdir(d, "old", r.ID(), 0)},
			append([]model.Event{rmdir(y, "in/d", s.ID(), 0)}, whole...), []string{"renamed dir r/in/d s/y", "renamed dir s/old r/in/d"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range 8 { // the services are looked at in any order
				all := &missed{map[uint64][]model.Event{s.ID(): tt.s, r.ID(): tt.r}, nil, nil}
				list := all.notices(t.Context(), m.FS, services)
				got := short(list)
				if tt.name == "exchanged" && len(got) == 2 && strings.HasPrefix(got[0], "renamed dir r/") {
					slices.Reverse(got) // either may be first
				}
				if !slices.Equal(got, tt.want) {
					t.Fatalf("%q, want %q", got, tt.want)
				}
				for _, n := range list {
					if n.Kind == varsync.Renamed && (n.Service == n.OldService || n.Service == 0 || n.OldService == 0) {
						t.Errorf("%v: from service %d to %d", short([]varsync.Notice{n}), n.OldService, n.Service)
					}
				}
			}
		})
	}

	// Whatever the events are, it comes to an end, and each is told once.
	for range 2000 {
		ids := []uint64{s.ID(), r.ID()}
		some := func(at int) (list []model.Event) {
			for range rand.IntN(6) {
				id, other := []uint64{d, x, y}[rand.IntN(3)], uint64(0)
				if rand.IntN(2) == 0 {
					other = []uint64{d, x, y}[rand.IntN(3)]
				}
				name := fmt.Sprint("n", rand.IntN(3))
				if rand.IntN(2) == 0 {
					list = append(list, rmdir(id, name, ids[1-at], other))
				} else {
					list = append(list, mkdir(id, name, ids[1-at], other))
				}
			}
			return list
		}
		all := &missed{map[uint64][]model.Event{s.ID(): some(0), r.ID(): some(1)}, nil, nil}
		most := len(all.events[s.ID()]) + len(all.events[r.ID()])
		if list := all.notices(t.Context(), m.FS, services); len(list) > most {
			t.Fatalf("%d notices of %d events: %q, of %+v", len(list), most, short(list), all.events)
		}
	}
}
