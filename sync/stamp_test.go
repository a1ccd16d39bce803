package sync

import (
	"testing"

	"github.com/commy-project/commyfs/model"
)

// A renaming inside a service says that it came from that service, also if it is half of an exchange.
func TestRenamedInsideAService(t *testing.T) {
	s := newService(newClient(Options{}), 1)
	s.tenant, s.name = &Tenant{c: s.c, name: "t"}, "s"
	sn := &snapshot{}
	sn.add(s, &model.Snapshot{Dirs: []model.Dir{{ID: 2, Name: "d"}, {ID: 3, Name: "e"}}}, true)
	if _, ok := s.replace(nil, sn, 1, bufferAccessor{}); !ok {
		t.Fatal("it does not fit")
	}
	notices, ok := s.apply(2, []model.Event{
		{Kind: model.EventRenameDir, ID: 2, OldName: "d", Name: "e", Other: 3},
		{Kind: model.EventRenameDir, ID: 2, OldName: "e", Name: "f"},
		{Kind: model.EventMkdir, ID: 4, Name: "g"},
	})
	if !ok || len(notices) != 4 {
		t.Fatalf("%v: %d notices", ok, len(notices))
	}
	for _, n := range notices {
		if want := map[NoticeKind]uint64{Renamed: 1}[n.Kind]; n.OldService != want || n.Service != 1 {
			t.Errorf("%d of %d: service %d, before %d", n.Kind, n.ID, n.Service, n.OldService)
		}
	}
}
