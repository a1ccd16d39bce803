package core

import "github.com/commy-project/commyfs/model"

const logLength = 4096

// eventLog remembers what happened to a service lately, without the values, for clients that come back.
type eventLog struct {
	// since is the revision after which the log has everything.
	since   int64
	records []record // a ring once full
	next    int
}

type record struct {
	rev     int64
	kind    model.EventKind
	created bool
	id      uint64
	client  string
	name    string
	oldName string
	other   uint64
	above   uint64
	time    int64
	moved   uint64
	version uint64   // EventDelete: of the variable that is gone
	d       *dirInfo // of the events of directories
}

func (l *eventLog) add(ev *event) {
	r := record{
		rev: ev.rev, kind: ev.kind, created: ev.created(), id: ev.id(), client: ev.Client, name: ev.name, oldName: ev.oldName, d: ev.d,
		time: ev.time, other: ev.other, above: ev.above, moved: ev.moved,
	}
	if ev.untold { // who comes back is sent the service as well
		*l = eventLog{since: ev.rev}
		return
	}
	if ev.kind == model.EventDelete {
		r.version = ev.was.version
	}
	if len(l.records) < logLength {
		l.records = append(l.records, r)
		return
	}
	l.since = l.records[l.next].rev
	l.records[l.next] = r
	l.next = (l.next + 1) % logLength
}

// last is the revision of the last record, or since.
func (l *eventLog) last() int64 {
	if len(l.records) == 0 {
		return l.since
	}
	return l.records[(l.next+len(l.records)-1)%len(l.records)].rev
}

// after returns what came after rev, and whether the log goes back so far.
func (l *eventLog) after(rev int64) ([]record, bool) {
	if rev < l.since {
		return nil, false
	}
	var list []record
	for i := range l.records {
		if r := l.records[(l.next+i)%len(l.records)]; r.rev > rev {
			list = append(list, r)
		}
	}
	return list, true
}
