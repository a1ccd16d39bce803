package core

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/model"
)

// TestRanges: the parts of a large value that a change is said to touch are all that it changes.
func TestRanges(t *testing.T) {
	rnd := rand.New(rand.NewPCG(testenv.Seed(t), 2))
	known := 0
	for range 2000 {
		was := make([]byte, rangesFrom/2+rnd.IntN(2*rangesFrom))
		v := &variable{version: 1, value: newValue(was)}
		at := func() int64 { return rnd.Int64N(3 * rangesFrom) }
		c := &model.Change{Base: 1, Op: []model.Op{model.OpPatch, model.OpWrite, model.OpAppend, model.OpTruncate, model.OpStore}[rnd.IntN(5)]}
		c.Size, c.Data = at(), make([]byte, rnd.IntN(100))
		for range rnd.IntN(5) {
			c.Ranges = append(c.Ranges, model.RangeData{Off: at(), Data: bytes.Repeat([]byte{byte(rnd.IntN(3))}, rnd.IntN(2000))})
		}
		e := &evaluator{batch: &batch{}, limits: model.Limits{Value: 1 << 20}}
		now, err := e.newData(c, v)
		if err != nil {
			continue
		}
		ranges := touchedBy(c, v, now)
		if sameIn(was, now, ranges) != bytes.Equal(was, now) {
			t.Fatalf("%v of %d bytes: same %v", c.Op, len(was), !bytes.Equal(was, now))
		}
		if ranges != nil {
			known++
		}
		list, _ := difference(was, now, ranges)
		got := append(bytes.Clone(was), make([]byte, max(len(now)-len(was), 0))...)[:len(now)]
		for i, r := range list {
			if i > 0 && r.Off < list[i-1].Off+list[i-1].Len {
				t.Fatalf("ranges %v meet", list)
			}
			copy(got[r.Off:], now[r.Off:r.Off+r.Len])
		}
		if len(now) >= alwaysWhole && !bytes.Equal(got, now) {
			t.Fatalf("%v: %v does not lead from %d bytes to %d", c.Op, list, len(was), len(now))
		}
		changes := map[*variable]change{}
		if ranges != nil {
			next := &variable{value: newValue(now)}
			changes[next] = change{v, ranges}
			if got := (&batch{changes: changes}).between(v, next); len(got) != len(ranges) {
				t.Fatalf("between has %v, want %v", got, ranges)
			}
			if got := (&batch{changes: changes}).between(&variable{}, next); got != nil {
				t.Fatalf("from another: %v", got)
			}
		}
	}
	if known < 300 {
		t.Errorf("%d changes with ranges: too few", known)
	}
}
