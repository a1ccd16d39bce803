package engine

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
)

// Below MinFree only what frees space goes through, below a quarter nothing, and with room everything again.
func TestFreeSpaceGate(t *testing.T) {
	d := newDisk()
	e := open(t, Options{Free: d.Free, MinFree: 1 << 30})
	put, del := []Op{PutFloor(1, 1)}, []Op{DeleteFloor(1)}
	for _, c := range []struct {
		name        string
		free        int64
		put, delete error
	}{
		{"room", 2 << 30, nil, nil},
		{"little", 1<<30 - 1, ErrNoSpace, nil},
		{"quarter", 1<<28 - 1, ErrNoSpace, ErrNoSpace},
		{"room again", 2 << 30, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			d.free.Store(c.free)
			if _, err := e.Commit(t.Context(), put); !errors.Is(err, c.put) {
				t.Errorf("put: got error %v, want %v", err, c.put)
			}
			if _, err := e.CommitFreeing(t.Context(), del); !errors.Is(err, c.delete) {
				t.Errorf("delete: got error %v, want %v", err, c.delete)
			}
		})
	}
	if free, total, err := e.Free(); free != 2<<30 || total != 1<<41 || err != nil {
		t.Errorf("Free: got %d of %d, %v", free, total, err)
	}
}

func TestMinFreeOfRealDisk(t *testing.T) {
	e := open(t, Options{MinFree: 1 << 60})
	if _, err := e.Commit(t.Context(), []Op{PutFloor(1, 1)}); !errors.Is(err, ErrNoSpace) {
		t.Errorf("got error %v, want %v", err, ErrNoSpace)
	}
	if free, total, err := e.Free(); err != nil || free <= 0 || free > total {
		t.Errorf("Free: got %d of %d, %v", free, total, err)
	}
}

func TestOpenOnFullDisk(t *testing.T) {
	d, dir := newDisk(), t.TempDir()
	d.free.Store(1 << 20)
	if _, err := Open(t.Context(), Options{Dir: dir, Free: d.Free}); !errors.Is(err, ErrNoSpace) {
		t.Errorf("got error %v, want %v", err, ErrNoSpace)
	}
	d.free.Store(1 << 40)
	open(t, Options{Dir: dir, Free: d.Free})
}

// Batches that statfs cannot see yet count against the free space, until they are written.
func TestUnsettledBytesCount(t *testing.T) {
	const mib = 1 << 20
	settled := 0
	file := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	free := int64(100 * mib)
	g := spaceGate{
		free: func() (int64, int64, error) { return free, 1 << 40, nil }, size: func() int64 { return 0 },
		settle: func() { settled++; free -= 20 * mib }, minFree: 60 * mib, quota: 1 << 40,
		reserve: reserve{path: file},
	}
	defer func() { _ = g.reserve.forget() }()
	for i, c := range []struct {
		settled int
		want    error
	}{{0, nil}, {1, ErrNoSpace}, {1, ErrNoSpace}} {
		if err := g.admit(8*mib, false); !errors.Is(err, c.want) || settled != c.settled {
			t.Errorf("batch %d: got error %v, settled %d times; want %v, %d", i, err, settled, c.want, c.settled)
		}
	}
	free = 100 * mib
	for range 2 { // the second has room when the first turns out to have taken none
		g.settle = func() { settled++ }
		if err := g.admit(8*mib, false); err != nil {
			t.Error(err)
		}
	}
	g.now, g.since = 40*mib, time.Now().Add(-3*settleTime)
	if err := g.check(8*mib, false); err != nil {
		t.Errorf("after a long time: %v", err)
	}
}

