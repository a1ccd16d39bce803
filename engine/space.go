package engine

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

const (
	defaultMinFree = 256 << 20
	defaultQuota   = 8 << 30
	// freeingShare: batches that only free space need this part of MinFree.
	freeingShare = 4
	// growth is how much a batch can grow the database, in multiples of its size: a page of large values is rewritten for each
	// value that is added to it.
	growth = 3
	// settleTime is how long a batch may be in etcd's memory before its pages are in the database file and so seen by
	// statfs: far more than etcd's interval, because a busy disk can be slow.
	settleTime = time.Second
	// settleBytes of batches in memory are written at once, so that little has to be set aside for them.
	settleBytes = 24 << 20
)

// beyondQuota is by how much batches that only free space may exceed the quota. Compaction grows the database before it
// makes it smaller, so this cannot be little, however small the quota.
func beyondQuota(quota int64) int64 { return max(quota/8, 128<<20) }

func statfs(dir string) (free, total int64, err error) {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Statfs(dir, &st) }); err != nil {
		return 0, 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	// Bavail also for root: the blocks reserved for root are nothing that a store should live on.
	return int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize, nil
}

// spaceGate checks before each batch whether there is space for it. Only the holder of the turn to commit may use it.
type spaceGate struct {
	free    func() (free, total int64, err error)
	size    func() int64 // of the database
	settle  func()       // writes what is in memory to the database
	reserve reserve
	minFree int64
	quota   int64

	// Bytes of the batches of this settleTime, which began at since, and of the one before.
	since    time.Time
	now, old int64
}

// unsettled is how many bytes were let through lately and may be in memory yet.
func (g *spaceGate) unsettled() int64 {
	switch age := time.Since(g.since); {
	case age > 2*settleTime:
		g.since, g.old, g.now = time.Now(), 0, 0
	case age > settleTime:
		g.since, g.old, g.now = time.Now(), g.now, 0
	}
	return g.old + g.now
}

// admit refuses a batch of size bytes for which there is no room, or counts it.
func (g *spaceGate) admit(size int64, freeing bool) error {
	if g.unsettled() > settleBytes {
		g.settled()
	}
	err := g.check(size, freeing)
	if errors.Is(err, ErrNoSpace) && g.unsettled() > 0 {
		// What is in memory may take less than was set aside for it: see.
		g.settled()
		err = g.check(size, freeing)
	}
	if err != nil {
		return err
	}
	if err := g.reserve.ensure(g.size() + growth*(g.unsettled()+size)); err != nil {
		return err
	}
	g.now += size
	return nil
}

func (g *spaceGate) settled() {
	g.settle()
	g.old, g.now = 0, 0
}

// check tells whether there is room for size bytes, in the file system (for the log and the database) and in the
// database.
func (g *spaceGate) check(size int64, freeing bool) error {
	free, _, err := g.free()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	keep, most := g.minFree, g.quota
	if freeing {
		keep, most = keep/freeingShare, most+beyondQuota(most)
	}
	grow := growth * (g.unsettled() + size)
	if need := keep + size + grow; free < need {
		return fmt.Errorf("%w: %d MiB free, %d MiB needed", ErrNoSpace, free>>20, need>>20)
	}
	if will := g.size() + grow; will > most {
		return fmt.Errorf("%w: database would have %d MiB of at most %d MiB", ErrNoSpace, will>>20, most>>20)
	}
	return nil
}
