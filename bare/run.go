package bare

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Start begins to look, also at what was stored since the file was opened by somebody who has left.
func (f *File) Start() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.started = true
	f.want |= unix.IN_OPEN | unix.IN_CLOSE_WRITE
	f.wakeLocked()
}

// happened is told of what was done to the file.
func (f *File) happened(e events) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cur == nil { // closed since
		f.d.strangeEvents(f.service, e)
		return
	}
	if e.mask&unix.IN_OPEN != 0 {
		own := min(e.opens, f.opened)
		f.opened -= own
		switch {
		case own == e.opens:
			e.mask &^= unix.IN_OPEN
		default:
			f.ask()
		}
		if e.mask == 0 {
			return
		}
	}
	f.want |= e.mask
	f.wakeLocked()
}

// ring is told that the bell was rung.
func (f *File) ring() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rung = true
	f.wakeLocked()
}

func (f *File) wake() {
	signal(f.kick)
}

// wakeLocked has the file looked at.
func (f *File) wakeLocked() {
	if f.started && !f.active && !f.closed {
		f.active = true
		f.running.Go(f.run)
	}
	f.wake()
}

// run looks after the file while somebody has it open for writing or the owner has something to be told.
func (f *File) run() {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		wait, ok := f.turn()
		if !ok {
			return
		}
		t.Reset(wait)
		select {
		case <-f.kick:
		case <-t.C:
		}
	}
}

// turn does what there is to do, and returns when to come again; !ok: there is no need to.
func (f *File) turn() (wait time.Duration, ok bool) {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return 0, false
	}
	want, rung, was := f.want, f.rung, f.writable
	due := f.spotted || was && f.untilScan() == 0 // however often something else is to be done
	f.want, f.rung, f.spotted = 0, false, false
	f.mu.Unlock()
	retry := f.again.due(f.d.now())
	if retry {
		want |= unix.IN_DELETE | unix.IN_CLOSE_WRITE | bellLost
	}
	if want&(unix.IN_DELETE|unix.IN_MOVED_FROM|unix.IN_MOVED_TO) != 0 {
		f.fix(f.checkPlace())
	}
	if want != 0 || was && f.d.now()-f.probed > int64(probeEvery) {
		f.probe()
	}
	f.mu.Lock()
	writable := f.writable
	f.mu.Unlock()
	if _, err := f.heard(); want&bellLost != 0 || err != nil && !f.again.waiting(f.d.now()) {
		f.fix(f.mendBell())
		f.watchBell(writable)
	} else if writable != was {
		f.watchBell(writable)
	}
	if rung {
		f.fix(f.lookWhereRung())
	}
	later := f.tooSoon(want&unix.IN_MODIFY != 0)
	if later == 0 || want&unix.IN_CLOSE_WRITE != 0 || due || was != writable {
		f.fix(f.scan())
		later = -1
	}
	if was && !writable {
		f.fix(f.trim())
	}
	again := f.tellOwner()
	f.again.tried(retry, f.d.now())
	f.mu.Lock()
	defer f.mu.Unlock()
	f.late = later > 0
	next := int64(0) // when it is mended again
	if f.again.at != 0 {
		next = max(1, f.again.at-f.d.now())
	}
	switch {
	case f.closed:
		return 0, false
	case f.want != 0 || f.rung || f.spotted:
		return 0, true
	case again > 0:
		wait = again
	case later > 0:
		wait = later
	case f.untoldLocked(): // who marked it may have waked us before we came to the end
		wait = max(0, time.Duration(f.retry-f.d.now()))
	case f.writable:
		wait = f.untilScan()
	case next > 0:
		wait = time.Duration(next)
	default:
		f.active = false
		return 0, false
	}
	if next > 0 {
		wait = min(wait, time.Duration(next))
	}
	return wait, true
}

// sinceScan is how long ago the file was last looked through.
func (f *File) sinceScan() time.Duration { return time.Duration(f.d.now() - f.scanned) }

// tooSoon says when a file that was written to can be looked through, so that who writes without end does not have it looked
// through without end. -1: it was not written to.
func (f *File) tooSoon(written bool) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !written && !f.late {
		return -1
	}
	return max(0, busyShare*f.stats.Cost-f.sinceScan())
}

// watchBell begins or ends to listen for the bell, and to look at the file now and then.
func (f *File) watchBell(on bool) {
	if on {
		f.d.bells.add(f)
		f.d.scout.add(f)
	} else {
		f.d.bells.remove(f)
		f.d.scout.remove(f)
	}
}

// mendBell makes a bell anew that was broken, removed or replaced.
func (f *File) mendBell() error {
	f.d.bells.remove(f)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return ErrClosed
	}
	if err := f.openBell(); err != nil {
		return unmended{fmt.Errorf("the bell: %w", err)}
	}
	return nil
}

// probe finds out whether somebody else has the file open for writing. While we have, nobody can say: it is asked again when
// somebody opens it or we let go of it, before long.
func (f *File) probe() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.probed = f.d.now()
	switch {
	case f.w == nil:
		f.writable = writers(f.ro)
	case f.asked:
		f.writable = true
	}
	f.asked = false
	f.stats.Writable = f.writable
	f.setIntervalLocked()
}

// setIntervalLocked sets how often the file is scanned while something is found. Else the scout does it.
func (f *File) setIntervalLocked() {
	if f.isHot(f.d.now()) {
		files := time.Duration(max(1, f.d.scout.busy.Load()))
		f.stats.Interval = min(max(busyShare*files*f.stats.Cost, minInterval), maxInterval)
	}
}

// isHot reports whether something was found lately.
func (f *File) isHot(now int64) bool { return f.hot != 0 && now-f.hot < int64(busyFor) }

// untilScan is when to scan without anybody's asking for it: seldom, as the scout looks at the file.
func (f *File) untilScan() time.Duration {
	pause := quietScan
	if f.isHot(f.d.now()) {
		pause = f.stats.Interval
	}
	return max(0, pause-f.sinceScan())
}
