package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/server/v3/lease"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs"
	"github.com/commy-project/commyfs/internal/bench"
	"github.com/commy-project/commyfs/internal/bench/crowd"
)

// million is about a service of a million variables of 8 bytes.
func million(l *lab, name string) ([]result, error) {
	count := 1_000_000 / l.o.scale
	one := func(part string, value float64, unit string, goal float64, note string) result {
		r := result{Row: name + "/" + part, Value: value, Unit: unit, Goal: goal, Note: note}
		r.judge()
		return r
	}
	// What a server and a mount take with a service of one variable.
	s, err := l.server()
	if err != nil {
		return nil, err
	}
	s.alone = true // it is restarted here
	m, err := l.mount(false)
	if err == nil {
		err = m.makeService()
	}
	if err == nil {
		err = os.WriteFile(m.path("v0000000"), make([]byte, 8), 0o644)
	}
	if err != nil {
		return nil, err
	}
	serverBase, mountBase := private(l.commyfs.pid()), private(m.pid())
	if err := m.stop(); err != nil {
		return nil, err
	}
	took, err := l.fill(count)
	if err != nil {
		return nil, err
	}
	results := []result{one("create", float64(count)/took.Seconds(), "1/s", 0, " for information: by transactions of 1,000")}

	var reads, stats, opens, failures []float64
	for round := range min(l.o.rounds, 3) {
		if round > 0 {
			if err := m.stop(); err != nil {
				return results, err
			}
		}
		read, first, opened, failed, err := l.restart(&m, count)
		if err != nil {
			return results, err
		}
		reads, stats = append(reads, read.Seconds()), append(stats, first.Seconds())
		opens, failures = append(opens, opened.Seconds()), append(failures, float64(failed))
	}
	results = append(results, one("restart_read", median(reads), "s", 4, "from the start of the server to a Get by a new client"))
	first := one("restart_stat", median(stats), "s", 1, "then the first stat in a new mount")
	if first.Detail = map[string]float64{"stats that failed before": median(failures)}; median(failures) > 0 {
		first.Verdict = "MISS"
	}
	results = append(results, first, one("restart_open", median(opens), "s", 0, " for information: until the file is read too, for which the service is loaded"))

	each := func(now, base int64) float64 { return float64(now-base)/float64(count) - 8 }
	mountMemory, serverMemory := l.settled(m.pid()), l.settled(s.pid())
	listed, err := l.list(m, name, count)
	if err != nil {
		return results, err
	}
	results = append(results, listed...)
	mem := one("mount_memory", each(mountMemory, mountBase), "B", 200, "RssAnon for each variable, without its 8 bytes, when it no longer changes")
	shared := field(m.pid(), "status", "RssShmem") + field(m.pid(), "status", "RssFile")
	mem.Detail = map[string]float64{"after ls": each(l.settled(m.pid()), mountBase), "mapped files": float64(shared<<10) / float64(count)}
	results = append(results, mem, one("server_memory", each(serverMemory, serverBase), "B", 480, "the same of the server"))
	opening, err := l.etcdOpening()
	if err != nil {
		return results, err
	}
	return append(results, one("etcd_opening", opening.Seconds(), "s", 0, " for information: etcd alone reads the keys of this store")), nil
}

// etcdOpening is how long etcd takes to open its part of the store, which a server cannot do without. It ends the server.
func (l *lab) etcdOpening() (time.Duration, error) {
	if err := l.commyfs.stop(); err != nil {
		return 0, err
	}
	start, log := time.Now(), zap.NewNop()
	db := backend.NewDefaultBackend(log, filepath.Join(l.commyfs.state, "store", "etcd", "member", "snap", "db"))
	keys := mvcc.NewStore(log, db, &lease.FakeLessor{}, mvcc.StoreConfig{})
	took := time.Since(start)
	return took, errors.Join(keys.Close(), db.Close())
}

// restart starts the server again, and then a mount, and says how long a new client waits for a value, then the first stat in the
// mount, and, from the same moment, for the file to be read.
func (l *lab) restart(m **mounted, count int) (read, first, opened time.Duration, failed int, err error) {
	if err := l.commyfs.stop(); err != nil {
		return 0, 0, 0, 0, err
	}
	start := time.Now()
	if err := l.serve(l.commyfs); err != nil {
		return 0, 0, 0, 0, err
	}
	if _, err := l.patiently(func() error { return l.read(fmt.Sprintf("v%07d", count/2)) }); err != nil {
		return 0, 0, 0, 0, err
	}
	read = time.Since(start)
	if *m, err = l.mount(false); err != nil {
		return 0, 0, 0, 0, err
	}
	path := (*m).path(fmt.Sprintf("v%07d", count/3))
	start = time.Now()
	if failed, err = l.patiently(func() error { return stat(path) }); err != nil {
		return 0, 0, 0, 0, err
	}
	first = time.Since(start)
	_, err = l.patiently(func() error { _, err := os.ReadFile(path); return err })
	return read, first, time.Since(start), failed, err
}

func stat(path string) error {
	var st unix.Stat_t
	return again(func() error { return unix.Stat(path, &st) })
}

