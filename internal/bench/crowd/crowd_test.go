package crowd

import (
	"errors"
	"testing"
	"time"
)

func TestTimes(t *testing.T) {
	var list Times
	for i := range 100 {
		list = append(list, time.Duration(100-i)*time.Microsecond)
	}
	if s := list.Sample(2 * time.Second); s != (Sample{P50: 51, P99: 100, Rate: 50, Count: 100}) {
		t.Errorf("sample %+v", s)
	}
	if s := Times(nil).Sample(time.Second); s != (Sample{}) {
		t.Errorf("sample of nothing %+v", s)
	}
}

// One that fails ends alone, and is told of.
func TestTogether(t *testing.T) {
	failed := errors.New("failed")
	n := [2]int{}
	s, err := Together(time.Millisecond, []func() error{
		func() error { n[0]++; return nil },
		func() error { n[1]++; return failed },
	})
	if !errors.Is(err, failed) || n[1] != 1 || n[0] < 1 || s.Count != n[0] {
		t.Errorf("%d and %d operations, sample %+v, %v", n[0], n[1], s, err)
	}
}

// What arrives in a run is counted in it.
func TestFanOut(t *testing.T) {
	f := NewFanOut()
	parts := []*Part{f.Watch(), f.Watch(), f.Watch()}
	written := 0
	f.Write(func(value []byte) error {
		written++
		for _, p := range parts {
			p.Got(value)
		}
		return nil
	})
	for range 2 {
		before := written
		s, err := f.Run(time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if want := len(parts) * (written - before); s.Count != want {
			t.Errorf("%d values arrived of %d", s.Count, want)
		}
		if f.Written <= 0 || s.Rate < f.Written {
			t.Errorf("%v values written and %v delivered a second", f.Written, s.Rate)
		}
	}
}
