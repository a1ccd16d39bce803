package server

import (
	"encoding/hex"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/commy-project/commyfs/memfile"
	"github.com/commy-project/commyfs/transport"
)

// The memory files are a view of a view: without one (the runtime directory is full, say) the server goes on, and local
// clients have the values sent as remote ones do. A push without a path tells them.

func memoryPath(dir string, service uint64) string {
	return filepath.Join(dir, fmt.Sprintf("service_%d.mem", service))
}

// removeStrays removes the memory files of services that are no more. Those of other services are left to the clients
// that have them mapped until the next one takes their place.
func (s *Server) removeStrays() {
	files, _ := filepath.Glob(memoryPath(s.opts.RuntimeDir, 0)[:len(memoryPath(s.opts.RuntimeDir, 0))-len("0.mem")] + "*.mem*")
	for _, f := range files {
		id, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(f), "service_"), ".")
		n, err := strconv.ParseUint(id, 10, 64)
		if err == nil && s.view.services[n] == nil {
			_ = os.Remove(f)
		}
	}
}

// openMemory makes the memory file of a content that is not yet in use, or has lost its file.
func (s *Server) openMemory(svc *service, c *content, vars iter.Seq[memfile.Initial]) {
	o := memfile.WriterOptions{Service: svc.id, Named: uint64(c.named)}
	if id, err := hex.DecodeString(s.engine.StoreID()); err == nil {
		copy(o.Store[:], id)
	}
	mem, err := memfile.Create(memoryPath(s.opts.RuntimeDir, svc.id), o, vars)
	if err != nil {
		s.log.Warn("no memory file", "service", svc.id, "err", err)
		return
	}
	c.mem = mem
	c.file.Store(&fileInfo{mem.Path(), mem.Generation()})
}

func (c *content) initials() iter.Seq[memfile.Initial] {
	return func(yield func(memfile.Initial) bool) {
		for w := (frozen{c.nodes.root}).from(""); ; {
			it, ok := w.next()
			if !ok || it.v != nil && !yield(it.v.initial()) {
				return
			}
		}
	}
}

// initials is what the batch puts into a service that is new.
func (b *batch) initials(svc *service) iter.Seq[memfile.Initial] {
	return func(yield func(memfile.Initial) bool) {
		for _, v := range b.ids.over {
			if v != nil && v.service == svc && !yield(v.initial()) {
				return
			}
		}
	}
}

func (v *variable) initial() memfile.Initial {
	return memfile.Initial{Slot: v.slot, ID: v.id, Version: v.version, MTime: v.mtime, Name: v.name, Value: v.data}
}

func (c *content) takeSlot() uint32 {
	slot := c.high
	if c.mem != nil {
		slot = c.mem.Alloc()
	}
	c.high = max(c.high, slot+1)
	return slot
}

// giveSlot frees a slot that was taken. Without a file there is nothing to do: the next file knows what is free.
func (c *content) giveSlot(slot uint32) {
	if c.mem != nil {
		_, _ = c.mem.Delete(slot) // fails only if the file was damaged, which put finds
	}
}

// writeMemory brings the memory files to where the batch leads. Services with a new file, or none any more, are put into
// moved.
func (s *Server) writeMemory(b *batch, rev int64, moved map[*service]struct{}) {
	fresh := map[*service]bool{}
	for svc, key := range b.places.over {
		c := svc.content.Load()
		switch {
		case c == nil:
		case key == serviceKey{}:
			s.closeMemory(c)
		case s.view.services[svc.id] == nil:
			fresh[svc] = true
			s.openMemory(svc, c, b.initials(svc))
		}
	}
	for _, r := range b.freed {
		c := r.service.content.Load()
		if c.mem == nil || fresh[r.service] {
			continue
		}
		rotated, err := c.mem.Delete(r.slot)
		s.wroteMemory(r.service, c, rotated, err, moved)
	}
	for id, v := range b.ids.over {
		if v == nil || v == b.ids.base(id) {
			continue
		}
		c := v.service.content.Load()
		if c.mem == nil || fresh[v.service] {
			continue
		}
		rotated, err := c.mem.Put(v.slot, v.id, v.version, v.mtime, v.name, v.data)
		s.wroteMemory(v.service, c, rotated, err, moved)
	}
	for _, ev := range b.events {
		if ev.kind == transport.EventSet && !ev.created() {
			continue
		}
		c := ev.service.content.Load()
		if c == nil {
			continue
		}
		c.named = rev
		if c.mem != nil {
			_ = c.mem.SetNamed(uint64(rev)) // fails only if the file was damaged, which put finds
		}
	}
}

func (s *Server) wroteMemory(svc *service, c *content, rotated bool, err error, moved map[*service]struct{}) {
	if err == nil && !rotated {
		return
	}
	moved[svc] = struct{}{}
	if err == nil {
		c.file.Store(&fileInfo{c.mem.Path(), c.mem.Generation()})
		return
	}
	s.log.Warn("memory file lost", "service", svc.id, "err", err)
	_ = c.mem.Abandon()
	c.mem = nil
	c.file.Store(nil)
}

func (s *Server) closeMemory(c *content) {
	c.file.Store(nil)
	if c.mem != nil {
		_ = c.mem.Close()
		c.mem = nil
	}
}

// checkMemory makes the memory files again that somebody removed, or that could not be had before. The committer calls
// it now and then.
func (s *Server) checkMemory() {
	moved := map[*service]struct{}{}
	for _, svc := range s.view.services {
		c := svc.content.Load()
		if c == nil {
			continue
		}
		if c.mem != nil && !c.mem.Intact() {
			s.wroteMemory(svc, c, true, c.mem.Rotate(), moved)
		}
		if c.mem == nil {
			if s.openMemory(svc, c, c.initials()); c.mem != nil {
				moved[svc] = struct{}{}
			}
		}
	}
	var touched touched
	s.pushMoved(moved, &touched)
	touched.wake()
}

// pushMoved tells the watchers of services where the memory file is now.
func (s *Server) pushMoved(moved map[*service]struct{}, t *touched) {
	for svc := range moved {
		m := &transport.ServiceFileRotated{Service: svc.id}
		if f := svc.content.Load().file.Load(); f != nil {
			m.Path, m.Generation = f.path, f.generation
		}
		svc.watchMu.Lock()
		for w := range svc.watches {
			if w.session.local {
				w.session.out.moved(m)
				t.add(w.session)
			}
		}
		svc.watchMu.Unlock()
	}
}
