package core

import (
	"bytes"

	"github.com/commy-project/commyfs/diff"
	"github.com/commy-project/commyfs/model"
)

// value carries out the operations that give a variable bytes, and OpCreate.
func (e *evaluator) value(c *model.Change) (model.Result, error) {
	if int64(len(c.Data)) > e.limits.Value {
		return model.Result{}, model.ErrTooLarge
	}
	if !validMode(c.Mode) || !validMode(c.NewMode) {
		return model.Result{}, model.ErrInvalid
	}
	t, err := e.find(c)
	switch {
	case err == model.ErrNotFound && c.ID == 0 && (c.Op == model.OpCreate || c.Create && (c.Op == model.OpStore || c.Op == model.OpAppend)):
		return e.create(c)
	case err != nil:
		return model.Result{}, err
	case c.Op == model.OpCreate:
		return model.Result{}, model.ErrExists
	case t.d != nil:
		return model.Result{}, model.ErrIsDirectory
	}
	if err := e.auth.Need(e.Principal, t.key.tenant, model.RightWrite); err != nil {
		return model.Result{}, err
	}
	if t.conflicts(c) {
		return model.Result{}, model.ErrConflict
	}
	if l := e.layouts.get(layoutKey{t.service, t.v.id}); l != nil {
		data, err := e.registered(c, t.v, l)
		if err != nil {
			return model.Result{}, err
		}
		return e.set(t.v, data, nil, c, false), nil // it may not be what the client has sent
	}
	data, err := e.newData(c, t.v)
	if err != nil {
		return model.Result{}, err
	}
	return e.set(t.v, data, touchedBy(c, t.v, data), c, c.Op == model.OpStore || c.Op == model.OpPatch), nil
}

// set gives a variable a new value, unless it is the value that it has, with the mode and time that c gives. ranges are where
// it can differ from the old one; nil: anywhere.
func (e *evaluator) set(was *variable, data []byte, ranges []diff.Range, c *model.Change, echo bool) model.Result {
	if sameIn(was.data(), data, ranges) {
		return e.describe(was, was.meta().with(c))
	}
	v := *was
	v.version++
	v.mtime = e.tick()
	v.setMeta(v.meta().with(c))
	v.writer = e.writer
	v.kind = e.kind
	v.value = newValue(data)
	e.put(v.at(), entry{v: &v})
	e.differs(&v, was, ranges)
	e.emit(&event{service: v.dir.service, kind: model.EventSet, name: e.path(v.at()), was: was, v: &v, echo: echo, within: ranges})
	return resultOf(&v)
}

// create makes a variable.
func (e *evaluator) create(c *model.Change) (model.Result, error) {
	want := model.RightCreate
	if len(c.Data) > 0 {
		want |= model.RightWrite
	}
	if c.HasVersion && c.IfVersion != 0 {
		return model.Result{}, model.ErrConflict
	}
	if err := e.auth.NeedNew(e.Principal, c.Tenant, want); err != nil {
		return model.Result{}, err
	}
	s, at, _, err := e.room(c.Tenant, c.Service, c.Name, c.Parents)
	if err != nil {
		return model.Result{}, err
	}
	if e.bares.get(s) != 0 {
		return model.Result{}, errUnregistered
	}
	id := c.NewID
	if id == 0 || e.ids.get(id) != nil || !e.reserve(id) {
		if id, err = e.id(); err != nil {
			return model.Result{}, err
		}
	}
	v := &variable{id: id, dir: at.in, name: at.name, version: e.floors.get(s) + 1, writer: e.writer, slot: e.slot(s)}
	v.setMeta(meta{e.tick(), c.NewMode}.with(c))
	if c.Op != model.OpCreate {
		v.value = newValue(bytes.Clone(c.Data))
	}
	e.put(at, entry{v: v})
	e.stirred(at.in)
	e.emit(&event{service: s, kind: model.EventSet, name: c.Name, time: e.now, v: v, echo: c.Op == model.OpStore})
	return resultOf(v), nil
}

