package core

import (
	"testing"

	"github.com/commy-project/commyfs/model"
)

// TestMovedIsFound: a report that names a variable by its id, and the service in which its client knew it, is carried out
// once, wherever the variable has gone meanwhile and whichever server gets it.
func TestMovedIsFound(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	id := p.do(store("v", "a"))[0].ID
	in := p.service("t", "s")
	restart := func() {
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = d.start(t)
		p = connect(t, s, as(p.id), func(next *peer) { next.seq = p.seq })
	}
	move := func(service, name string) {
		t.Helper()
		connect(t, s).do(model.Change{Op: model.OpRename, ID: id, In: in, ToTenant: "t", ToService: service, ToName: name, Parents: true})
	}
	value := func(service, name, want string) {
		t.Helper()
		v, err := connect(t, s).get("t", service, name)
		if err != nil {
			t.Fatal(err)
		}
		if string(v.Data) != want || v.ID != id {
			t.Fatalf("%s/%s is %d, holds %q, want %d, %q", service, name, v.ID, v.Data, id, want)
		}
	}
	report := func(seq uint64, data string) {
		t.Helper()
		a := p.report(&model.Report{Seq: seq, Acked: 1,
			Changes: []model.Change{{Op: model.OpAppend, ID: id, In: in, Data: []byte(data)}}})
		if a.Code != model.CodeOK || len(a.Results) != 1 || a.Results[0].ID != id {
			t.Fatalf("report %d: %+v", seq, a)
		}
	}
	report(100, "b")
	restart()
	move("other", "w")
	restart()
	report(100, "b") // sent again
	report(101, "c") // new
	restart()
	report(101, "c")
	value("other", "w", "abc")
	restart()
	move("third", "x")
	report(102, "d")
	move("s", "back")
	restart()
	report(103, "e")
	value("s", "back", "abcde")
	// Renamed where it is.
	p.do(renameTo(at(model.OpRename, "t", "s", "back"), "again"))
	restart()
	report(104, "f")
	report(104, "f")
	value("s", "again", "abcdef")
	// Gone, it is nowhere.
	p.do(at(model.OpDelete, "t", "s", "again"))
	restart()
	p.seq = 200
	p.refused(model.CodeNotFound, model.Change{Op: model.OpStore, ID: id, In: in})
	if len(s.view.moved) != 0 {
		t.Errorf("of what is gone is remembered: %v", s.view.moved)
	}
}

// TestMovedDirectoryIsFound: the same for what a directory has taken along, by way of several services, also by way of another
// directory.
func TestMovedDirectoryIsFound(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	p.do(at(model.OpMkdir, "t", "", ""), at(model.OpMkdir, "t", "s", ""), at(model.OpMkdir, "t", "s", "d"))
	id := p.do(store("d/v", "a"))[0].ID
	in := []uint64{p.service("t", "s")}
	want := "a"
	for i, step := range [][]string{
		{"s", "d", "r", "d", "d/v"}, {"r", "d", "u", "o/e", "o/e/v"}, {"u", "o", "w", "o", "o/e/v"}, {"w", "o/e", "s", "d", "d/v"}, {"s", "d", "u", "d", "d/v"},
	} {
		c := moveTo(step[0], step[1], step[2], step[3])
		c.Parents = true
		p.do(c)
		in = append(in, p.service("t", step[2]))
		for _, known := range in {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = d.start(t)
			p = connect(t, s)
			want += "+"
			p.do(model.Change{Op: model.OpAppend, ID: id, In: known, Data: []byte("+")})
			if v, err := p.get("t", step[2], step[4]); err != nil || string(v.Data) != want || v.ID != id {
				t.Fatalf("step %d: it is %+v %q, %v, want %q", i, v, v.Data, err, want)
			}
		}
	}
	p.do(at(model.OpDelete, "t", "u", "d/v"))
	p.refused(model.CodeNotFound, model.Change{Op: model.OpAppend, ID: id, In: in[0], Data: []byte("+")})
}

// TestMovedOutOfMovedDirectoryIsFound: the same for what has left the directory that took it along, which is gone.
func TestMovedOutOfMovedDirectoryIsFound(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	twoServices(p)
	nested := store("d/e/f/v", "a")
	nested.Parents = true
	ids := []uint64{p.do(store("d/v", "a"))[0].ID, p.do(nested)[0].ID}
	in := p.service("t", "s")
	restart := func() {
		t.Helper()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = d.start(t)
		p = connect(t, s)
	}
	p.do(moveTo("s", "d", "r", "d"))
	p.do(renameTo(at(model.OpRename, "t", "r", "d/v"), "v"), renameTo(at(model.OpRename, "t", "r", "d/e"), "e"), at(model.OpRmdir, "t", "r", "d"))
	for i, name := range []string{"v", "e/f/v"} {
		restart()
		p.do(model.Change{Op: model.OpAppend, ID: ids[i], In: in, Data: []byte("+")})
		if v, err := p.get("t", "r", name); err != nil || string(v.Data) != "a+" || v.ID != ids[i] {
			t.Errorf("%s is %+v, %v", name, v, err)
		}
	}
	p.do(renameTo(at(model.OpRename, "t", "r", "e/f"), "f"), at(model.OpRmdir, "t", "r", "e"), withParents(moveTo("r", "f", "u", "f")), at(model.OpDelete, "t", "r", "v"))
	restart()
	p.do(model.Change{Op: model.OpAppend, ID: ids[1], In: in, Data: []byte("+")})
	p.do(at(model.OpDelete, "t", "u", "f/v"), at(model.OpRmdir, "t", "u", "f"))
	if len(s.view.islands)+len(s.view.went)+len(s.view.moved) != 0 {
		t.Errorf("of what is gone is remembered: %v, %v, %v", s.view.islands, s.view.went, s.view.moved)
	}
}
