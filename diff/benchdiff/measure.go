package main

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	samples = 241
	sample  = 250 * time.Microsecond
)

// candidate is something to measure: f does it n times.
type candidate struct {
	name string
	f    func(n int)
}

// medians gives the nanoseconds that each candidate takes once. The machine may
// be shared and its clock may change, so that candidates take turns, each round
// starts with another one, and what a candidate reads was read by the one before.
func medians(candidates []candidate) map[string]float64 {
	times := make([]int, len(candidates))
	for i, c := range candidates {
		c.f(1)
		for times[i] = 1; ; times[i] *= 2 {
			start := time.Now()
			c.f(times[i])
			if took := time.Since(start); took >= sample/2 {
				times[i] = max(1, int(float64(times[i])*float64(sample)/float64(took)))
				break
			}
		}
	}
	took := make([][]float64, len(candidates))
	for round := range samples {
		for turn := range candidates {
			i := (round + turn) % len(candidates)
			start := time.Now()
			candidates[i].f(times[i])
			took[i] = append(took[i], float64(time.Since(start))/float64(times[i]))
		}
	}
	out := map[string]float64{}
	for i, c := range candidates {
		out[c.name] = median(took[i])
	}
	return out
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}

// pin keeps the calling goroutine on one core, the last that it may use, and
// returns its number and what undoes it.
func pin() (core int, undo func(), err error) {
	runtime.LockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return 0, nil, fmt.Errorf("which cores there are: %w", err)
	}
	for i := range len(before) * 64 {
		if before.IsSet(i) {
			core = i
		}
	}
	one.Set(core)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return 0, nil, fmt.Errorf("stay on core %d: %w", core, err)
	}
	return core, func() {
		// If that fails the thread stays where it is, to be ended with the
		// goroutine instead of being used by others.
		if unix.SchedSetaffinity(0, &before) == nil {
			runtime.UnlockOSThread()
		}
	}, nil
}

// memory returns n bytes on pages of their own, filled: pages that were never
// written are all the same page of zeros, which would be read from L1.
func memory(n int) ([]byte, error) {
	p, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes: %w", n, err)
	}
	fill(p)
	return p, nil
}

func fill(p []byte) {
	r := rand.NewPCG(1, 2)
	for i := range p {
		p[i] = byte(r.Uint64())
	}
}