// newData is the value that c leads to. It never shares bytes with the message, whose buffer holds other messages too.
func (e *evaluator) newData(c *model.Change, v *variable) ([]byte, error) {
	size := int64(len(v.data()))
	switch c.Op {
	case model.OpStore:
		e.work += len(c.Data)
		return cloneUnlessEqual(c.Data, v.data()), nil
	case model.OpAppend:
		if size+int64(len(c.Data)) > e.limits.Value {
			return nil, model.ErrTooLarge
		}
		return e.appended(v.data(), c.Data), nil
	case model.OpPatch:
		if c.Base != v.version {
			return nil, model.ErrStaleBase
		}
		size = c.Size
	case model.OpTruncate:
		size = c.Size
	case model.OpWrite:
		for _, r := range c.Ranges {
			if r.Off >= 0 && r.Off <= e.limits.Value { // the others are refused below
				size = max(size, r.Off+int64(len(r.Data)))
			}
		}
	}
	if size < 0 {
		return nil, model.ErrInvalid
	}
	if size > e.limits.Value {
		return nil, model.ErrTooLarge
	}
	e.work += int(size)
	data := bytes.Clone(v.data()[:min(size, int64(len(v.data())))])
	data = append(data, make([]byte, size-int64(len(data)))...)
	if c.Op == model.OpTruncate {
		return data, nil
	}
	for _, r := range c.Ranges {
		e.work += len(r.Data)
		switch {
		case r.Off < 0:
			return nil, model.ErrInvalid
		case r.Off > e.limits.Value:
			return nil, model.ErrTooLarge
		case r.Off+int64(len(r.Data)) > size:
			return nil, model.ErrInvalid
		}
		copy(data[r.Off:], r.Data)
	}
	return data, nil
}

// appended is a value with more at its end. What is appended to is given some room, and what comes then is put behind the
// value where it is: those who have the old value see only as far as it goes, and only the newest value of a variable is
// ever appended to. So a long value is not copied for each few bytes.
func (e *evaluator) appended(old, more []byte) []byte {
	size := len(old) + len(more)
	if size <= cap(old) {
		e.work += len(more)
		return append(old, more...)
	}
	e.work += size
	room := size
	if size > spareFrom {
		room = max(size, min(size+size/4, int(e.limits.Value)))
	}
	return append(append(make([]byte, 0, room), old...), more...)
}

// spareFrom is from where on a value that is appended to gets room for more.
const spareFrom = 1 << 10

func cloneUnlessEqual(data, current []byte) []byte {
	if bytes.Equal(data, current) {
		return current
	}
	return bytes.Clone(data)
}

// remove carries out OpDelete.
func (e *evaluator) remove(c *model.Change) (model.Result, error) {
	t, err := e.find(c)
	if err != nil {
		return model.Result{}, err
	}
	if t.d != nil {
		return model.Result{}, model.ErrIsDirectory
	}
	if err := e.auth.Need(e.Principal, t.key.tenant, model.RightDelete); err != nil {
		return model.Result{}, err
	}
	if t.conflicts(c) {
		return model.Result{}, model.ErrConflict
	}
	e.drop(t.v)
	return resultOf(t.v), nil
}

// drop deletes a variable.
func (e *evaluator) drop(v *variable) {
	e.tick()
	s, path := v.dir.service, e.path(v.at())
	e.put(v.at(), entry{})
	e.stirred(v.dir)
	e.ids.set(v.id, nil)
	if e.moved.get(v.id) != 0 {
		e.moved.set(v.id, 0)
	}
	if k := (layoutKey{s, v.id}); e.layouts.get(k) != nil {
		e.layouts.set(k, nil)
	}
	e.raise(s, v.version)
	e.freed = append(e.freed, slotRef{s, v.slot})
	e.emit(&event{service: s, kind: model.EventDelete, name: path, time: e.now, was: v})
}

// emit appends an event to the batch. A value that the same report replaces has been nobody's: it is merged into the event
// before, and its memory comes free.
func (e *evaluator) emit(ev *event) {
	ev.Origin = e.Origin
	switch ev.kind {
	case model.EventSet:
		if i, ok := e.merge[ev.v.id]; ok && ev.was != nil {
			e.events[i].v, e.events[i].echo, e.events[i].within = ev.v, false, nil
			return
		}
		if e.merge == nil {
			e.merge = map[uint64]int{}
		}
		e.merge[ev.v.id] = len(e.events)
	case model.EventDelete, model.EventRename, model.EventMeta:
		delete(e.merge, ev.id())
	case model.EventRenameDir, model.EventRmdir:
		clear(e.merge) // of what is in it
	}
	e.events = append(e.events, ev)
}

func resultOf(v *variable) model.Result {
	return model.Result{ID: v.id, Version: v.version, MTime: v.mtime, Size: int64(len(v.data()))}
}
