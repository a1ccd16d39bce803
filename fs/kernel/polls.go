package kernel

import "encoding/binary"

// Who polls an open file (poll(2), select, epoll) is told by the kernel's number of it: the kernel asks then what has come. That
// is done once all that is stale has been invalidated, as events are.

const notifyPoll = -1 // FUSE_NOTIFY_POLL, which go-fuse has no name for

// polls are the open files that somebody waits for, by the node whose next change ends it.
type polls struct {
	waiting map[uint64]map[uint64]struct{}
	due     []duePoll
}

// duePoll is an open file that the kernel is to be told of, and the node whose change it is.
type duePoll struct{ id, file uint64 }

// AwaitChange has the kernel told of the next change of a node by its number of an open file.
func (c *Cache) AwaitChange(id, file uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	files := c.polls.waiting[id]
	if files == nil {
		files = map[uint64]struct{}{}
		c.polls.waiting[id] = files
	}
	files[file] = struct{}{}
}

// EndAwait forgets an open file that was closed.
func (c *Cache) EndAwait(id, file uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	files := c.polls.waiting[id]
	delete(files, file)
	if len(files) == 0 {
		delete(c.polls.waiting, id)
	}
}

// changed has the kernel told of a change. c.mu is held.
func (p *polls) changed(id uint64) {
	for file := range p.waiting[id] {
		p.due = append(p.due, duePoll{id, file})
	}
	delete(p.waiting, id)
}

// wakePolls tells the kernel of what is due, and reports whether there was any.
func (c *Cache) wakePolls() bool {
	c.mu.Lock()
	due := c.polls.due
	c.polls.due = nil
	c.mu.Unlock()
	for _, d := range due {
		c.cached(d.id)
		c.WakePoll(d.file)
	}
	return len(due) > 0
}

// WakePoll has the kernel ask at once what has come for an open file. It waits for nothing.
func (d *device) WakePoll(file uint64) {
	_ = d.notify(notifyPoll, binary.NativeEndian.AppendUint64(nil, file)) // it fails when the mount ends
}
