package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/commy-project/commyfs"
)

// watchers is how many get every value.
const watchers = 50

// tally counts what the watchers get. The values are the times at which they were written.
type tally struct {
	began time.Time

	mu       sync.Mutex // guards the following
	counting bool
	times    times
	n        int
}

func newTally() *tally { return &tally{began: time.Now()} }

func (t *tally) value() []byte {
	return binary.LittleEndian.AppendUint64(nil, uint64(time.Since(t.began)))
}

// part counts for one watcher; latencies of one in 16.
type part struct {
	t     *tally
	n     atomic.Int64
	count int
}

func (p *part) got(value []byte) {
	p.n.Add(1)
	if p.count++; p.count%16 != 0 || len(value) < 8 {
		return
	}
	took := time.Since(p.t.began) - time.Duration(binary.LittleEndian.Uint64(value))
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	if p.t.counting {
		p.t.times = append(p.t.times, took)
	}
}

// side has writers write for some time and counts what arrives in it.
func (t *tally) side(name string, parts []*part, write []func() error) (side, *float64) {
	sent := new(float64)
	return side{name, func(d time.Duration) (sample, error) {
		sum := func() (n int64) {
			for _, p := range parts {
				n += p.n.Load()
			}
			return n
		}
		t.mu.Lock()
		t.counting, t.times = true, nil
		t.mu.Unlock()
		before, start := sum(), time.Now()
		s, err := together(name, write).run(d)
		elapsed := time.Since(start)
		arrived := float64(sum() - before)
		t.mu.Lock()
		t.counting = false
		got := t.times.sample(elapsed)
		t.mu.Unlock()
		*sent = s.rate
		for last := int64(-1); err == nil && last != sum(); time.Sleep(50 * time.Millisecond) { // the rest belongs to nobody's turn
			last = sum()
		}
		return sample{got.p50, got.p99, arrived / elapsed.Seconds()}, err
	}}, sent
}

// fanout delivers every value to many watchers.
func fanout(l *lab, name string) ([]result, error) {
	own, sent, err := l.ownFanout()
	if err != nil {
		return nil, err
	}
	used := []*spender{{name: "server", pid: l.commyfs.pid()}, {name: "clients", pid: os.Getpid()}}
	var arrived int64
	inner := own.run
	own.run = spending(func(d time.Duration) (sample, error) {
		s, err := inner(d)
		arrived += int64(s.rate * d.Seconds())
		return s, err
	}, used, func() int64 { return arrived })
	yardstick, redisSent, err := l.redisFanout()
	if err != nil {
		return nil, err
	}
	res, err := l.compare(name, comparison{goal: 0.5, least: true, value: byRate, sides: []side{own, yardstick},
		note: "times are from the write to the watcher"})
	res.Detail = map[string]float64{"values written a second": *sent, "values published a second, Redis": *redisSent}
	for _, u := range used {
		res.Detail["us of "+u.name+" for each value delivered"] = u.each()
	}
	return []result{res}, err
}

func (l *lab) ownFanout() (side, *float64, error) {
	t := newTally()
	var parts []*part
	ready := make(chan error, watchers)
	for range watchers {
		c, err := l.client(commyfs.Options{})
		if err != nil {
			return side{}, nil, err
		}
		p := &part{t: t}
		parts = append(parts, p)
		go func() {
			for ev, err := range c.Service(tenant, service).Watch(context.Background(), commyfs.WatchOptions{}) {
				switch {
				case errors.Is(err, commyfs.ErrClosed):
					return
				case err != nil:
					ready <- err
					return
				case ev.Kind == commyfs.EventSynced:
					ready <- nil
				case ev.Kind == commyfs.EventModified:
					p.got(ev.Value)
				}
			}
		}()
	}
	for range watchers {
		if err := <-ready; err != nil {
			return side{}, nil, err
		}
	}
	c, err := l.client(commyfs.Options{})
	if err != nil {
		return side{}, nil, err
	}
	s := c.Service(tenant, service)
	var ops []func() error
	for i := range threads {
		ops = append(ops, func() error {
			_, err := s.Put(context.Background(), fmt.Sprintf("v%d", i), t.value())
			return err
		})
	}
	own, sent := t.side("50 SDK clients watch, 64 goroutines Put", parts, ops)
	return own, sent, nil
}

func (l *lab) redisFanout() (side, *float64, error) {
	socket, err := l.redis()
	if err != nil {
		return side{}, nil, err
	}
	t := newTally()
	var parts []*part
	for range watchers {
		c, err := dialRedis(socket)
		if err != nil {
			return side{}, nil, err
		}
		l.later(c.close)
		if err := c.subscribe("v"); err != nil {
			return side{}, nil, err
		}
		p := &part{t: t}
		parts = append(parts, p)
		go func() {
			var buf [64]byte
			for {
				value, err := c.message(buf[:])
				if err != nil {
					return // the end
				}
				p.got(value)
			}
		}()
	}
	var ops []func() error
	for range threads {
		c, err := dialRedis(socket)
		if err != nil {
			return side{}, nil, err
		}
		l.later(c.close)
		ops = append(ops, func() error { return c.publish("v", t.value()) })
	}
	s, sent := t.side("50 clients SUBSCRIBE, 64 PUBLISH", parts, ops)
	return s, sent, nil
}
