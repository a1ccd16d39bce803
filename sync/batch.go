package sync

import (
	"cmp"
	"strings"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/offline"
)

// batch is a report that replays entries.
type batch struct {
	entries []offline.Entry
	changes []model.Change
	vars    map[uint64]*replayed
	bytes   int
}

// replayed is how far a variable comes with a batch.
type replayed struct {
	offline.Progress
	known   bool // Progress has the variable's id
	guarded bool // a change of it has a condition: those behind it need none
	begun   bool // a change of it is in the batch
	appends uint64
	created bool // by an append: its version is not known before the answer
}

// next makes a batch of the entries that can be replayed.
func (k *keeper) next() (*batch, error) {
	b := &batch{vars: map[uint64]*replayed{}}
	held, alone := k.stalled()
	only := uint64(0) // what the batch is of, if it is of one variable
	for after := uint64(0); ; {
		list := k.q.Next(after, 2*maxReplay)
		for i := range list {
			e := &list[i]
			after = e.N
			if held[e.Key] || only != 0 && e.Key != only || alone[e.Key] && only == 0 && len(b.entries) > 0 {
				continue
			}
			if r := b.vars[e.Key]; e.Doubt != nil || r != nil && r.created && e.Kind != offline.Append {
				held[e.Key] = true
				continue
			}
			if err := k.q.Load(e); err != nil { // the disk does not give it
				k.leave(e.Key, err)
				held[e.Key] = true
				continue
			}
			if b.bytes += len(e.Data); len(b.entries) > 0 && b.bytes > maxReplayBytes {
				return b, nil
			}
			k.add(b, e)
			if alone[e.Key] {
				only = e.Key
			}
			if len(b.entries) == k.most {
				return b, nil
			}
		}
		if len(list) == 0 {
			return b, nil
		}
	}
}

// add puts an entry into a batch.
func (k *keeper) add(b *batch, e *offline.Entry) {
	r := b.vars[e.Key]
	if r == nil {
		r = &replayed{}
		if r.Progress, r.known = k.q.Progress(e.Key); !r.known {
			r.Key, r.Version = e.Key, e.Base
			if !e.New {
				r.ID, r.known = e.Key, true
			}
		}
		b.vars[e.Key] = r
	}
	ch := model.Change{ID: r.ID, In: cmp.Or(k.c.serviceOf(r.ID), e.In), Mode: e.Mode, HasMTime: e.HasMTime, MTime: e.MTime}
	if !r.known {
		ch.In, ch.Within = 0, e.Within
		ch.Tenant, ch.Service, ch.Name = k.c.made(&e.Target)
		if !r.begun {
			ch.Create, ch.NewMode, ch.Mode = true, e.Mode, 0
		}
	}
	switch e.Kind {
	case offline.Replace:
		ch.Op, ch.Data = model.OpStore, e.Data
	case offline.Write:
		ch.Op, ch.Ranges = model.OpWrite, []model.RangeData{{Off: e.Off, Data: e.Data}}
	case offline.Append:
		ch.Op, ch.Data = model.OpAppend, e.Data
	case offline.Truncate:
		ch.Op, ch.Size = model.OpTruncate, e.Size
	case offline.Meta:
		ch.Op = model.OpSetMeta
	}
	switch {
	case e.Kind != offline.Append && !r.guarded:
		ch.HasVersion, ch.IfVersion, r.guarded = true, r.Version+r.appends, true
	case e.Kind == offline.Append && !r.guarded && len(e.Data) > 0:
		r.appends++
		r.created = !r.known
	}
	r.begun = true
	b.entries, b.changes = append(b.entries, *e), append(b.changes, ch)
}

// hasMoved reports whether the directory in which a new variable was made is elsewhere than where it was to be made now. What the server
// has refused it for was told before.
func (k *keeper) hasMoved(e *offline.Entry, ch *model.Change) bool {
	if ch.ID != 0 || ch.Within == 0 {
		return false
	}
	k.c.Await(e.Within, k.c.longBound())
	tenant, service, name := k.c.made(&e.Target)
	return tenant != ch.Tenant || service != ch.Service || name != ch.Name
}

// made says by what names a variable is to be made: in the directory that it was made in, which can have been renamed since.
func (c *Client) made(t *offline.Target) (tenant, service, name string) {
	tenant, service, name = t.Tenant, t.Service, t.Name
	file := name[strings.LastIndexByte(name, '/')+1:]
	var s *Service
	switch n := c.index.get(t.Within).(type) {
	case *Service:
		s, name = n, file
	case *Dir:
		s, name = n.s, joinName(n.Name(), file)
	}
	if s != nil {
		prefix := s.prefix()
		tenant, service = prefix[0], prefix[1]
	}
	return tenant, service, name
}

// progress is how far the server has come by the results of a batch.
func (b *batch) progress(results []model.Result) (list []offline.Progress) {
	last := map[uint64]model.Result{}
	for i, e := range b.entries {
		last[e.Key] = results[i]
	}
	for key, r := range b.vars {
		p := offline.Progress{Key: key, ID: last[key].ID, Version: last[key].Version}
		if expected := r.Version + r.appends; !r.guarded && !r.created && p.Version != expected {
			p.Version = expected // others have written: an edit that is no append is one over what they have not seen
		}
		if r.created && last[key].Size != b.sizeOf(key) {
			p.Version = 0 // it was there already
		}
		list = append(list, p)
	}
	return list
}

func (b *batch) sizeOf(key uint64) (n int64) {
	for i := range b.entries {
		if b.entries[i].Key == key {
			n += int64(len(b.entries[i].Data))
		}
	}
	return n
}

func (b *batch) numbers() (list []uint64) {
	for i := range b.entries {
		list = append(list, b.entries[i].N)
	}
	return list
}
