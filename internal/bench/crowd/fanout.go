package crowd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/commy-project/commyfs"
)

// Watchers is how many get every value.
const Watchers = 50

// FanOut counts what watchers get of what writers write. The values are the times at which they were written.
type FanOut struct {
	Written float64 // values a second, the last time

	began  time.Time
	parts  []*Part
	writes []func() error

	mu       sync.Mutex // guards the following
	counting bool
	times    Times
}

// NewFanOut has no watchers and writers yet.
func NewFanOut() *FanOut { return &FanOut{began: time.Now()} }

// Write adds a writer.
func (f *FanOut) Write(write func(value []byte) error) {
	f.writes = append(f.writes, func() error {
		return write(binary.LittleEndian.AppendUint64(nil, uint64(time.Since(f.began))))
	})
}

// Part counts for one watcher, and takes the time of one value in 16.
type Part struct {
	f     *FanOut
	n     atomic.Int64
	count int
}

// Watch adds a watcher.
func (f *FanOut) Watch() *Part {
	p := &Part{f: f}
	f.parts = append(f.parts, p)
	return p
}

// Got counts a value, on the one goroutine of the watcher.
func (p *Part) Got(value []byte) {
	p.n.Add(1)
	if p.count++; p.count%16 != 0 || len(value) < 8 {
		return
	}
	took := time.Since(p.f.began) - time.Duration(binary.LittleEndian.Uint64(value))
	p.f.mu.Lock()
	defer p.f.mu.Unlock()
	if p.f.counting {
		p.f.times = append(p.f.times, took)
	}
}

func (f *FanOut) got() (n int64) {
	for _, p := range f.parts {
		n += p.n.Load()
	}
	return n
}

// Run has the writers write for some time and counts what arrives in it, with the times from the write to the watcher.
func (f *FanOut) Run(d time.Duration) (Sample, error) {
	f.mu.Lock()
	f.counting, f.times = true, nil
	f.mu.Unlock()
	before, start := f.got(), time.Now()
	written, _, err := together(d, f.writes)
	elapsed, arrived := time.Since(start), f.got()-before
	f.mu.Lock()
	f.counting = false
	s := f.times.Sample(elapsed)
	f.mu.Unlock()
	f.Written = float64(len(written)) / elapsed.Seconds()
	s.Rate, s.Count = float64(arrived)/elapsed.Seconds(), int(arrived)
	for last := int64(-1); err == nil && last != f.got(); time.Sleep(50 * time.Millisecond) { // the rest is not for the next one
		last = f.got()
	}
	return s, err
}

// Service has clients watch a service and one more write to it.
func (f *FanOut) Service(ctx context.Context, tenant, service string, connect func() (*commyfs.Client, error)) error {
	ready := make(chan error, 2*Watchers) // that they have begun, and their ends
	for range Watchers {
		c, err := connect()
		if err != nil {
			return err
		}
		p := f.Watch()
		go func() { ready <- p.watch(ctx, c.Service(tenant, service), ready) }()
	}
	for range Watchers {
		if err := <-ready; err != nil {
			return err
		}
	}
	c, err := connect()
	if err != nil {
		return err
	}
	s := c.Service(tenant, service)
	for i := range Writers {
		name := fmt.Sprintf("v%d", i)
		f.Write(func(value []byte) error {
			_, err := s.Put(ctx, name, value)
			return err
		})
	}
	return nil
}

// watch counts until the client is closed. It says when it has begun.
func (p *Part) watch(ctx context.Context, s *commyfs.Service, ready chan<- error) error {
	for ev, err := range s.Watch(ctx, commyfs.WatchOptions{}) {
		switch {
		case errors.Is(err, commyfs.ErrClosed):
			return nil
		case err != nil:
			return err
		case ev.Kind == commyfs.EventSynced:
			ready <- nil
		case ev.Kind == commyfs.EventModified:
			p.Got(ev.Value)
		}
	}
	return nil
}
