package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/commy-project/commyfs"
	"github.com/commy-project/commyfs/internal/bench/crowd"
	"github.com/commy-project/commyfs/internal/dial"
	"github.com/commy-project/commyfs/internal/local"
	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// rows are in the order of the table in docs/performance.md.
var rows = []row{
	{name: "ping", run: ping},
	{name: "fsync", run: fsyncRow},
	{name: "echo", run: func(l *lab, name string) ([]result, error) { return echo(l, name, 0, 3.0) }},
	{name: "echo_three", run: func(l *lab, name string) ([]result, error) { return echo(l, name, 3, 3.6) }},
	{name: "wake", run: func(l *lab, name string) ([]result, error) { return wake(l, name, false) }},
	{name: "wake_wss", run: func(l *lab, name string) ([]result, error) { return wake(l, name, true) }},
	{name: "writers_fsync", run: writersFsync},
	{name: "writers_close", run: writersClose},
	{name: "writers_fsync_three", run: func(l *lab, name string) ([]result, error) { return besideThree(l, name, pwriteFdatasync) }},
	{name: "writers_close_three", run: func(l *lab, name string) ([]result, error) { return besideThree(l, name, truncWriteClose) }},
	{name: "cached", run: cached},
	{name: "sdk", run: sdk},
	{name: "fanout", run: fanout},
	{name: "load", run: load},
	{name: "memory", run: memoryRow},
	{name: "large", run: large},
	{name: "idle", run: idle},
	{name: "limits", run: limits},
	{name: "million", long: true, run: million},
	{name: "services", long: true, run: func(l *lab, name string) ([]result, error) { return services(l, name, false) }},
	{name: "services_followed", long: true, run: func(l *lab, name string) ([]result, error) { return services(l, name, true) }},
}

// pingSize is about what a Ping takes on the wire.
const pingSize = 24

// ping is a request that does nothing, there and back, and the same by two programs that do nothing else.
func ping(l *lab, name string) ([]result, error) {
	if _, err := l.server(); err != nil {
		return nil, err
	}
	c, err := l.dialer().Client(l.ctx)
	if err != nil {
		return nil, err
	}
	l.later(c.Close)
	who := model.Client{ID: make([]byte, 16), Program: "peers"}
	_, _ = rand.Read(who.ID) // does not fail
	if _, err := c.Hello(l.ctx, &who, nil); err != nil {
		return nil, err
	}
	bare, err := l.exchange("two bare Go processes on a Unix socket", rolePong)
	if err != nil {
		return nil, err
	}
	res, err := l.compare(name, comparison{goal: 1.3, sides: []side{
		repeat("Ping on the Unix socket", func() error { return c.Ping(context.Background()) }), bare}})
	return []result{res}, err
}

// commitSide is a value of 8 bytes put into the bare engine.
func (l *lab) commitSide() (side, error) {
	e, err := l.engine()
	if err != nil {
		return side{}, err
	}
	return repeat("engine.Commit of a value of 8 bytes", committing(e, 1)), nil
}

func fsyncRow(l *lab, name string) ([]result, error) {
	m, err := l.mount(false)
	if err == nil {
		err = m.makeService()
	}
	if err != nil {
		return nil, err
	}
	dir, err := l.minimal()
	if err != nil {
		return nil, err
	}
	var sides []side
	for _, s := range []struct{ name, path string }{
		{"pwrite of 8 bytes, fsync", m.path("v")},
		{"two requests to a minimal FUSE: the same there", filepath.Join(dir, "v")},
	} {
		op, err := l.pwriteFsync(s.path)
		if err != nil {
			return nil, err
		}
		sides = append(sides, repeat(s.name, op))
	}
	commit, err := l.commitSide()
	if err != nil {
		return nil, err
	}
	res, err := l.compare(name, comparison{goal: 1.3, sides: append(sides, commit),
		value: func(s []crowd.Sample) float64 { return s[0].P50 / (s[1].P50 + s[2].P50) }, note: "the yardstick is the sum of both"})
	return []result{res}, err
}

