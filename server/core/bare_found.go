package core

import (
	"errors"
	"sync"
	"time"
	"unique"

	"github.com/commy-project/commyfs/bare"
	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/model"
)

// finds are what was found in the files of bare services and is not carried out yet.
type finds struct {
	mu   sync.Mutex // guards the following
	list []find
}

type find struct {
	*bareOwner
	bare.Found
}

func (f *finds) add(o *bareOwner, list []bare.Found) {
	f.mu.Lock()
	for _, v := range list {
		f.list = append(f.list, find{o, v})
	}
	f.mu.Unlock()
	o.core.queue.find(o.core.commitFound)
}

// commitFound makes values of what was found in files, as many as fit into a batch. A value that was stored since it was found
// wins: it has been written over what was found.
func (s *Core) commitFound() {
	s.finds.mu.Lock()
	list := s.finds.list
	s.finds.list = nil
	s.finds.mu.Unlock()
	rest := s.commitSome(list)
	if len(rest) == 0 {
		return
	}
	s.finds.mu.Lock()
	s.finds.list = append(rest, s.finds.list...)
	s.finds.mu.Unlock()
	s.queue.find(s.commitFound)
}

// commitSome commits as much as fits into a batch, and returns the rest.
func (s *Core) commitSome(list []find) (rest []find) {
	b := newBatch(s.view, max(time.Now().UnixNano(), s.lastTime))
	e := &evaluator{batch: b, ctx: s.ctx, limits: s.limits, auth: s.auth, kind: kindFound}
	e.Origin, e.writer = model.Origin{Principal: model.Itself}, foundWriter
	var taken []find
	for i, f := range list {
		if len(taken) > 0 && (b.bytes > maxBatchBytes || b.keys() > maxBatchKeys) {
			rest = list[i:]
			break
		}
		c, file := f.svc.bareFile()
		if file == nil || file != f.file || s.view.services[f.svc.id] != f.svc {
			continue
		}
		v, l := e.ids.get(f.ID), c.layouts.get(f.ID)
		if v != nil {
			v = e.risen(v)
		}
		if v == nil || l == nil || v.version != f.Version || int64(len(f.Data)) != l.Size {
			continue
		}
		if r := e.set(v, l.Value(f.Data), nil, &model.Change{}, false); r.Unchanged {
			file.Took(f.ID, v.version)
			continue
		}
		b.keep()
		taken = append(taken, f)
	}
	d, err := s.store(b, nil)
	if err != nil {
		b.abandon()
		for _, f := range taken {
			if _, file := f.svc.bareFile(); file != nil {
				file.Lost(f.ID)
			}
		}
		if errors.Is(err, engine.ErrClosed) {
			s.broken(err)
		}
		return rest
	}
	if !b.empty() {
		s.lastTime = b.now
		var t touched
		s.publish(d, &t)
		t.wake()
	}
	return rest
}

// foundWriter signs what was found.
var foundWriter = unique.Make("memory")
