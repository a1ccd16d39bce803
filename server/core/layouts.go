package core

import (
	"cmp"
	"maps"
	"slices"

	"github.com/commy-project/commyfs/model"
)

// layouts are those of the registered variables of a service. It is replaced, not changed: who has it from under the lock
// can go on using it without.
type layouts struct {
	byID map[uint64]*model.Layout
	// spans are the same in the order of their offsets.
	spans []span
}

// span is where a variable lies.
type span struct {
	id       uint64
	off, end int64
	furthest int64 // the largest end up to here
}

// get is the layout of a variable, nil if it is not a registered one.
func (l *layouts) get(id uint64) *model.Layout { return l.byID[id] }

func (l *layouts) apply(changes []layoutState) {
	if len(changes) == 0 {
		return
	}
	byID := maps.Clone(l.byID)
	if byID == nil {
		byID = map[uint64]*model.Layout{}
	}
	for _, st := range changes {
		if st.layout == nil {
			delete(byID, st.id)
		} else {
			byID[st.id] = st.layout
		}
	}
	spans := make([]span, 0, len(byID))
	for id, at := range byID {
		spans = append(spans, span{id: id, off: at.Off, end: at.End()})
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Or(cmp.Compare(a.off, b.off), cmp.Compare(a.id, b.id)) })
	furthest := int64(0)
	for i := range spans {
		furthest = max(furthest, spans[i].end)
		spans[i].furthest = furthest
	}
	*l = layouts{byID, spans}
}

// over calls fn with the variables that have bytes in common with a layout, until it returns false.
func (l *layouts) over(at *model.Layout, fn func(id uint64) bool) {
	i, _ := slices.BinarySearchFunc(l.spans, at.End(), func(s span, end int64) int { return cmp.Compare(s.off, end) })
	for i--; i >= 0 && l.spans[i].furthest > at.Off; i-- {
		if l.spans[i].end > at.Off && !fn(l.spans[i].id) {
			return
		}
	}
}
