package fs

import (
	"testing"
	"testing/synctest"
	"time"

	varsync "github.com/commy-project/commyfs/sync"
)

// Who opens a node that has lost a name has to look it up first, also a moment after the kernel knows: the path can have
// been walked before.
func TestLostNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const one, two = 1, 2 // threads
		var n notifier
		n.init(nil)
		lost := func(want bool, thread uint32, ids ...uint64) {
			t.Helper()
			if got := n.lost(thread, ids...); got != want {
				t.Errorf("thread %d, nodes %d: lost %v, want %v", thread, ids, got, want)
			}
		}
		moved := varsync.Notice{Kind: varsync.Renamed, ID: 7, Parent: 3, OldParent: 3, Path: []string{"t", "s", "b"}, OldPath: []string{"t", "s", "a"}}
		lost(false, one, 7, 3)
		n.expect([]varsync.Notice{moved})
		lost(true, one, 7, 3)
		lost(true, one, 7, 3) // the kernel still has the old name
		lost(true, one, 9, 7) // below it
		lost(false, one, 9, 3)
		n.told(one, 3, "b", 7)
		lost(true, two, 7, 3)
		lost(false, one, 7, 3)
		lost(true, one, 7, 3) // one look, one open

		n.settled(&item{Notice: moved})
		lost(true, two, 7, 3)
		lost(false, two, 7, 3) // has been told to look again
		lost(true, two, 7, 3)

		time.Sleep(lostTime / 2)
		n.expect([]varsync.Notice{moved}) // once more
		n.settled(&item{Notice: moved})
		time.Sleep(lostTime * 3 / 4)
		lost(true, one, 7, 3)
		time.Sleep(lostTime)
		lost(false, two, 7, 3)
		if len(n.lostNames)+len(n.fading) > 0 {
			t.Errorf("kept: %v %v", n.lostNames, n.fading)
		}

		own := moved
		own.Own = true
		n.expect([]varsync.Notice{own})
		lost(false, one, 7, 3)
	})
}
