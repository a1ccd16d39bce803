package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/bench/crowd"
)

// limits says what the rows of the same names could reach at most on this machine, by parts that are not ours to improve: the
// requests that the kernel sends to any file system, exchanges between bare Go programs, and the engine. Where the limit misses
// a goal, so does the row.
func limits(l *lab, name string) ([]result, error) {
	var results []result
	for _, part := range []struct {
		name string
		run  func(p *parts) (comparison, error)
	}{
		{"fsync", (*parts).fsync}, {"echo", (*parts).echo}, {"wake", (*parts).wake}, {"writers_fsync", (*parts).writersFsync},
		{"writers_close", (*parts).writersClose}, {"sdk", (*parts).sdk}, {"fanout", (*parts).fanout},
	} {
		// The machinery of each is its own: what is idle costs too.
		own, err := newLab(l.ctx, l.o)
		if err != nil {
			return nil, err
		}
		c, err := part.run(&parts{lab: own})
		if err == nil {
			c.note = " for information: " + c.note
			var res result
			if res, err = own.compare(name+"/"+part.name, c); err == nil {
				results = append(results, res)
			}
		}
		if err = errors.Join(err, own.close()); err != nil {
			return results, fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return results, nil
}

// parts are what limits are made of.
type parts struct{ *lab }

// commitThere is an exchange with a program that puts a value into the engine.
func (p *parts) commitThere() (side, error) {
	return p.exchange("exchange with a program that calls engine.Commit", roleStore, filepath.Join(p.root, "store"))
}

func (p *parts) bareExchange() (side, error) {
	return p.exchange("exchange between two bare Go programs", rolePong)
}

// sides makes some, and returns the first error.
func sides(makers ...func() (side, error)) ([]side, error) {
	var out []side
	for _, m := range makers {
		s, err := m()
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func (p *parts) fsync() (c comparison, err error) {
	dir, err := p.minimal()
	if err != nil {
		return c, err
	}
	c.sides, err = sides(func() (side, error) {
		op, err := p.pwriteFsync(filepath.Join(dir, "v"))
		return repeat("pwrite of 8 bytes, fsync, on a minimal FUSE", op), err
	}, p.commitThere, p.commitSide)
	c.value = func(s []crowd.Sample) float64 { return (s[0].P50 + s[1].P50) / (s[0].P50 + s[2].P50) }
	c.note = "requests and exchange / requests and engine"
	return c, err
}

func (p *parts) echo() (c comparison, err error) {
	dir, err := p.minimal()
	if err != nil {
		return c, err
	}
	path := filepath.Join(dir, "v")
	if err := os.WriteFile(path, []byte("x\n"), 0o644); err != nil {
		return c, err
	}
	sh, err := p.shell()
	if err != nil {
		return c, err
	}
	var number atomic.Int64
	c.sides, err = sides(func() (side, error) {
		return repeat("echo x > v, by a shell, on a minimal FUSE", func() error {
			return sh.do(fmt.Sprintf("echo %08d >%s; echo $?\n", number.Add(1), path))
		}), nil
	}, p.bareExchange, p.commitThere, p.redisSet)
	c.value = func(s []crowd.Sample) float64 { return (s[0].P50 + s[1].P50 + s[2].P50) / s[3].P50 }
	c.note = "requests and both exchanges / Redis"
	return c, err
}

func (p *parts) wake() (c comparison, err error) {
	dir, err := p.minimal()
	if err != nil {
		return c, err
	}
	c.sides, err = sides(func() (side, error) {
		fd, err := p.open(filepath.Join(dir, "v"), unix.O_RDWR|unix.O_CREAT)
		var number uint64
		return repeat("pwrite on a minimal FUSE", func() error { return pwrite(fd, &number) }), err
	}, p.commitThere, p.bareExchange, func() (side, error) {
		own, err := p.wakeMinimal(dir)
		return own.side("utimensat, event and read on a minimal FUSE"), err
	}, func() (side, error) {
		yardstick, err := p.wakeRedis()
		return yardstick.side("Redis SET and PUBLISH in one write, to SUBSCRIBE"), err
	})
	c.value = func(s []crowd.Sample) float64 { return (s[0].P50 + s[1].P50 + s[2].P50/2 + s[3].P50) / s[4].P50 }
	c.note = "write, exchange, half an exchange, event / Redis"
	return c, err
}

// wakeMinimal raises the event as a mount does that was told of a change.
func (l *lab) wakeMinimal(dir string) (p pair, err error) {
	path := filepath.Join(dir, "w")
	if err := os.WriteFile(path, make([]byte, 8), 0o644); err != nil {
		return p, err
	}
	await, err := l.awaitModify(path)
	now := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: time.Now().Unix()}}
	return pair{func(uint64) error {
		return again(func() error { return unix.UtimesNanoAt(unix.AT_FDCWD, path, now, 0) })
	}, func(uint64) error { _, err := await(); return err }}, err
}

// batch is the most that the writers can have in a transaction.
const batch = crowd.Writers

// inBatches is a side whose rate is of values.
func (p *parts) inBatches() (side, error) {
	e, err := p.engine()
	if err != nil {
		return side{}, err
	}
	s := repeat(fmt.Sprintf("engine.Commit of %d values of 8 bytes", batch), committing(e, batch))
	inner := s.run
	s.run = func(d time.Duration) (crowd.Sample, error) {
		got, err := inner(d)
		got.Rate, got.Count = got.Rate*batch, got.Count*batch
		return got, err
	}
	return s, nil
}

// after is the rate of two things done one after the other.
func after(a, b crowd.Sample) float64 { return 1 / (1/a.Rate + 1/b.Rate) }

func (p *parts) minimalWriters(name string, w writing) (side, error) {
	dir, err := p.minimal()
	if err != nil {
		return side{}, err
	}
	ops, err := p.writers(dir, w)
	return together(name, ops), err
}

func (p *parts) writersFsync() (c comparison, err error) {
	c.sides, err = sides(func() (side, error) {
		return p.minimalWriters("64 threads: pwrite, fdatasync, on a minimal FUSE", pwriteFdatasync)
	}, p.inBatches, p.redisWriters)
	c.value = func(s []crowd.Sample) float64 { return after(s[0], s[1]) / s[2].Rate }
	c.note = "requests, then engine / Redis"
	return c, err
}

func (p *parts) writersClose() (c comparison, err error) {
	c.sides, err = sides(func() (side, error) {
		return p.minimalWriters("64 threads: O_TRUNC, write, close, on a minimal FUSE", truncWriteClose)
	}, p.inBatches)
	c.value = func(s []crowd.Sample) float64 { return after(s[0], s[1]) / s[0].Rate }
	c.note = "requests, then engine / requests"
	return c, err
}

func (p *parts) sdk() (c comparison, err error) {
	c.sides, err = sides(p.inBatches, p.redisWriters)
	c.value, c.note = byRate, "engine / Redis"
	return c, err
}

func (p *parts) fanout() (c comparison, err error) {
	ours, err := p.fan()
	if err != nil {
		return c, err
	}
	yardstick, err := p.redisFanout()
	if err != nil {
		return c, err
	}
	c.sides = []side{{"50 bare Go connections read, 64 write", ours.Run}, {"50 clients SUBSCRIBE, 64 PUBLISH", yardstick.Run}}
	c.value, c.note = byRate, "bare Go programs / Redis"
	return c, nil
}
