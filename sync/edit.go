package sync

import (
	"context"
	"sync/atomic"

	"github.com/commy-project/commyfs/diff"
	"github.com/commy-project/commyfs/model"
)

// EditKind says how an [Edit] changes a value.
type EditKind uint8

// The kinds of edits.
const (
	EditReplace  EditKind = iota // the value is Data
	EditWrite                    // Data at Off; the value grows with zeros if it must
	EditAppend                   // Data at the end
	EditTruncate                 // Size bytes
	EditMeta                     // only Mode and MTime: no new version
)

// Edit is a change of one variable. Data must not be modified after [Variable.Enqueue].
type Edit struct {
	Kind EditKind
	Data []byte
	Off  int64
	Size int64
	// Mode and MTime go with the value. The zero Mode leaves the mode as it is; without HasMTime the time is the commit's.
	Mode     model.Mode
	HasMTime bool
	MTime    int64
	// HasVersion makes an EditReplace conditional: model.ErrConflict unless the variable's version is IfVersion.
	HasVersion bool
	IfVersion  uint64
	// Seen makes any edit but an EditMeta conditional on the version that it has when the edit is sent.
	Seen *Seen
	// Journal is told what becomes of the edit. Default: nobody.
	Journal Journal

	// Tenure is what [Client.Tenure] was when the first part of the edit was made, if that was earlier. Default: 0, it was made now.
	Tenure uint64

	lease uint64 // by which the client had locks
}

// Seen is the version of a variable that somebody has seen. An edit that has it is refused with model.ErrConflict if the
// variable has another one by then, and sets it to the version that it leads to. So edits that are made one after the other, of
// which none waits for the one before, are carried out as long as nobody else changes the variable.
type Seen struct{ version atomic.Uint64 }

// NewSeen returns one that has a version; 0: there is no such variable.
func NewSeen(version uint64) *Seen {
	s := &Seen{}
	s.version.Store(version)
	return s
}

// Version returns the version.
func (s *Seen) Version() uint64 { return s.version.Load() }

// Set sets the version.
func (s *Seen) Set(version uint64) { s.version.Store(version) }

// Follow sets the version to what a change has led to that somebody else has made over the version that was seen.
func (s *Seen) Follow(from, to uint64) { s.version.CompareAndSwap(from, to) }

// saw takes what has become of edits that travelled together.
func saw(batch []*Ack, res model.Result, err error) {
	if s := batch[0].edit.Seen; s != nil && err == nil {
		s.Set(res.Version)
	}
}

// condition makes a change conditional on what its edit says.
func (e *Edit) condition(change *model.Change) {
	switch {
	case e.Kind == EditMeta:
	case e.Seen != nil:
		change.HasVersion, change.IfVersion = true, e.Seen.Version()
	case e.Kind == EditReplace:
		change.HasVersion, change.IfVersion = e.HasVersion, e.IfVersion
	}
}

// merges reports whether the edit can be carried out as one with its neighbours of the same kind.
func (e *Edit) merges() bool {
	return (e.Kind == EditWrite || e.Kind == EditAppend) && e.Mode == 0 && !e.HasMTime
}

// mergesWith reports whether it can be carried out as one with that which follows.
func (e *Edit) mergesWith(next *Edit) bool {
	return e.merges() && next.merges() && e.Kind == next.Kind && e.Seen == next.Seen && e.lease == next.lease
}

const (
	// diffFrom is the size from which a value or an extent is compared with the shadow: below it the whole is shorter
	// than what describes a difference.
	diffFrom = 64
	// rangeCost is what a range costs on the wire beyond its bytes.
	rangeCost = 16
)

