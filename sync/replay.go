package sync

import (
	"context"
	"errors"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/offline"
)

// The queue is replayed in batches: a report of many edits, in their order, all or none of them. The first edit of a variable in
// it has the version as its condition that it was made over; those behind it need none. Appends have none. If one is refused the
// others are sent again without its variable, which is set aside. What others see is what a whole batch has made.

const (
	maxReplay      = 256 // edits in a batch
	maxReplayBytes = 1 << 20
	minReplayPause = 50 * time.Millisecond
	maxReplayPause = 2 * time.Second
)

// replayer is what the goroutine that replays knows.
type replayer struct {
	most   int   // edits in the next batch
	fate   *fate // of a batch, which the queue could not be told
	logged time.Time
}

// run replays until the client is closed.
func (k *keeper) run() {
	pause := time.Duration(0)
	for k.c.ctx.Err() == nil {
		if pause > 0 || k.q.Len() == 0 {
			var after <-chan time.Time
			if pause > 0 {
				after = time.After(pause)
			}
			select {
			case <-k.wake:
				if pause > 0 { // it was woken by one more entry, mostly
					sleep(k.c.ctx, min(pause, minReplayPause))
				}
			case <-after:
			case <-k.c.ctx.Done():
				return
			}
		}
		more, err := k.step()
		switch {
		case err != nil:
			pause = min(max(2*pause, minReplayPause), maxReplayPause)
			k.complain(err)
		case more:
			pause = 0
		default:
			pause = k.untilStall(maxReplayPause) // what is left waits for something
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// complain logs why it does not go on, now and then.
func (k *keeper) complain(err error) {
	if errors.Is(err, model.ErrDisconnected) || k.c.ctx.Err() != nil || time.Since(k.logged) < time.Minute {
		return
	}
	k.logged = time.Now()
	k.c.opts.Logger.Warn("the offline queue cannot be replayed now", "err", err)
}

// step does the next thing there is to do, when there is a connection. more is false if nothing can be done now.
func (k *keeper) step() (more bool, err error) {
	sess, err := k.c.connected(k.c.ctx)
	if err != nil {
		return false, err
	}
	if err := k.sameStore(); err != nil {
		return false, err
	}
	if err := k.samePrincipal(); err != nil || k.q.Len() == 0 {
		return false, err
	}
	ctx, cancel := context.WithTimeout(k.c.ctx, k.c.opts.Timeout)
	defer cancel()
	if err := sess.ping(ctx); err != nil { // a connection can be there for a while after the server is not
		return false, model.ErrDisconnected
	}
	for _, do := range []func() (bool, error){k.finishBatch, k.takeAnswers, k.recover, k.judge} {
		if more, err := do(); more || err != nil {
			return more, err
		}
	}
	return k.sendBatch()
}

// connected waits for a connection as long as it takes.
func (c *Client) connected(ctx context.Context) (*session, error) {
	for {
		c.flight.mu.Lock()
		s, changed := c.flight.session, c.flight.changed
		c.flight.mu.Unlock()
		if s != nil {
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// sameStore sets everything aside if the server has another store than the one that the entries were made for.
func (k *keeper) sameStore() error {
	k.c.flight.mu.Lock()
	store := k.c.flight.store
	k.c.flight.mu.Unlock()
	was := k.q.Store()
	if was == store {
		return nil
	}
	if was != "" {
		for _, key := range k.q.Keys() {
			if err := k.setAside(key, refusal{reason: "the server has another store", all: true}); err != nil {
				return err
			}
		}
		if s := k.q.Underway(); s != nil {
			if err := k.q.Done(nil, nil); err != nil {
				return err
			}
		}
	}
	return k.q.SetStore(store)
}

// samePrincipal gives up what was sent in another's name, of which the server tells this client nothing: it would say that nothing
// was carried out. What became of it is judged by what the server has.
func (k *keeper) samePrincipal() error {
	k.c.flight.mu.Lock()
	who := k.c.flight.who
	k.c.flight.mu.Unlock()
	was := k.q.Principal()
	if who == "" || who == was {
		return nil
	}
	if was != "" {
		var sent []uint64
		for _, e := range k.q.Next(0, -1) {
			if e.Doubt != nil && !e.Doubt.Lost && e.Doubt.Client != k.c.id {
				sent = append(sent, e.N)
			}
		}
		s := k.q.Underway()
		if s != nil && s.Client != k.c.id { // else there is an answer, or is to be one
			sent = append(sent, s.N...)
		}
		if len(sent) > 0 {
			if err := k.q.Lost(sent); err != nil {
				return err
			}
		}
		if s != nil && s.Client != k.c.id {
			if err := k.q.Done(nil, nil); err != nil {
				return err
			}
		}
	}
	return k.q.SetPrincipal(who)
}

var errUnderway = errors.New("it is not known what became of the last batch")

// fate is what became of a batch.
type fate struct {
	b       *batch
	results []model.Result
	err     error
}

// sendBatch sends a batch, once it is noted which entries are in it.
func (k *keeper) sendBatch() (bool, error) {
	if k.q.Underway() != nil {
		return false, errUnderway // nothing is sent before it is known what became of it
	}
	b, err := k.next()
	if err != nil || len(b.entries) == 0 {
		return false, err
	}
	r := &report{changes: b.changes, lasting: true}
	if !k.c.number(r) {
		return false, errFull
	}
	s := offline.Sending{Client: k.c.id, Seq: r.seq, First: time.Now().UnixNano(), N: b.numbers()}
	if err := k.q.Sending(s); err != nil {
		k.c.unnumber(r)
		return false, err
	}
	results, err := k.c.sendNumbered(r)
	k.fate = &fate{b, results, err}
	return k.finishBatch()
}

// finishBatch takes what became of a batch.
func (k *keeper) finishBatch() (bool, error) {
	if k.fate == nil {
		return false, nil
	}
	b, err := k.fate.b, k.fate.err
	if err == nil {
		if err := k.over(b.numbers(), b.progress(k.fate.results)); err != nil {
			return false, err
		}
		k.fate, k.most = nil, min(2*k.most, maxReplay)
		k.taken.Add(1)
		return true, nil
	}
	code := model.CodeOf(err)
	if code == model.CodeDisconnected {
		k.fate = nil // the client is closed, or the store is another one: see sameStore
		return false, err
	}
	if code == model.CodeForgotten {
		if err := k.q.Lost(b.numbers()); err != nil {
			return false, err
		}
	}
	if err := k.q.Done(nil, nil); err != nil { // it is not under way
		return false, err
	}
	k.fate = nil
	switch code {
	case model.CodeForgotten:
		return true, nil
	case model.CodeUnavailable, model.CodeUnauthorized:
		return false, err // that may change, and is for all
	}
	if mayPass(err) {
		return k.unable(b, err)
	}
	index := 0
	if refused := (*RefusedError)(nil); errors.As(err, &refused) {
		index = refused.Index
	}
	if code == model.CodeTooLarge && len(b.entries) > 1 {
		k.most = len(b.entries) / 2 // together they may be too much
		return true, nil
	}
	index = min(index, len(b.entries)-1)
	e := &b.entries[index]
	if k.hasMoved(e, &b.changes[index]) {
		return true, nil
	}
	return true, k.setAside(e.Key, k.refused(e, err))
}

// over takes entries out that were carried out, and what is shown of them.
func (k *keeper) over(list []uint64, progress []offline.Progress) error {
	k.finishing.Lock()
	err := k.q.Done(list, progress)
	replayed := map[uint64]uint64{}
	if err == nil {
		for _, p := range progress {
			k.unstall(p.Key)
			if k.q.Has(p.Key) > 0 {
				continue // what is shown is what all of them make
			}
			k.show(p.Key, nil)
			k.mu.Lock()
			if k.news[p.Key] {
				delete(k.news, p.Key)
				replayed[p.Key] = p.ID
			}
			k.mu.Unlock()
		}
	}
	k.finishing.Unlock()
	if err != nil {
		return err
	}
	for key, id := range replayed {
		k.replayed(key, id)
	}
	k.advance()
	return nil
}

// replayed tells that a new variable is not new any more.
func (k *keeper) replayed(key, id uint64) {
	if k.c.opts.OnReplayed != nil {
		k.c.opts.OnReplayed(key, id)
	}
}

// advance tells who waits that entries are over.
func (k *keeper) advance() {
	k.mu.Lock()
	defer k.mu.Unlock()
	close(k.moved)
	k.moved = make(chan struct{})
}
