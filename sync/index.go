package sync

import (
	"math/bits"
	"slices"
	"sync"
)

// index finds nodes by id. There can be millions of variables: one takes little more than a pointer, and no step takes as
// long as there are many.
type index struct{ shards [indexShards]indexShard }

const (
	indexBits   = 6
	indexShards = 1 << indexBits
)

type indexShard struct {
	mu     sync.RWMutex // guards the following
	vars   varTable
	others map[uint64]Node // what is no variable
	// behind are nodes whose ids stand for others by now, the last one last. A service whose stream is behind has what is in another
	// one already, and one that is ahead has it again while the other still has it.
	behind map[uint64][]Node
}

// scattered spreads ids, which come from a counter, over 64 bits.
func scattered(id uint64) uint64 { return id * 0x9e3779b97f4a7c15 }

func shardOf(id uint64) int { return int(scattered(id) >> (64 - indexBits)) }

func (x *index) get(id uint64) Node {
	s := &x.shards[shardOf(id)]
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.getLocked(id)
}

func (s *indexShard) getLocked(id uint64) Node {
	if v := s.vars.get(id); v != nil {
		return v
	}
	return s.others[id]
}

// put returns what the id has stood for, which stays behind n until it is dropped.
func (x *index) put(n Node) (over Node) {
	s := &x.shards[shardOf(n.ID())]
	s.mu.Lock()
	defer s.mu.Unlock()
	if over = s.getLocked(n.ID()); over == n {
		return nil
	}
	s.coverLocked(over)
	s.putLocked(n)
	return over
}

func (s *indexShard) coverLocked(over Node) {
	if over == nil {
		return
	}
	if s.behind == nil {
		s.behind = map[uint64][]Node{}
	}
	s.behind[over.ID()] = append(s.behind[over.ID()], over)
}

func (s *indexShard) putLocked(n Node) {
	if v, ok := n.(*Variable); ok {
		delete(s.others, v.id)
		s.vars.reserve(1)
		s.vars.put(v)
		return
	}
	s.vars.remove(n.ID(), nil)
	if s.others == nil {
		s.others = map[uint64]Node{}
	}
	s.others[n.ID()] = n
}

// putAll puts variables, by their shards, and returns what their ids have stood for.
func (x *index) putAll(made *[indexShards][]*Variable) (over []Node) {
	for i, vars := range made {
		if len(vars) == 0 {
			continue
		}
		s := &x.shards[i]
		s.mu.Lock()
		s.vars.reserve(len(vars))
		for _, v := range vars {
			if was := s.vars.put(v); was != nil {
				s.coverLocked(was)
				over = append(over, was)
			}
			if was := s.others[v.id]; was != nil {
				s.coverLocked(was)
				over = append(over, was)
				delete(s.others, v.id)
			}
		}
		s.mu.Unlock()
	}
	return over
}

// drop forgets n. What was behind it, in another service, has the id again.
func (x *index) drop(n Node) {
	id := n.ID()
	s := &x.shards[shardOf(id)]
	s.mu.Lock()
	defer s.mu.Unlock()
	behind := s.behind[id]
	if s.getLocked(id) != n {
		s.behindLocked(id, slices.DeleteFunc(behind, func(o Node) bool { return o == n }))
		return
	}
	if v, ok := n.(*Variable); ok {
		s.vars.remove(id, v)
	} else {
		delete(s.others, id)
	}
	if last := len(behind) - 1; last >= 0 {
		s.putLocked(behind[last])
		s.behindLocked(id, behind[:last])
	}
}

// allBehind returns the nodes that are behind others.
func (x *index) allBehind() (list []Node) {
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.RLock()
		for _, behind := range s.behind {
			list = append(list, behind...)
		}
		s.mu.RUnlock()
	}
	return list
}

func (s *indexShard) behindLocked(id uint64, list []Node) {
	switch {
	case len(list) > 0:
		s.behind[id] = list
	case s.behind != nil:
		delete(s.behind, id)
	}
}

// varTable has variables by their ids, which they hold themselves: an open hash table with linear probing.
type varTable struct {
	slots []*Variable
	used  int
}

// home is where a variable of that id is, or behind it.
func (t *varTable) home(id uint64) int {
	hi, _ := bits.Mul64(scattered(id)<<indexBits, uint64(len(t.slots)))
	return int(hi)
}

func (t *varTable) next(i int) int {
	if i++; i == len(t.slots) {
		return 0
	}
	return i
}

func (t *varTable) get(id uint64) *Variable {
	if len(t.slots) == 0 {
		return nil
	}
	for i := t.home(id); t.slots[i] != nil; i = t.next(i) {
		if t.slots[i].id == id {
			return t.slots[i]
		}
	}
	return nil
}

// reserve makes room for n more.
func (t *varTable) reserve(n int) {
	if need := t.used + n; need*6 > len(t.slots)*5 {
		t.resize(max(need*5/4, len(t.slots)*3/2) + 4)
	}
}

func (t *varTable) resize(size int) {
	old := t.slots
	t.slots, t.used = make([]*Variable, size), 0
	for _, v := range old {
		if v != nil {
			t.put(v)
		}
	}
}

// put puts a variable in the place of what has its id, and returns that. There is room.
func (t *varTable) put(v *Variable) (was *Variable) {
	i := t.home(v.id)
	for t.slots[i] != nil && t.slots[i].id != v.id {
		i = t.next(i)
	}
	if was = t.slots[i]; was == nil {
		t.used++
	}
	t.slots[i] = v
	return was
}

// remove takes away what has the id, if it is v or v is nil. What comes behind moves up, so that a gap ends every search.
func (t *varTable) remove(id uint64, v *Variable) {
	if len(t.slots) == 0 {
		return
	}
	gap := t.home(id)
	for t.slots[gap] != nil && t.slots[gap].id != id {
		gap = t.next(gap)
	}
	if t.slots[gap] == nil || v != nil && t.slots[gap] != v {
		return
	}
	t.used--
	size := len(t.slots)
	for i := t.next(gap); t.slots[i] != nil; i = t.next(i) {
		if home := t.home(t.slots[i].id); (i-home+size)%size >= (i-gap+size)%size {
			t.slots[gap], gap = t.slots[i], i
		}
	}
	t.slots[gap] = nil
	if size > 64 && t.used < size/4 {
		t.resize(t.used*5/4 + 4)
	}
}
