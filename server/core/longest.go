package core

// fitsBelow tells whether all paths below a directory are short enough if it is called path. Who comes close to the limit has
// the directory looked through, up to a point: names that are gone may have been longer.
func (e *evaluator) fitsBelow(d *directory, path string) bool {
	room := e.limits.Name - len(path) - 1
	if d.longest <= room {
		return true
	}
	e.work += maxLooked * overCost
	over := map[*directory][]string{} // what the batch has named in each directory
	for k := range e.entries.over {
		over[k.in] = append(over[k.in], k.name)
	}
	left := maxLooked
	longest, ok := e.longest(d, over, &left)
	if ok && len(e.entries.over) == 0 { // nothing is only going to be removed
		d.longest = longest
	}
	return ok && longest <= room
}

// maxLooked is how many entries are looked at to find the longest path, and overCost stands for the time that one takes.
const (
	maxLooked = 10_000
	overCost  = 64
)

// longest is the length of the longest path in a directory, counted from there; false: it has too many entries.
func (e *evaluator) longest(d *directory, over map[*directory][]string, left *int) (longest int, ok bool) {
	look := func(name string) bool {
		n := e.entries.get(entryKey{d, name})
		if n.none() {
			return true
		}
		if *left--; *left < 0 {
			return false
		}
		size, ok := len(name), true
		if n.d != nil {
			var more int
			if more, ok = e.longest(n.d.dir, over, left); more > 0 {
				size += 1 + more
			}
		}
		longest = max(longest, size)
		return ok
	}
	for list := range e.had(d) {
		for _, n := range list {
			if !look(n.name()) {
				return 0, false
			}
		}
	}
	for _, name := range over[d] {
		if !look(name) {
			return 0, false
		}
	}
	return longest, true
}
