package core

import (
	"fmt"

	"github.com/commy-project/commyfs/bare"
	"github.com/commy-project/commyfs/model"
)

// kindFound marks a value that was found in a bare service's file. It is kept with the value: of such a one the file is never
// behind.
const kindFound = 1

const barePage = 4096

var (
	errUnregistered = &model.Error{Code: model.CodeUnsupported, Message: "a bare service has registered variables alone"}
	errNamed        = &model.Error{Code: model.CodeInvalid, Message: "it is not a bare service"}
	errFixed        = &model.Error{Code: model.CodeUnsupported, Message: "nothing can be appended to a registered variable"}
)

// bareSize is the size of a bare service that somebody asks for.
func bareSize(size int64) (int64, error) {
	if size <= 0 || size > bare.MaxSize {
		return 0, &model.Error{Code: model.CodeInvalid, Message: fmt.Sprintf("a bare service has 1 to %d bytes", bare.MaxSize)}
	}
	return (size + barePage - 1) &^ (barePage - 1), nil
}

// makeBare carries out OpBare.
func (e *evaluator) makeBare(c *model.Change) (model.Result, error) {
	size, err := bareSize(c.Size)
	if err != nil {
		return model.Result{}, err
	}
	if c.Service == "" || c.Name != "" || !validMode(c.NewMode) {
		return model.Result{}, model.ErrInvalid
	}
	if e.service(serviceKey{c.Tenant, c.Service}) != nil {
		return model.Result{}, model.ErrExists
	}
	s, err := e.makeService(c.Tenant, c.Service, c.NewMode, c.Parents)
	if err != nil {
		return model.Result{}, err
	}
	e.bares.set(s, size)
	return model.Result{ID: s.id, MTime: s.mtime, Size: size}, nil
}

// findBare finds a bare service whose memory the principal may change.
func (e *evaluator) findBare(c *model.Change) (*service, int64, error) {
	s, err := e.findService(c.Tenant, c.Service)
	if err != nil {
		return nil, 0, err
	}
	size := e.bares.get(s)
	if size == 0 {
		return nil, 0, errNamed
	}
	return s, size, nil
}

// resize carries out OpResize.
func (e *evaluator) resize(c *model.Change) (model.Result, error) {
	size, err := bareSize(c.Size)
	if err != nil {
		return model.Result{}, err
	}
	if err := e.auth.NeedNew(e.Principal, c.Tenant, model.RightCreate|model.RightWrite); err != nil {
		return model.Result{}, err
	}
	s, was, err := e.findBare(c)
	if err != nil {
		return model.Result{}, err
	}
	r := model.Result{ID: s.id, Size: size, Unchanged: size == was}
	if r.Unchanged {
		return r, nil
	}
	beyond := model.Layout{Off: size, Size: bare.MaxSize}
	if name := e.overlapping(s, &beyond, 0); name != "" {
		return model.Result{}, &model.Error{Code: model.CodeConflict, Message: fmt.Sprintf("variable %s lies behind the new end", name)}
	}
	e.bares.set(s, size)
	e.tick()
	key := e.namesOf(s)
	e.tree = append(e.tree, &treeEvent{Origin: e.Origin, tenant: e.tenants.get(key.tenant), service: s, before: key, after: key})
	e.wrote = true
	return r, nil
}

// register carries out OpRegister. The variable's value is what the memory has at its place.
func (e *evaluator) register(c *model.Change) (model.Result, error) {
	if !validMode(c.NewMode) || c.Layout == nil {
		return model.Result{}, model.ErrInvalid
	}
	if err := e.auth.NeedNew(e.Principal, c.Tenant, model.RightCreate|model.RightWrite); err != nil {
		return model.Result{}, err
	}
	s, size, err := e.findBare(c)
	if err != nil {
		return model.Result{}, err
	}
	l := *c.Layout
	if err := l.Check(size); err != nil {
		return model.Result{}, err
	}
	if l.Size > e.limits.Value {
		return model.Result{}, model.ErrTooLarge
	}
	_, at, there, err := e.room(c.Tenant, c.Service, c.Name, c.Parents)
	if err != nil {
		return model.Result{}, err
	}
	switch {
	case there.d != nil:
		return model.Result{}, model.ErrIsDirectory
	case there.v != nil:
		if *e.layouts.get(layoutKey{s, there.v.id}) == l {
			r := resultOf(there.v)
			r.Unchanged = true
			return r, nil
		}
		if c.NoReplace {
			return model.Result{}, model.ErrExists
		}
	}
	known := uint64(0)
	if there.v != nil {
		known = there.v.id
	}
	if name := e.overlapping(s, &l, known); name != "" && !c.Overlap {
		return model.Result{}, &model.Error{Code: model.CodeConflict, Message: fmt.Sprintf("it has bytes in common with variable %s", name)}
	}
	memory, err := e.memoryOf(s, &l)
	if err != nil {
		return model.Result{}, err
	}
	return e.place(at, c, there.v, &l, memory)
}

