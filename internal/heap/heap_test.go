package heap

import (
	"runtime"
	"testing"
)

func TestDue(t *testing.T) {
	const mb = 1 << 20
	for name, c := range map[string]struct {
		state
		due bool
	}{
		"little":                    {state{0, 4 * mb, 8 * mb, 8 * mb}, false},
		"garbage":                   {state{0, 100 * mb, 200 * mb, 0}, true},
		"free":                      {state{0, 100 * mb, 100 * mb, 50 * mb}, true},
		"little for what is there":  {state{0, 400 * mb, 450 * mb, 50 * mb}, false},
		"less than in the last one": {state{0, 400 * mb, 300 * mb, 0}, false},
		"busy":                      {state{50 * mb, 100 * mb, 200 * mb, 0}, false},
	} {
		if due := new(trimmer).due(c.state); due != c.due {
			t.Errorf("%s: due is %v", name, due)
		}
	}
	// What was left is not tried again, but what comes on top.
	var tr trimmer
	holes := state{0, 100 * mb, 100 * mb, 60 * mb}
	if !tr.due(holes) {
		t.Error("not due")
	}
	tr.did(holes)
	if tr.due(holes) {
		t.Error("due again for what could not be given back")
	}
	holes.free += 50 * mb
	if !tr.due(holes) {
		t.Error("never due again")
	}
}

func TestMeasure(t *testing.T) {
	before := measure()
	keep := make([]byte, 64<<20)
	runtime.GC()
	after := measure()
	runtime.KeepAlive(keep)
	if after.allocated < before.allocated+64<<20 || after.live < 64<<20 || after.objects < 64<<20 {
		t.Errorf("%+v, then %+v", before, after)
	}
	runtime.GC()
	if freed := measure(); freed.live > after.live-32<<20 {
		t.Errorf("%+v, then %+v", after, freed)
	}
}