// patiently repeats what fails, and says how often it did.
func (l *lab) patiently(f func() error) (failures int, err error) {
	for bound := time.Now().Add(2 * time.Minute); ; failures++ {
		if err = f(); err == nil || time.Now().After(bound) || l.ctx.Err() != nil {
			return failures, err
		}
		time.Sleep(time.Millisecond)
	}
}

// read gets a variable through a new client.
func (l *lab) read(name string) error {
	s := l.commyfs
	c, err := commyfs.Connect(l.ctx, commyfs.Options{StateDir: s.state, RuntimeDir: s.runtime, NoStart: true, Command: []string{l.o.commyfs}})
	if err != nil {
		return err
	}
	_, err = c.Service(tenant, service).Get(l.ctx, name)
	return errors.Join(err, c.Close())
}

// fill makes the variables.
func (l *lab) fill(count int) (time.Duration, error) {
	c, err := l.client(commyfs.Options{Timeout: 30 * time.Second})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	s := c.Service(tenant, service)
	const batch, workers = 1000, 8
	var next atomic.Int64
	errs := make([]error, workers)
	var wg sync.WaitGroup
	start := time.Now()
	for w := range workers {
		wg.Go(func() {
			for errs[w] == nil {
				at := int(next.Add(batch)) - batch
				if at >= count {
					return
				}
				var ops []commyfs.Op
				for i := at; i < min(at+batch, count); i++ {
					ops = append(ops, s.OpPut(fmt.Sprintf("v%07d", i), []byte(fmt.Sprintf("%08d", i))))
				}
				_, errs[w] = c.Txn(l.ctx, ops...)
			}
		})
	}
	wg.Wait()
	return time.Since(start), errors.Join(errs...)
}

// list times getdents of the directory: the first answer, and all of them.
func (l *lab) list(m *mounted, name string, count int) ([]result, error) {
	if err := stat(m.path("v0000000")); err != nil {
		return nil, err
	}
	var all, firsts []float64
	buf := make([]byte, 32<<10)
	own := side{"getdents, as ls -f", func(time.Duration) (crowd.Sample, error) {
		start := time.Now()
		var first time.Duration
		fd, err := unix.Open(m.path(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return crowd.Sample{}, err
		}
		defer unix.Close(fd)
		entries := 0
		for {
			n := 0
			err := again(func() (err error) { n, err = unix.Getdents(fd, buf); return err })
			if err != nil {
				return crowd.Sample{}, err
			}
			if first == 0 {
				first = time.Since(start)
			}
			if n == 0 {
				break
			}
			entries += bench.CountDirents(buf[:n])
		}
		if entries != count {
			return crowd.Sample{}, fmt.Errorf("%d entries, want %d", entries, count)
		}
		took := time.Since(start)
		firsts, all = append(firsts, first.Seconds()*1000), append(all, took.Seconds())
		return crowd.Sample{P50: micros(took)}, nil
	}}
	if _, err := l.compare(name, comparison{sides: []side{own}, value: func([]crowd.Sample) float64 { return 0 }}); err != nil {
		return nil, err
	}
	// The first time counts too: that is what a user sees.
	one := result{Row: name + "/ls_first", Rounds: firsts, Value: median(firsts), Unit: "ms", Goal: 50, Note: "open and the first getdents"}
	whole := result{Row: name + "/ls", Rounds: all, Value: median(all), Unit: "s", Goal: 1, Note: "open and all of getdents"}
	one.judge()
	whole.judge()
	return []result{one, whole}, nil
}

// services makes many services of one variable. follow: the client loads each afterwards, and so has it mapped.
func services(l *lab, name string, follow bool) ([]result, error) {
	count := 100_000 / l.o.scale
	c, err := l.client(commyfs.Options{})
	if err != nil {
		return nil, err
	}
	base := private(l.commyfs.pid())
	var next, made atomic.Int64
	ctx, cancel := context.WithTimeout(l.ctx, 90*time.Second)
	defer cancel()
	errs := make([]error, crowd.Writers)
	var wg sync.WaitGroup
	start := time.Now()
	for w := range crowd.Writers {
		wg.Go(func() {
			for errs[w] == nil {
				i := int(next.Add(1)) - 1
				if i >= count {
					return
				}
				s := c.Service(tenant, fmt.Sprintf("s%06d", i))
				if _, errs[w] = s.Put(ctx, "v", []byte("12345678")); errs[w] == nil && follow {
					_, errs[w] = s.Load(ctx, "v", nil)
				}
				if errs[w] == nil {
					made.Add(1)
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	descriptors, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", l.commyfs.pid()))
	res := result{Row: name, Value: float64(made.Load()) / took.Seconds(), Unit: "1/s", Goal: 10_000, Least: true,
		Note: fmt.Sprintf("64 goroutines of one client, a soft limit of %d descriptors", softFiles)}
	res.judge()
	res.Detail = map[string]float64{"services made": float64(made.Load()), "descriptors of the server": float64(len(descriptors)),
		"bytes of the server for each": float64(private(l.commyfs.pid())-base) / float64(max(made.Load(), 1))}
	if follow {
		res.Note = "each is loaded afterwards; " + res.Note
	}
	if made.Load() < int64(count) {
		res.Verdict = "MISS"
		err := errors.Join(errs...)
		res.Note += fmt.Sprintf("; ended early: %.200v", err)
	}
	runtime.KeepAlive(c)
	return []result{res}, nil
}
