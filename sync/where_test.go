package sync

import (
	"testing"

	"github.com/commy-project/commyfs/model"
)

// A directory that has got another path was elsewhere, whatever was renamed before.
func TestWhereADirectoryIs(t *testing.T) {
	b := newBench(t)
	b.list(serviceS, 1, []model.Dir{{ID: dirD, Name: "d"}, {ID: dirE, Name: "d/e"}, {ID: 12, Name: "f"}}, nil)
	rename := func(rev int64, id uint64, from, to string) {
		b.change(serviceS, rev, model.Event{Kind: model.EventRenameDir, ID: id, OldName: from, Name: to})
	}
	rename(2, dirD, "d", "g")
	e := b.c.index.get(dirE).(*Dir)
	seen := map[uint64]string{}
	for i, to := range []string{"f/e", "g/e", "f/e", "e"} {
		path, moves := e.Where()
		if was, ok := seen[moves]; ok {
			t.Errorf("at %s it is as it was at %s", path, was)
		}
		seen[moves] = path
		rename(int64(3+i), dirE, path, to)
	}
}
