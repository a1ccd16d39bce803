package core

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/model"
)

// TestReadStored: what is read of a service that is not in memory is what it has, and does not load it, but for who reads on.
func TestReadStored(t *testing.T) {
	d := newDirs(t)
	stay := func(o *setup) { o.interval = time.Hour }
	s := d.start(t, stay)
	large := bytes.Repeat([]byte("x"), 2*engine.MaxWhole)
	p := connect(t, s)
	p.do(store("d/v", "value"))
	p.do(store("large", string(large)))
	id, err := p.Find("t", "s")
	if err != nil {
		t.Fatal(err)
	}
	type read struct {
		model.Variable
		err error
	}
	names := []string{"d/v", "large", "d", "d/v/x", "d/x", "x/y", "x"}
	look := func(p *peer) map[string]read {
		all := map[string]read{}
		for _, name := range names {
			for _, value := range []bool{true, false} {
				v, err := p.Read(id, name, value)
				v.Slot = 0 // of a memory file
				v.Data = bytes.Clone(v.Data)
				all[name+map[bool]string{true: "=", false: "?"}[value]] = read{v, err}
			}
		}
		return all
	}
	want := look(p)
	if v := want["d/v="]; v.err != nil || string(v.Data) != "value" || want["large="].Size != int64(len(large)) {
		t.Fatalf("got %+v", want)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = d.start(t, stay)
	p = connect(t, s)
	for name, have := range look(p) {
		w := want[name]
		if !bytes.Equal(have.Data, w.Data) || !errors.Is(have.err, w.err) && have.err != w.err {
			t.Errorf("%s is %+v, want %+v", name, have, w)
		}
		have.Data, w.Data = nil, nil
		if have.ID != w.ID || have.Name != w.Name || have.Version != w.Version || have.MTime != w.MTime || have.Writer != w.Writer || have.Size != w.Size {
			t.Errorf("%s is %+v, want %+v", name, have, w)
		}
	}
	if loaded, err := p.Loaded(id); loaded || err != nil {
		t.Errorf("loaded: %v, %v", loaded, err)
	}
	for i := range loadFrom {
		if p.ReadsOn(id) != (i == loadFrom-1) {
			t.Errorf("of %d reads the last should load the service: number %d", loadFrom, i)
		}
	}
	p.do(store("d/v", "other"))
	if v, err := p.Read(id, "d/v", true); err != nil || string(v.Data) != "other" || v.Version != want["d/v="].Version+1 {
		t.Errorf("after a change: %+v, %v", v, err)
	}
	if p.ReadsOn(id) {
		t.Error("a loaded service is to be loaded")
	}
}

// TestReadStoredMeanwhile: a service that was loaded while the store was read is read from memory: the store can be ahead of
// what is shown, and who has read the next value from it must not read the last one then.
func TestReadStoredMeanwhile(t *testing.T) {
	s := startCore(t)
	p := connect(t, s)
	p.do(store("v", "shown"))
	id, err := p.Find("t", "s")
	if err != nil {
		t.Fatal(err)
	}
	svc, err := p.readable(id)
	if err != nil {
		t.Fatal(err)
	}
	shown := p.wantValue("v", "shown")
	ahead := engine.Variable{ID: shown.ID, Name: "v", Version: shown.Version + 1, Data: []byte("stored")}
	if _, err := s.engine.Commit(t.Context(), []engine.Op{engine.PutVariable(id, ahead)}); err != nil {
		t.Fatal(err)
	}
	if v, err := p.readStored(svc, "v", true); err != nil || string(v.Data) != "shown" {
		t.Errorf("read %q, %v", v.Data, err)
	}
}
