package sync

import (
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/offline"
)

// refusal is why edits of a variable are set aside.
type refusal struct {
	reason string
	found  uint64 // version at the server, 0 if it is not known
	all    bool   // appends too
	doubt  bool   // the first may have been carried out
}

// refused is what the server's refusal of an entry means for its variable. An append goes on behind what others have written.
func (k *keeper) refused(e *offline.Entry, err error) refusal {
	r := refusal{reason: err.Error(), all: true}
	if code := model.CodeOf(err); code == model.CodeConflict || code == model.CodeExists {
		r.reason, r.all = "somebody else has written the variable since", false
		if e.New {
			r.reason = "somebody else has made the variable since"
		}
	}
	if v, ok := k.c.index.get(e.Key).(*Variable); ok {
		r.found = v.currentShared().Version
	}
	return r
}

// setAside takes the entries of a variable out of the queue, and has what they lead to stored as a file. Appends stay, unless
// they are refused too.
func (k *keeper) setAside(key uint64, why refusal) error {
	k.finishing.Lock()
	a, gone, err := k.setAsideLocked(key, why)
	k.finishing.Unlock()
	if err != nil {
		k.leave(key, err)
		return err
	}
	k.unstall(key)
	if a == nil {
		return nil
	}
	k.c.opts.Logger.Warn("edits that were made offline are set aside", "variable", a.Path(), "why", why.reason, "number", a.ID, "edits", a.Edits)
	if gone {
		k.replayed(key, 0)
	}
	if v, ok := k.c.index.get(key).(*Variable); ok && !v.Gone() {
		k.c.notify([]Notice{{Kind: Modified, Queued: true, ID: v.id, Variable: v, Parent: v.Parent().ID(), MTime: v.Current().MTime,
			Path: join(v.s.prefix(), v.Name())}})
	}
	k.advance()
	return nil
}

func (k *keeper) setAsideLocked(key uint64, why refusal) (a *offline.Aside, gone bool, err error) {
	var list, rest []offline.Entry
	for _, e := range k.q.Of(key) {
		if e.Kind == offline.Append && !why.all {
			rest = append(rest, e)
		} else {
			list = append(list, e)
		}
	}
	if len(list) == 0 {
		return nil, false, nil
	}
	first, last := &list[0], &list[len(list)-1]
	a = &offline.Aside{Tenant: []byte(first.Tenant), Service: []byte(first.Service), Name: []byte(first.Name), Base: first.Base,
		Found: why.found, Reason: why.reason, Edits: len(list), First: time.Unix(0, first.Time), Last: time.Unix(0, last.Time), Doubt: why.doubt}
	if !first.New {
		a.Variable = key
	}
	var value []byte
	if o := k.overlay(key); o != nil {
		a.Mode = uint16(o.mode)
		switch {
		case o.based:
			value = o.value
		case len(o.tail) > 0:
			value, a.Part = o.tail, !first.New
		default:
			a.NoValue = !first.New
		}
	}
	var numbers []uint64
	for _, e := range list {
		numbers = append(numbers, e.N)
		if e.HasMTime {
			t := time.Unix(0, e.MTime)
			a.MTime = &t
		}
	}
	// What is appended from now on, and what is done over that, is done over what the server has.
	var progress []offline.Progress
	if v, ok := k.c.index.get(key).(*Variable); ok && len(rest) > 0 {
		progress = []offline.Progress{{Key: key, ID: key, Version: v.currentShared().Version}}
	}
	if a.ID, err = k.q.SetAside(*a, value, numbers, progress); err != nil {
		return nil, false, err
	}
	if len(rest) == 0 {
		k.show(key, nil)
		k.mu.Lock()
		gone = k.news[key]
		delete(k.news, key)
		k.mu.Unlock()
		return a, gone, nil
	}
	return a, false, k.rebuild(key)
}
