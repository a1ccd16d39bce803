package sync

import (
	"fmt"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/offline"
)

// A variable of which the server takes nothing must not hold up the others: its entries are left alone for a while, which is
// longer each time, and are tried by themselves then. If the server goes on refusing them while it takes other changes they are
// set aside. If it takes nothing at all, because its disk is full, everything waits.

// stall is why a variable is left alone.
type stall struct {
	until time.Time
	err   error
	tries int    // how often the server could not carry out what is queued of the variable; 0: it was not the server
	taken uint64 // keeper.taken when that was first so
}

const (
	// stallTime is how long a variable is left alone whose edits can neither be carried out nor set aside now.
	stallTime = 5 * time.Second
	// maxTries is how often the server may refuse what it could carry out another time. With the pauses in between that takes
	// 45 s, with the default timeout.
	maxTries = 8
)

// stallFor is how long a variable is left alone after so many tries.
func stallFor(timeout time.Duration, tries int) time.Duration {
	return min(timeout/5<<(tries-1), 2*timeout)
}

// mayPass reports whether the server may carry out later what it has refused with this error, and it may be for one variable only.
func mayPass(err error) bool {
	switch model.CodeOf(err) {
	case model.CodeInternal, model.CodeNoSpace, model.CodeQuota:
		return true
	}
	return false
}

// unable takes a refusal of a batch that may pass. more says that others are to be tried now.
func (k *keeper) unable(b *batch, err error) (more bool, _ error) {
	if len(b.vars) > 1 {
		k.most = max(1, len(b.entries)/2) // which one is it?
		return true, nil
	}
	err = k.unableVariable(b.entries[0].Key, err)
	return err == nil, err
}

// unableVariable takes a refusal of what is queued of a variable. It returns it, unless that is set aside.
func (k *keeper) unableVariable(key uint64, err error) error {
	k.mu.Lock()
	s := k.stalls[key]
	if s == nil || s.tries == 0 {
		s = &stall{taken: k.taken.Load()}
		k.stalls[key] = s
	}
	s.tries++
	s.until, s.err = time.Now().Add(stallFor(k.c.opts.Timeout, s.tries)), err
	tries, others := s.tries, k.taken.Load() > s.taken
	k.mu.Unlock()
	if tries == 1 {
		k.c.opts.Logger.Warn("the server does not take what is queued of a variable: it is left alone for now", "id", key, "err", err)
	}
	if tries < maxTries || !others {
		return err
	}
	return k.setAside(key, refusal{reason: fmt.Sprintf("the server has refused it %d times, and has taken other changes meanwhile: %v", tries, err),
		all: true, doubt: k.doubts(key)})
}

// doubts reports whether entries of a variable may have been carried out.
func (k *keeper) doubts(key uint64) bool {
	for _, e := range k.q.Of(key) {
		if e.Doubt != nil {
			return true
		}
	}
	return false
}

// leave leaves a variable alone that could not be set aside.
func (k *keeper) leave(key uint64, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.stalls[key]
	if s == nil {
		s = &stall{}
		k.stalls[key] = s
	}
	s.until, s.err = time.Now().Add(stallTime), err
}

// stalled are the variables that are left alone now, and those that are to be tried by themselves.
func (k *keeper) stalled() (now, alone map[uint64]bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	now, alone = map[uint64]bool{}, map[uint64]bool{}
	for key, s := range k.stalls {
		if time.Now().Before(s.until) {
			now[key] = true
		} else if s.tries > 0 {
			alone[key] = true
		}
	}
	return now, alone
}

// unstall forgets that a variable was left alone.
func (k *keeper) unstall(key uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.stalls, key)
}

// isStalled reports whether nothing is to be expected of a variable's entries for now.
func (k *keeper) isStalled(key uint64) bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.stalls[key] != nil
}

// untilStall is how long it takes until a variable is to be tried again, most at most.
func (k *keeper) untilStall(most time.Duration) time.Duration {
	k.mu.RLock()
	defer k.mu.RUnlock()
	for _, s := range k.stalls {
		most = min(most, time.Until(s.until))
	}
	return max(most, minReplayPause)
}

// refusing has what the server does not take in a description of the queue.
func (k *keeper) refusing(s *offline.Stats) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	for _, x := range k.stalls {
		s.Refused++
		s.Why = x.err.Error()
	}
}
