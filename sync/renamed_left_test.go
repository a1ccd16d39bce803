package sync

import (
	"testing"

	"github.com/commy-project/commyfs/model"
)

// What was renamed and went to another service, while services were brought up to date, is told to have the value that it has there.
func TestRenamedAndMovedWhileAway(t *testing.T) {
	b := newBench(t)
	b.list(serviceS, 1, nil, []model.Variable{{ID: varTop, Name: "top", Version: 1, MTime: 7, Size: 3, Writer: "w", Data: []byte("old")}})
	b.list(serviceU, 1, nil, nil)
	b.c.gather(true)
	b.change(serviceS, 2, model.Event{Kind: model.EventRename, ID: varTop, OldName: "top", Name: "other"},
		model.Event{Kind: model.EventDelete, ID: varTop, Name: "other", Moved: serviceU})
	b.change(serviceU, 2, model.Event{Kind: model.EventSet, Created: true, ID: varTop, Name: "there", Version: 3, MTime: 8, Size: 3, Writer: "w",
		Data: []byte("new"), Moved: serviceS})
	b.c.gather(false)
	b.want("renamed 22 s/top u/there", "modified u/there")
}
