package core

// index finds variables by their ids. These are given one after the other, so it is in pages, which take less memory than
// a map: there can be millions.
type index struct {
	pages map[uint64]*indexPage
	count int
}

// A page is small: of many neighbours a single one can be in a service that is loaded.
const indexPageSize = 32

type indexPage struct {
	vars  [indexPageSize]*variable
	count int
}

func newIndex() index { return index{pages: map[uint64]*indexPage{}} }

// get returns nil if there is none.
func (x *index) get(id uint64) *variable {
	if p := x.pages[id/indexPageSize]; p != nil {
		return p.vars[id%indexPageSize]
	}
	return nil
}

// put has v found by its id.
func (x *index) put(v *variable) {
	p := x.pages[v.id/indexPageSize]
	if p == nil {
		p = &indexPage{}
		x.pages[v.id/indexPageSize] = p
	}
	at := &p.vars[v.id%indexPageSize]
	if *at == nil {
		p.count++
		x.count++
	}
	*at = v
}

// drop has nothing found by the id of v, if that is what was found.
func (x *index) drop(v *variable) {
	p := x.pages[v.id/indexPageSize]
	if p == nil || p.vars[v.id%indexPageSize] != v {
		return
	}
	p.vars[v.id%indexPageSize] = nil
	x.count--
	if p.count--; p.count == 0 {
		delete(x.pages, v.id/indexPageSize)
	}
}
