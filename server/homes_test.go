package server

import (
	"fmt"
	"testing"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

func (p *peer) loaded() int {
	p.t.Helper()
	return must[*transport.Status](p, &transport.GetStatus{}).Loaded
}

// TestUnknownIDLoadsNothing: an id that is nowhere costs no more than an answer, and who may change nothing is told so
// before anything is looked for.
func TestUnknownIDLoadsNothing(t *testing.T) {
	listen, dial := listening(t)
	d := newDirs(t)
	s := d.start(t, listen)
	owner := connect(t, s)
	reader := owner.createKey("reader", model.RightRead)
	writer := owner.createKey("writer", model.RightRead|model.RightWrite, "t")
	const n = 1000
	changes := make([]model.Change, n)
	for i := range changes {
		changes[i] = store("v", "x")
		changes[i].Service = fmt.Sprint("s", i)
	}
	results := owner.do(changes...)
	secret := store("v", "x")
	secret.Tenant = "hidden"
	secretID := owner.do(secret)[0].ID
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = d.start(t, listen)
	owner = connect(t, s)
	id, in := results[7].ID, owner.service("t", "s7")
	hiddenIn := owner.service("hidden", "s")
	by := func(op model.Op, id, in uint64) model.Change {
		return model.Change{Op: op, ID: id, In: in, Data: []byte("y"), ToName: "w"}
	}
	peers := map[string]*peer{"owner": owner}
	for name, key := range map[string]string{"reader": reader, "writer": writer} {
		p := &peer{t: t, news: make(chan struct{}, 1)}
		if err := p.dial(dial(s, key)); err != nil {
			t.Fatal(err)
		}
		peers[name] = p
	}
	for _, tt := range []struct {
		who  string
		c    model.Change
		code model.Code
		load int
	}{
		{"owner", by(model.OpStore, 1<<40, 0), model.CodeNotFound, 0},
		{"owner", by(model.OpDelete, 1<<40, 1<<41), model.CodeNotFound, 0},
		{"owner", by(model.OpStore, id, 0), model.CodeNotFound, 0}, // of a client that watches nothing
		{"reader", by(model.OpStore, 1<<40, in), model.CodeDenied, 0},
		{"reader", by(model.OpStore, id, in), model.CodeDenied, 0},
		{"reader", at(model.OpDelete, "t", "s8", "v"), model.CodeDenied, 0},
		{"reader", at(model.OpDelete, "t", "s8", "w"), model.CodeDenied, 0},
		{"writer", by(model.OpStore, secretID, hiddenIn), model.CodeNotFound, 0},
		{"writer", by(model.OpStore, secretID, in), model.CodeNotFound, 1},
		{"writer", by(model.OpStore, id, in), model.CodeOK, 1},
		{"owner", by(model.OpRename, 1<<40, in), model.CodeNotFound, 1},
		{"owner", by(model.OpStore, id, 0), model.CodeOK, 1},
	} {
		if a := peers[tt.who].send(tt.c); a.Code != tt.code {
			t.Errorf("%s: %+v: code %d (%s), want %d", tt.who, tt.c, a.Code, a.Message, tt.code)
		}
		if have := owner.loaded(); have != tt.load {
			t.Fatalf("%s: %+v: %d services are loaded, want %d", tt.who, tt.c, have, tt.load)
		}
	}
	// A probe is answered the same way.
	_, err := call[*transport.Probed](owner, &transport.Probe{ID: results[9].ID, Want: model.RightWrite})
	owner.wantCode(err, model.CodeNotFound)
	must[*transport.Probed](owner, &transport.Probe{ID: results[9].ID, In: owner.service("t", "s9"), Want: model.RightWrite})
	if have := owner.loaded(); have != 2 {
		t.Errorf("%d services are loaded", have)
	}
}
