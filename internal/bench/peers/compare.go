package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/commy-project/commyfs/internal/bench/crowd"
)

// row is a line of the table of goals, or a few that share what they need.
type row struct {
	name string
	long bool
	run  func(l *lab, name string) ([]result, error)
}

// side is ours or a yardstick. What it does in a round ends after d, or is as long as it has to be.
type side struct {
	name string
	run  func(d time.Duration) (crowd.Sample, error)
}

// comparison is how most rows are measured.
type comparison struct {
	sides []side                         // ours first
	value func(s []crowd.Sample) float64 // of one round; the default is the ratio of the medians of the first two
	unit  string                         // default: x
	goal  float64
	least bool
	note  string
}

func byRate(s []crowd.Sample) float64 { return s[0].Rate / s[1].Rate }
func byP50(s []crowd.Sample) float64  { return s[0].P50 / s[1].P50 }

// compare measures the sides in turns, each round beginning with another one, after a turn that does not count.
func (l *lab) compare(name string, c comparison) (result, error) {
	if c.value == nil {
		c.value = byP50
	}
	if c.unit == "" {
		c.unit = "x"
	}
	res := result{Row: name, Unit: c.unit, Goal: c.goal, Least: c.least, Note: c.note}
	all := make([][]crowd.Sample, len(c.sides))
	for round := -1; round < l.o.rounds; round++ {
		d := l.o.time
		if round < 0 {
			d /= 5
		}
		now := make([]crowd.Sample, len(c.sides))
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
		res.Sides = append(res.Sides, figures{s.name, medianOf(all[i], func(s crowd.Sample) float64 { return s.P50 }),
			medianOf(all[i], func(s crowd.Sample) float64 { return s.P99 }), medianOf(all[i], func(s crowd.Sample) float64 { return s.Rate })})
	}
	res.judge()
	return res, nil
}

// turn runs a side on a goroutine that is free to move, after what the turn before left to collect.
func (l *lab) turn(s side, d time.Duration) (got crowd.Sample, err error) {
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

func medianOf(list []crowd.Sample, of func(crowd.Sample) float64) float64 {
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
	return side{name, func(d time.Duration) (crowd.Sample, error) {
		var t crowd.Times
		start := time.Now()
		for time.Since(start) < d {
			took, err := op()
			if err != nil {
				return crowd.Sample{}, err
			}
			t = append(t, took)
		}
		return t.Sample(time.Since(start)), nil
	}}
}

// together is a side that does many operations at a time.
func together(name string, ops []func() error) side {
	return side{name, func(d time.Duration) (crowd.Sample, error) { return crowd.Together(d, ops) }}
}
