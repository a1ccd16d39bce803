package core

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/commy-project/commyfs/diff"
	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/memfile"
	"github.com/commy-project/commyfs/model"
)

// Who changes a part of a large value says which, and so none of what follows has to go through the whole of it.

// rangesFrom is from where on a value is large in this sense, and mostRanges how many parts are not too many.
const (
	rangesFrom = engine.MaxWhole
	mostRanges = 64
)

// change is where a value differs from another, at most, beside its size.
type change struct {
	from   *variable
	ranges []diff.Range // in order, apart; nil: it is not known where
}

// touchedBy is where a value that c has led to can differ from that of v, nil if that is not known.
func touchedBy(c *model.Change, v *variable, now []byte) []diff.Range {
	was := len(v.data())
	if len(now) < rangesFrom || len(c.Ranges) > mostRanges {
		return nil
	}
	var list []diff.Range
	switch c.Op {
	case model.OpPatch, model.OpWrite:
		for _, r := range c.Ranges {
			list = append(list, diff.Range{Off: int(r.Off), Len: len(r.Data)})
		}
	case model.OpAppend, model.OpTruncate:
	default:
		return nil
	}
	if len(now) > was {
		list = append(list, diff.Range{Off: was, Len: len(now) - was})
	}
	return joined(list)
}

// joined puts ranges in order and joins those that meet. It is not nil.
func joined(list []diff.Range) []diff.Range {
	slices.SortFunc(list, func(a, b diff.Range) int { return cmp.Compare(a.Off, b.Off) })
	out := []diff.Range{}
	for _, r := range list {
		if n := len(out) - 1; n >= 0 && r.Off <= out[n].Off+out[n].Len {
			out[n].Len = max(out[n].Len, r.Off+r.Len-out[n].Off)
		} else if r.Len > 0 {
			out = append(out, r)
		}
	}
	return out
}

// sameIn tells whether two values are the same that differ within ranges at most.
func sameIn(a, b []byte, ranges []diff.Range) bool {
	if len(a) != len(b) {
		return false
	}
	if ranges == nil {
		return bytes.Equal(a, b)
	}
	for _, r := range ranges {
		if end := r.Off + r.Len; !bytes.Equal(a[r.Off:end], b[r.Off:end]) {
			return false
		}
	}
	return true
}

// differs remembers where a value can differ from the one that it came from.
func (b *batch) differs(v, from *variable, ranges []diff.Range) {
	if ranges == nil || len(v.data()) < rangesFrom {
		return
	}
	if b.changes == nil {
		b.changes = map[*variable]change{}
	}
	b.changes[v] = change{from, ranges}
}

// between is where v can differ from what it was before the batch, nil if that is not known.
func (b *batch) between(was, v *variable) []diff.Range {
	var list []diff.Range
	for at := v; at != was; {
		c, ok := b.changes[at]
		if !ok || len(list) > mostRanges {
			return nil
		}
		list = append(list, c.ranges...)
		at = c.from
	}
	return joined(list)
}

// stored is what the pieces of a value hold that changes so.
func (c change) stored() (s engine.Stored) {
	if c.from == nil {
		return s
	}
	s.Data = c.from.data()
	if c.ranges != nil {
		s.Changed = make([]engine.Range, len(c.ranges))
		for i, r := range c.ranges {
			s.Changed[i] = engine.Range(r)
		}
	}
	return s
}

// parts is for a memory file: which of v to copy if it has the version before.
func (c change) parts(v *variable) (was uint64, parts []memfile.Part) {
	if c.ranges == nil {
		return 0, nil
	}
	size := len(v.data())
	parts = []memfile.Part{}
	for _, r := range c.ranges {
		if r.Off < size { // else it was cut later in the batch
			parts = append(parts, memfile.Part{Off: r.Off, Len: min(r.Len, size-r.Off)})
		}
	}
	return c.from.version, parts
}