// sdk has many goroutines store values by one connection.
func sdk(l *lab, name string) ([]result, error) {
	c, err := l.client(commyfs.Options{})
	if err != nil {
		return nil, err
	}
	s := c.Service(tenant, service)
	yardstick, err := l.redisWriters()
	if err != nil {
		return nil, err
	}
	own := together("64 goroutines, one connection: Service.Put", crowd.Putters(context.Background(), s, crowd.Writers))
	res, err := l.compare(name, comparison{goal: 1.0, least: true, value: byRate, sides: []side{own, yardstick}})
	if err != nil {
		return nil, err
	}
	if _, err := s.Load(l.ctx, "v0", nil); err != nil {
		return nil, err
	}
	followed, err := l.compare(name+"/followed", comparison{value: byRate, sides: []side{own, yardstick},
		note: " for information: by a client that follows the service"})
	return []result{res, followed}, err
}

// redisWriters is the yardstick of many writers.
func (l *lab) redisWriters() (side, error) {
	socket, err := l.redis()
	if err != nil {
		return side{}, err
	}
	ops := make([]func() error, crowd.Writers)
	for i := range ops {
		c, err := dialRedis(socket)
		if err != nil {
			return side{}, err
		}
		l.later(c.close)
		key, number, value := fmt.Sprintf("v%d", i), uint64(0), make([]byte, 8)
		ops[i] = func() error {
			number++
			binary.LittleEndian.PutUint64(value, number)
			return c.set(key, value)
		}
	}
	return together("64 Redis clients: SET, appendfsync always", ops), nil
}

// load reads a value that is mapped.
func load(l *lab, name string) ([]result, error) {
	c, err := l.client(commyfs.Options{})
	if err != nil {
		return nil, err
	}
	s := c.Service(tenant, service)
	if _, err := s.Put(l.ctx, "v", make([]byte, 8)); err != nil {
		return nil, err
	}
	buf := make([]byte, 0, 64)
	if _, err := s.Load(l.ctx, "v", buf); err != nil {
		return nil, err
	}
	v, err := l.variable("v")
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	var results []result
	for _, r := range []struct {
		name, what string
		goal       float64
		load       func() (int, error)
	}{
		{name, "Variable.Load of a variable at hand", 40, func() (int, error) {
			data, _, err := v.Load(buf)
			return len(data), err
		}},
		{name + "/by_name", "Service.Load, which finds it by its name", 0, func() (int, error) {
			e, err := s.Load(ctx, "v", buf)
			return len(e.Value), err
		}},
	} {
		res, err := l.loads(r.name, r.what, r.goal, r.load)
		if err != nil {
			return nil, err
		}
		results = append(results, res)
	}
	return results, nil
}

// loads measures reads that are too short for the clock, in batches, and counts their allocations.
func (l *lab) loads(name, what string, goal float64, load func() (int, error)) (result, error) {
	const batch = 1000
	var loads, allocations int64
	own := timed(what+", each of 1,000", func() (time.Duration, error) {
		before := mallocs()
		start := time.Now()
		for range batch {
			if n, err := load(); err != nil || n != 8 {
				return 0, errors.Join(err, fmt.Errorf("%d bytes", n))
			}
		}
		took := time.Since(start)
		allocations, loads = allocations+int64(mallocs()-before), loads+batch
		return took / batch, nil
	})
	res, err := l.compare(name, comparison{sides: []side{own}, unit: "ns", goal: goal,
		value: func(s []crowd.Sample) float64 { return s[0].P50 * 1000 }})
	if err != nil {
		return res, err
	}
	each := float64(allocations) / float64(loads)
	res.Detail = map[string]float64{"allocations each": each}
	if each > 0.01 && res.Verdict == "ok" {
		res.Verdict = "MISS"
	}
	return res, nil
}

// variable returns a variable of the copy that a mount has too.
func (l *lab) variable(name string) (*varsync.Variable, error) {
	d := l.dialer()
	c, err := varsync.New(l.ctx, varsync.Options{Dial: func(ctx context.Context) (varsync.Conn, error) { return d.Client(ctx) }})
	if err != nil {
		return nil, err
	}
	l.later(c.Close)
	return c.Tenant(tenant).Service(service).Variable(l.ctx, name)
}

// dialer connects to the server without what a client does by itself.
func (l *lab) dialer() *dial.Dialer {
	s := l.commyfs
	return dial.New(dial.Options{Local: local.Options{StateDir: s.state, RuntimeDir: s.runtime, Command: []string{l.o.commyfs}},
		NoStart: true, Timeout: 5 * time.Second, Logger: slog.New(slog.DiscardHandler)})
}
