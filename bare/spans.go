package bare

import (
	"cmp"
	"slices"
)

// tracked is a variable as a file knows it.
type tracked struct {
	Variable
	dirty bool   // its bytes are not those that the owner knows
	out   bool   // the owner has been told of it,
	told  int64  // with so many bytes,
	hash  uint64 // which have this hash
	// since is when it was first seen to differ, and moved when it last did, by the directory's clock. since 0: it need not hold
	// still.
	since, moved int64
	record       int32 // see records; noRecord: it has none
}

// spans are the variables of a file in the order of their offsets.
type spans struct {
	list     []*tracked
	furthest []int64 // the largest end up to each
}

func newSpans(vars map[uint64]*tracked) *spans {
	s := &spans{list: make([]*tracked, 0, len(vars)), furthest: make([]int64, len(vars))}
	for _, v := range vars {
		s.list = append(s.list, v)
	}
	slices.SortFunc(s.list, func(a, b *tracked) int { return cmp.Compare(a.Off, b.Off) })
	most := int64(0)
	for i, v := range s.list {
		most = max(most, v.Off+v.Size)
		s.furthest[i] = most
	}
	return s
}

// over calls fn with the variables that have bytes in a range, and reports whether all of its bytes are theirs.
func (s *spans) over(off, end int64, fn func(*tracked)) (all bool) {
	i, _ := slices.BinarySearchFunc(s.list, end, func(v *tracked, end int64) int { return cmp.Compare(v.Off, end) })
	// From the last to the first: what is behind from is covered.
	from := end
	for i--; i >= 0 && s.furthest[i] > off; i-- {
		v := s.list[i]
		if v.Off+v.Size <= off {
			continue
		}
		fn(v)
		if v.Off+v.Size >= from {
			from = min(from, v.Off)
		}
	}
	return from <= off
}
