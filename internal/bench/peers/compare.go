package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"
)

// row is a line of the table of goals, or a few that share what they need.
type row struct {
	name string
	long bool
	run  func(l *lab, name string) ([]result, error)
}

// sample is what a side did in one round: times in microseconds.
type sample struct{ p50, p99, rate float64 }

// side is ours or a yardstick. What it does in a round ends after d, or is as long as it has to be.
type side struct {
	name string
	run  func(d time.Duration) (sample, error)
}

// comparison is how most rows are measured.
type comparison struct {
	sides []side                   // ours first
	value func(s []sample) float64 // of one round; the default is the ratio of the medians of the first two
	unit  string                   // default: x
	goal  float64
	least bool
	note  string
}

func byRate(s []sample) float64 { return s[0].rate / s[1].rate }
func byP50(s []sample) float64  { return s[0].p50 / s[1].p50 }

// compare measures the sides in turns, each round beginning with another one, after a turn that does not count.
func (l *lab) compare(name string, c comparison) (result, error) {
	if c.value == nil {
		c.value = byP50
	}
	if c.unit == "" {
		c.unit = "x"
	}
	res := result{Row: name, Unit: c.unit, Goal: c.goal, Least: c.least, Note: c.note}
	all := make([][]sample, len(c.sides))
	for round := -1; round < l.o.rounds; round++ {
		d := l.o.time
		if round < 0 {
			d /= 5
		}
		now := make([]sample, len(c.sides))
		for i := range c.sides {
			at := (i + round + 1) % len(c.sides)
			s, err := l.turn(c.sides[at], d)
			if err != nil {
				return res, fmt.Errorf("%s: %w", c.sides[at].name, err)
			}
			now[at] = s
		}
		if round < 0 {
			continue
		}
		for i := range now {
			all[i] = append(all[i], now[i])
		}
		res.Rounds = append(res.Rounds, c.value(now))
	}
	res.Value = median(res.Rounds)
	for i, s := range c.sides {
		res.Sides = append(res.Sides, figures{s.name, medianOf(all[i], func(s sample) float64 { return s.p50 }),
			medianOf(all[i], func(s sample) float64 { return s.p99 }), medianOf(all[i], func(s sample) float64 { return s.rate })})
	}
	res.judge()
	return res, nil
}

// turn runs a side on a goroutine that is free to move, after what the turn before left to collect.
func (l *lab) turn(s side, d time.Duration) (got sample, err error) {
	if l.ctx.Err() != nil {
		return got, context.Cause(l.ctx)
	}
	runtime.GC()
	done := make(chan struct{})
	go func() {
		defer close(done)
		got, err = s.run(d)
	}()
	<-done
	return got, err
}

func medianOf(list []sample, of func(sample) float64) float64 {
	var values []float64
	for _, s := range list {
		values = append(values, of(s))
	}
	return median(values)
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// times are those of single operations.
type times []time.Duration

// sample sorts.
func (t times) sample(elapsed time.Duration) sample {
	if len(t) == 0 {
		return sample{}
	}
	slices.Sort(t)
	at := func(q float64) float64 { return micros(t[min(int(q*float64(len(t))), len(t)-1)]) }
	return sample{at(0.5), at(0.99), float64(len(t)) / elapsed.Seconds()}
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// repeat is a side that does one operation after another.
func repeat(name string, op func() error) side {
	return timed(name, func() (time.Duration, error) {
		start := time.Now()
		err := op()
		return time.Since(start), err
	})
}

// timed is repeat of an operation that says itself how long it took.
func timed(name string, op func() (time.Duration, error)) side {
	return side{name, func(d time.Duration) (sample, error) {
		var t times
		start := time.Now()
		for time.Since(start) < d {
			took, err := op()
			if err != nil {
				return sample{}, err
			}
			t = append(t, took)
		}
		return t.sample(time.Since(start)), nil
	}}
}

// together is a side that does many operations at a time.
func together(name string, ops []func() error) side {
	return side{name, func(d time.Duration) (sample, error) {
		all, errs := make([]times, len(ops)), make([]error, len(ops))
		var wg sync.WaitGroup
		start := time.Now()
		for i, op := range ops {
			wg.Go(func() {
				for last := start; last.Sub(start) < d && errs[i] == nil; {
					errs[i] = op()
					now := time.Now()
					all[i] = append(all[i], now.Sub(last))
					last = now
				}
			})
		}
		wg.Wait()
		elapsed := time.Since(start)
		return times(slices.Concat(all...)).sample(elapsed), errors.Join(errs...)
	}}
}