// A store that has met its quota takes deletions, and then, when the space is won back, everything again.
func TestQuota(t *testing.T) {
	const quota = 96 << 20
	d := newDisk()
	e := open(t, Options{Free: d.Free, Quota: quota})
	data := bytes.Repeat([]byte{7}, 1<<20)
	var err error
	n := 0
	for ; err == nil && n < 1024; n++ {
		_, err = e.Commit(t.Context(), []Op{PutVariable(1, Variable{Name: name(n), Data: data})})
	}
	n--
	if !errors.Is(err, ErrNoSpace) {
		t.Fatalf("after %d values: got error %v, want %v", n, err, ErrNoSpace)
	}
	if size := e.etcd.Server.Backend().Size(); n < 20 || size > quota+beyondQuota(quota) {
		t.Errorf("%d values, database has %d bytes, quota %d", n, size, quota)
	}
	for i := range n - 1 {
		if _, err := e.CommitFreeing(t.Context(), []Op{DeleteVariable(1, name(i))}); err != nil {
			t.Fatalf("delete %d of %d: %v", i, n, err)
		}
	}
	testenv.Eventually(t, time.Minute, func() error {
		_, err := e.Commit(t.Context(), []Op{PutVariable(1, Variable{Name: "again", Data: data})})
		return err
	})
	if got := len(load(t, e, 1).vars); got != 2 {
		t.Errorf("%d variables, want 2", got)
	}
}

// A store that has outgrown its quota, and has etcd's alarm on, can be opened and comes back.
func TestOpenOverQuota(t *testing.T) {
	d, dir := newDisk(), t.TempDir()
	e := open(t, Options{Dir: dir, Free: d.Free})
	data := bytes.Repeat([]byte{7}, 8<<20)
	const quota = 40 << 20
	e.reads.begin(e.Rev) // nothing is compacted
	for i := 0; e.etcd.Server.Backend().Size() <= etcdQuota(quota); i++ {
		commit(t, e, PutVariable(1, Variable{Name: name(i), Data: data}), PutVariable(1, Variable{Name: "v", Data: data}))
		commit(t, e, DeleteVariable(1, name(i)))
	}
	e.Close()
	e = open(t, Options{Dir: dir, Free: d.Free, Quota: quota})
	if got := load(t, e, 1).vars; len(got) != 1 || !bytes.Equal(got[0].Data, data) {
		t.Error("the value is not what it was")
	}
	commit(t, e, PutVariable(1, Variable{Name: "w"}))
}

// What is set aside for the database is bounded, and given back.
func TestReserve(t *testing.T) {
	d, dir := newDisk(), t.TempDir()
	e := open(t, Options{Dir: dir, Free: d.Free})
	data := bytes.Repeat([]byte{7}, 4<<20)
	for range 20 {
		commit(t, e, PutVariable(1, Variable{Name: "v", Data: data}))
	}
	behind := func() int64 {
		t.Helper()
		var st unix.Stat_t
		if err := unix.Stat(databasePath(dir), &st); err != nil {
			t.Fatal(err)
		}
		return st.Blocks*512 - st.Size
	}
	e.etcd.Server.Backend().ForceCommit()
	if got := behind(); got > growth*(settleBytes+2*5<<20)+reserveStep {
		t.Errorf("%d MiB set aside", got>>20)
	}
	state := <-e.turn
	if err := e.space.admit(1<<20, false); err != nil {
		t.Error(err)
	}
	if upTo, size := e.space.reserve.upTo, e.etcd.Server.Backend().Size(); upTo <= size {
		t.Errorf("set aside up to %d, the database has %d", upTo, size)
	}
	e.turn <- state
	e.Close()
	if got := behind(); got > 1<<20 {
		t.Errorf("%d MiB left behind the database", got>>20)
	}
}

// TestReserveInterrupted: a signal in the middle of fallocate is no full and no broken disk.
func TestReserveInterrupted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	interrupts := 3
	fallocate = func(fd int, mode uint32, off, n int64) error {
		if interrupts--; interrupts >= 0 {
			return unix.EINTR
		}
		return unix.Fallocate(fd, mode, off, n)
	}
	t.Cleanup(func() { fallocate = unix.Fallocate })
	r := reserve{path: file}
	if err := r.ensure(1); err != nil || r.upTo != reserveStep {
		t.Errorf("%d bytes set aside, %v", r.upTo, err)
	}
	if err := r.release(); err != nil {
		t.Error(err)
	}
}
