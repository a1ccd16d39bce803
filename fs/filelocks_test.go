package fs

import (
	"context"
	"testing"
	"time"

	"github.com/commy-project/commyfs/model"
)

// TestLocksOfReleased: a lock that is taken while another descriptor of its owner's is being released is neither given up with that,
// nor taken before what ends is given up.
func TestLocksOfReleased(t *testing.T) {
	var ls fileLocks
	ls.init()
	o := lockOwner{7, model.LockRange, 1}
	here := lockOwner{0, model.LockRange, 1}
	first, second := &handle{node: 7}, &handle{node: 7}
	ls.takes(t.Context(), first, o)
	ls.takes(t.Context(), second, o)
	owners, closed := ls.closes(first) // comes late
	if len(owners) > 0 {
		t.Errorf("a lock by another descriptor ends: %v", owners)
	}
	closed()
	owners, closed = ls.closes(second)
	if len(owners) != 1 || owners[0] != o {
		t.Fatalf("ends with the last descriptor: %v", owners)
	}
	third := &handle{node: 7}
	taken := make(chan struct{})
	go func() {
		defer close(taken)
		ls.takes(t.Context(), third, o)
	}()
	select {
	case <-taken:
		t.Fatal("a lock is taken that would be given up")
	case <-time.After(20 * time.Millisecond):
	}
	closed()
	<-taken
	if owners, closed = ls.closes(third); len(owners) != 1 {
		t.Errorf("ends with the third: %v", owners)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ls.takes(ctx, &handle{node: 7}, o) // who is interrupted does not wait
	closed()

	// Of what only the mount has the file counts.
	ls.takes(t.Context(), first, here)
	ls.takes(t.Context(), &handle{node: 8}, here)
	if owners, closed = ls.closes(first); len(owners) != 1 || owners[0] != here {
		t.Errorf("the lock of another file keeps this one: %v", owners)
	}
	closed()
}
