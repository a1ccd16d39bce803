// Package crowd is what the measurements have many do at a time.
package crowd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/commy-project/commyfs"
)

// Writers is how many write at a time where many do.
const Writers = 64

// Sample is what was measured: times in microseconds, and how many operations there were, and in a second.
type Sample struct {
	P50, P99, Rate float64
	Count          int
}

// Times are those of single operations.
type Times []time.Duration

// Sample sorts.
func (t Times) Sample(elapsed time.Duration) Sample {
	if len(t) == 0 {
		return Sample{}
	}
	slices.Sort(t)
	at := func(q float64) float64 {
		return float64(t[min(int(q*float64(len(t))), len(t)-1)].Nanoseconds()) / 1000
	}
	return Sample{at(0.5), at(0.99), float64(len(t)) / elapsed.Seconds(), len(t)}
}

// Together does operations for some time, each again and again on a goroutine of its own.
func Together(d time.Duration, ops []func() error) (Sample, error) {
	all, elapsed, err := together(d, ops)
	return all.Sample(elapsed), err
}

func together(d time.Duration, ops []func() error) (Times, time.Duration, error) {
	all, errs := make([]Times, len(ops)), make([]error, len(ops))
	var wg sync.WaitGroup
	start := time.Now()
	for i, op := range ops {
		wg.Go(func() {
			for last := start; last.Sub(start) < d; {
				if errs[i] = op(); errs[i] != nil {
					return
				}
				now := time.Now()
				all[i] = append(all[i], now.Sub(last))
				last = now
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(start)
	return slices.Concat(all...), elapsed, errors.Join(errs...)
}

// Adders add 1 to one variable.
func Adders(ctx context.Context, s *commyfs.Service, n int) []func() error {
	ops := make([]func() error, n)
	for i := range ops {
		ops[i] = func() error {
			_, err := s.Add(ctx, "counter", 1)
			return err
		}
	}
	return ops
}

// Putters each store values of 8 bytes in a variable of their own, another one each time: what does not change costs less.
func Putters(ctx context.Context, s *commyfs.Service, n int) []func() error {
	ops := make([]func() error, n)
	for i := range ops {
		name, number, value := fmt.Sprintf("v%d", i), uint64(0), make([]byte, 8)
		ops[i] = func() error {
			number++
			binary.LittleEndian.PutUint64(value, number)
			_, err := s.Put(ctx, name, value)
			return err
		}
	}
	return ops
}
