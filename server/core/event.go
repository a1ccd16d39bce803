package core

import (
	"sync"

	"github.com/commy-project/commyfs/diff"
	"github.com/commy-project/commyfs/model"
)

// event is a change of a service, shared by all who watch it.
type event struct {
	model.Origin
	service *service
	kind    model.EventKind
	rev     int64
	name    string
	oldName string
	time    int64 // of what comes, goes or is renamed
	// was and v are the variable before and after; EventDelete has was alone, a variable that is new v alone.
	was, v *variable
	d      *dirInfo
	// other is the id of what gets the old name; see model.Event.Other.
	other uint64
	// above is that of a rename; see model.Event.Above.
	above uint64
	// moved is the other service; see model.Event.Moved. untold: what is in the directory has no events of its own, and who watches
	// the service is sent it again.
	moved  uint64
	untold bool
	// echo: the writer's report holds the whole new value, or the way to it from what it had seen.
	echo bool
	// within is where the values can differ; nil: anywhere.
	within []diff.Range

	once   sync.Once
	ranges []diff.Range
	worth  bool
}

// created reports whether the event made a variable.
func (e *event) created() bool { return e.kind == model.EventSet && e.was == nil }

// id is that of the variable or directory.
func (e *event) id() uint64 {
	switch {
	case e.v != nil:
		return e.v.id
	case e.was != nil:
		return e.was.id
	}
	return e.d.id
}

// difference is the ranges that lead from e.was to e.v, found once for all watchers.
func (e *event) difference() ([]diff.Range, bool) {
	e.once.Do(func() { e.ranges, e.worth = difference(e.was.data(), e.v.data(), e.within) })
	return e.ranges, e.worth
}

const (
	rangeCost    = 16  // bytes that a range takes on the wire beside its data
	alwaysWhole  = 128 // bytes of a value that is not worth looking for ranges
	diffGap      = diff.DefaultGap
	maxDiffWorth = 2 // ranges are worth it when they take less than 1/2 of the value
)

// difference finds the ranges of now that differ from was, or lie behind its end, and says whether sending them is worth
// it. within is where they can differ in what both have; nil: anywhere.
func difference(was, now []byte, within []diff.Range) (ranges []diff.Range, worth bool) {
	if len(now) < alwaysWhole {
		return nil, false
	}
	n := min(len(was), len(now))
	if within == nil {
		within = []diff.Range{{Len: n}}
	}
	for _, r := range within {
		from, to := min(r.Off, n), min(r.Off+r.Len, n)
		more := len(ranges)
		ranges = diff.Append(ranges, now[from:to], was[from:to], diffGap)
		for i := range ranges[more:] {
			ranges[more+i].Off += from
		}
	}
	if len(now) > n {
		ranges = append(ranges, diff.Range{Off: n, Len: len(now) - n})
	}
	cost := 0
	for _, r := range ranges {
		cost += r.Len + rangeCost
	}
	return ranges, cost*maxDiffWorth < len(now)
}

// treeEvent is a change of a tenant or a service. before and after are its names; the zero key: none.
type treeEvent struct {
	model.Origin
	tenant        *tenant  // the tenant that changed, or the one that holds the service, to the last if it is gone
	service       *service // nil: a tenant changed
	time          int64    // of what comes, goes or is renamed
	before, after serviceKey
	from          *tenant       // the tenant that held the service before
	inside        []serviceName // the services of a tenant that was renamed, as they were then
}

type serviceName struct {
	service *service
	name    string
}
