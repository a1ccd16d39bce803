package server

import (
	"testing"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server/access"
	"github.com/commy-project/commyfs/transport"
)

// TestClientBelongsToItsPrincipal: who knows another's client id and has other credentials is another client. It neither
// ends the other's connection nor gets its answers nor makes the server forget them, also after a restart.
func TestClientBelongsToItsPrincipal(t *testing.T) {
	listen, dial := listening(t)
	d := newDirs(t)
	s := d.start(t, listen)
	admin := connect(t, s)
	admin.do(store("v", ""))
	owner, reader := admin.createKey("owner", access.AllRights), admin.createKey("reader", model.RightRead)
	with := func(key string, id []byte) *peer {
		t.Helper()
		p := &peer{t: t, id: id, news: make(chan struct{}, 1)}
		if err := p.dial(dial(s, key)); err != nil {
			t.Fatal(err)
		}
		return p
	}
	report := &transport.ReportVariableChanges{Seq: 1, Acked: 1, Changes: []model.Change{appendTo("v", "once")}}
	p := with(owner, nil)
	must[*transport.VariableChangesAcknowledged](p, report)

	thief := with(reader, p.id)
	if a := must[*transport.VariableChangesAcknowledged](thief, report); a.Code != model.CodeDenied {
		t.Errorf("another principal is answered %+v, want denied", a)
	}
	a := must[*transport.VariableChangesAcknowledged](thief, &transport.ReportVariableChanges{Seq: 9, Acked: 9, Changes: report.Changes})
	if a.Code != model.CodeDenied {
		t.Errorf("another principal is answered %+v, want denied", a)
	}
	must[*transport.Done](thief, &transport.Goodbye{})
	if err := p.cl.Err(); err != nil {
		t.Errorf("the owner's connection has ended: %v", err)
	}
	must[*transport.VariableChangesAcknowledged](p, report)
	p.wantValue("v", "once")

	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = d.start(t, listen)
	local := connect(t, s, as(p.id))
	must[*transport.Done](local, &transport.Goodbye{})
	thief = with(reader, p.id)
	must[*transport.Done](thief, &transport.Goodbye{})
	p = with(owner, p.id)
	must[*transport.VariableChangesAcknowledged](p, report)
	p.wantValue("v", "once")
}
