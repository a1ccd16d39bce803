package fs

import (
	"syscall"
	"testing"
	"time"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// Files of the mount go from state to state as the table of unshared says, once.
func TestFileStates(t *testing.T) {
	all := []fileState{draft, temporary, parked, moving, shared, removed}
	allowed := map[[2]fileState]bool{
		{draft, shared}: true, {draft, removed}: true,
		{temporary, shared}: true, {temporary, removed}: true, {temporary, parked}: true,
		{parked, temporary}: true, {parked, moving}: true,
		{moving, shared}: true, {moving, removed}: true, {moving, parked}: true, {moving, temporary}: true,
	}
	reach := map[fileState][]fileState{ // from how it is made
		draft: {}, temporary: {}, parked: {parked}, moving: {parked, moving}, shared: {shared}, removed: {removed},
	}
	for _, from := range all {
		for _, to := range all {
			var ls unsharedFiles
			ls.init()
			made := temporary
			if from == draft {
				made = draft
			}
			l := ls.add(0, 1, "f~", made, 0)
			l.v = &varsync.Variable{}
			l.backup = &backup{key: fileKey{1, "f"}, timer: time.NewTimer(time.Hour)}
			at := made
			for _, s := range reach[from] {
				if !ls.to(l, at, s) {
					t.Fatalf("from %d to %d", at, s)
				}
				at = s
			}
			if got := ls.to(l, from, to); got != allowed[[2]fileState{from, to}] {
				t.Errorf("from %d to %d: %v", from, to, got)
				continue
			} else if got {
				at = to
			}
			if ls.to(l, (at+1)%6, to) {
				t.Errorf("to %d from what it is not", to)
			}
			gone, hidden := at == shared || at == removed, at == parked
			if (ls.byName(1, "f~") == nil) != gone || ls.isHidden(1, "f") != hidden {
				t.Errorf("from %d to %d: named %v, hides the variable %v", from, to, ls.byName(1, "f~") != nil, ls.isHidden(1, "f"))
			}
			if at != parked && at != moving {
				ls.backups.Wait() // panics or hangs if it was counted wrongly
			}
		}
	}
}

// A draft that its last writer has just given up cannot be opened: the name is looked up anew.
func TestOpenOfWhatWasGivenUp(t *testing.T) {
	m := newMount(t, Options{})
	l := m.unshared.add(0, m.id("t/s"), "v", draft, model.NewMode(0o666))
	m.unshared.end(l, removed)
	if _, err := m.open(l, l.id, 1, syscall.O_WRONLY, false); err != syscall.ESTALE {
		t.Errorf("open: %v", err)
	}
}