// place makes a registered variable, or gives one that is there another place.
func (e *evaluator) place(at entryKey, c *model.Change, was *variable, l *model.Layout, memory []byte) (model.Result, error) {
	e.work += len(memory)
	s := at.in.service
	v := &variable{dir: at.in, name: at.name, version: e.floors.get(s) + 1, writer: e.writer, kind: kindFound, value: newValue(l.Value(memory))}
	ev := &event{service: s, kind: model.EventSet, name: c.Name, was: was, v: v}
	if was != nil {
		v.id, v.slot, v.version, v.mode = was.id, was.slot, was.version+1, was.mode
		v.mtime = e.tick()
	} else {
		id, err := e.id()
		if err != nil {
			return model.Result{}, err
		}
		v.id, v.slot = id, e.slot(s)
		v.setMeta(meta{e.tick(), c.NewMode})
		ev.time = e.now
	}
	e.layouts.set(layoutKey{s, v.id}, l)
	e.put(at, entry{v: v})
	if was == nil {
		e.stirred(at.in)
	}
	e.emit(ev)
	return resultOf(v), nil
}

// memoryOf is what the server knows a bare service's memory to be at a place.
func (e *evaluator) memoryOf(s *service, l *model.Layout) ([]byte, error) {
	b := make([]byte, l.Size)
	if e.bares.base(s) == 0 {
		return b, nil // made in this batch
	}
	f := s.content.Load().bare.Load()
	if f == nil {
		return nil, &model.Error{Code: model.CodeUnavailable, Message: "the service's memory cannot be had now"}
	}
	known := min(l.Size, max(0, e.bares.base(s)-l.Off)) // it may have grown in this batch
	return b, fromBare(f.Read(b[:known], min(l.Off, e.bares.base(s))))
}

// overlapping is the name of a variable, other than but, that has bytes in common with a layout, "" if there is none.
func (e *evaluator) overlapping(s *service, l *model.Layout, but uint64) (name string) {
	found := func(id uint64) bool {
		if v := e.ids.get(id); id != but && v != nil && e.layouts.get(layoutKey{s, id}) != nil {
			name = e.path(v.at())
			return false
		}
		return true
	}
	for k, over := range e.layouts.over {
		if k.service == s && over != nil && over.Overlaps(*l) && !found(k.id) {
			return name
		}
	}
	s.content.Load().layouts.over(l, func(id uint64) bool {
		if _, changed := e.layouts.over[layoutKey{s, id}]; changed {
			return true
		}
		return found(id)
	})
	return name
}

// registered is the value that c leads to in a registered variable. It has always the bytes that it is registered with: a
// shorter raw value leaves the rest as it is, and one that its type does not have is refused.
func (e *evaluator) registered(c *model.Change, v *variable, l *model.Layout) ([]byte, error) {
	old := v.data()
	value := c.Data
	switch c.Op {
	case model.OpAppend:
		return nil, errFixed
	case model.OpTruncate:
		switch {
		case c.Size < 0:
			return nil, model.ErrInvalid
		case c.Size > l.Size && (l.Type == model.TypeRaw || l.Type == model.TypeText):
			return nil, model.ErrTooLarge
		case l.Type != model.TypeText || c.Size >= int64(len(old)):
			return old, nil
		}
		value = old[:c.Size]
	case model.OpPatch, model.OpWrite:
		if l.Type == model.TypeRaw {
			for _, r := range c.Ranges {
				if r.Off > l.Size || int64(len(r.Data)) > l.Size-r.Off {
					return nil, model.ErrTooLarge
				}
			}
			if c.Op == model.OpPatch && c.Size < l.Size {
				whole := *c
				whole.Size = l.Size
				c = &whole
			}
		}
		var err error
		if value, err = e.newData(c, v); err != nil {
			return nil, err
		}
	}
	e.work += int(l.Size)
	return fit(l, value, old)
}

// fit is the value that a registered variable has once value was written to it.
func fit(l *model.Layout, value, old []byte) ([]byte, error) {
	memory, err := l.Memory(value, old)
	if err != nil {
		return nil, err
	}
	return l.Value(memory), nil
}