// change makes the shortest report of the edits. value is what the variable holds afterwards, if the server will not say.
func (v *Variable) change(batch []*Ack) (change model.Change, value []byte) {
	e := batch[0].edit
	large := len(e.Data) >= diffFrom && len(batch) == 1 && (e.Kind == EditReplace || e.Kind == EditWrite)
	if !large || e.HasVersion {
		return v.wholeChange(batch)
	}
	shadow, meta, err := v.Load(nil)
	if err != nil {
		return v.wholeChange(batch)
	}
	size, extent := int64(len(e.Data)), int64(0)
	if e.Kind == EditWrite {
		size, extent = max(meta.Size, e.Off+int64(len(e.Data))), e.Off
	}
	if extent > int64(len(shadow)) {
		return v.wholeChange(batch)
	}
	var found []diff.Range
	n := min(len(e.Data), len(shadow)-int(extent))
	if e.Kind == EditReplace {
		value = e.Data
		found = diff.Append(nil, e.Data[:n], shadow[:n], diff.DefaultGap)
	} else {
		// The shadow is brought up to what is written while the two are compared: it is the value that comes of it.
		value = make([]byte, size)
		copy(value, shadow)
		found = diff.Sync(nil, e.Data[:n], value[extent:extent+int64(n)], diff.DefaultGap)
		copy(value[extent+int64(n):], e.Data[n:])
	}
	ranges, cost := rangesOf(e.Data, found, n, extent)
	if cost >= len(e.Data) {
		return v.wholeChange(batch)
	}
	change = model.Change{Op: model.OpPatch, ID: v.id, In: v.s.id, Base: meta.Version, Ranges: ranges, Size: size,
		Mode: e.Mode, HasMTime: e.HasMTime, MTime: e.MTime, Lease: e.lease}
	e.condition(&change)
	return change, value
}

// rangesOf returns the differences found in the first n bytes of data, and all behind them, as ranges that begin at extent,
// and what they cost on the wire in bytes.
func rangesOf(data []byte, found []diff.Range, n int, extent int64) (ranges []model.RangeData, cost int) {
	if len(data) > n {
		if k := len(found) - 1; k >= 0 && found[k].Off+found[k].Len == n {
			found[k].Len = len(data) - found[k].Off
		} else {
			found = append(found, diff.Range{Off: n, Len: len(data) - n})
		}
	}
	for _, r := range found {
		ranges = append(ranges, model.RangeData{Off: extent + int64(r.Off), Data: data[r.Off : r.Off+r.Len]})
		cost += r.Len + rangeCost
	}
	return ranges, cost
}

// wholeChange reports the edits as they were written, over whatever is current.
func (v *Variable) wholeChange(batch []*Ack) (change model.Change, value []byte) {
	e := batch[0].edit
	change.ID, change.In = v.id, v.s.id
	change.Lease = e.lease
	change.Mode, change.HasMTime, change.MTime = e.Mode, e.HasMTime, e.MTime
	e.condition(&change)
	switch e.Kind {
	case EditReplace:
		change.Op, change.Data = model.OpStore, e.Data
		value = e.Data
		if value == nil {
			value = []byte{}
		}
	case EditWrite:
		change.Op = model.OpWrite
		for _, a := range batch {
			change.Ranges = append(change.Ranges, model.RangeData{Off: a.edit.Off, Data: a.edit.Data})
		}
	case EditAppend:
		change.Op, change.Data = model.OpAppend, e.Data
		if len(batch) > 1 {
			change.Data = nil
			for _, a := range batch {
				change.Data = append(change.Data, a.edit.Data...)
			}
		}
	case EditTruncate:
		change.Op, change.Size = model.OpTruncate, e.Size
	case EditMeta:
		change.Op = model.OpSetMeta
	}
	return change, value
}

// Put replaces the value of the variable of a name by sending what differs from the value in the copy. It returns false,
// and has changed nothing, if the whole value has to be sent: the copy has no such variable, or is behind, or the
// difference is no shorter.
func (s *Service) Put(ctx context.Context, name string, value []byte) (res model.Result, ok bool, err error) {
	s.use()
	prefix := s.prefix()
	s.mu.RLock()
	v, _ := s.lookupLocked(name).(*Variable)
	s.mu.RUnlock()
	if v == nil {
		return model.Result{}, false, nil
	}
	change, value := v.change([]*Ack{{edit: Edit{Kind: EditReplace, Data: value}}})
	if change.Op != model.OpPatch {
		return model.Result{}, false, nil
	}
	// The name counts: somebody may have given it to another variable.
	change.ID, change.In, change.Expect = 0, 0, v.id
	change.Tenant, change.Service, change.Name = prefix[0], prefix[1], name
	change.Lease = s.c.locks.under.Load()
	res, err = s.c.change(ctx, s.epoch, value, &change)
	switch model.CodeOf(err) {
	case model.CodeOK:
		return res, true, nil
	case model.CodeStaleBase, model.CodeConflict, model.CodeNotFound:
		return model.Result{}, false, nil
	}
	return model.Result{}, true, err
}
