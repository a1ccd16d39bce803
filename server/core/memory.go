package core

import (
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/commy-project/commyfs/memfile"
	"github.com/commy-project/commyfs/model"
)

// The memory files are a view of a view: without one (the runtime directory is full, say) the server goes on, and local
// clients have the values sent as remote ones do. A push without a path tells them.

func memoryPath(dir string, service uint64) string {
	return filepath.Join(dir, fmt.Sprintf("service_%d.mem", service))
}

// removeStrays removes the memory files of services that are no more. Those of other services are left to the clients
// that have them mapped until the next one takes their place.
func (s *Core) removeStrays() {
	files, _ := filepath.Glob(memoryPath(s.dir, 0)[:len(memoryPath(s.dir, 0))-len("0.mem")] + "*.mem*")
	for _, f := range files {
		id, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(f), "service_"), ".")
		n, err := strconv.ParseUint(id, 10, 64)
		if err == nil && s.view.services[n] == nil {
			_ = os.Remove(f)
		}
	}
}

// stepSize is how many variables put into a memory file are a step.
const stepSize = 4096

// initials is what a memory file is built with. It ends early when the file is of no use any more.
func (b *build) initials(steps *atomic.Uint64) iter.Seq[memfile.Initial] {
	return func(yield func(memfile.Initial) bool) {
		n := 0
		for w := b.nodes.walk(0, "", 0, true); ; {
			if n++; n%stepSize == 0 {
				if steps.Add(1); b.stale.Load() {
					return
				}
			}
			it, path, ok := w.next()
			if !ok || it.v != nil && !yield(it.v.initial(path, w.version(it.v))) {
				return
			}
		}
	}
}

func (v *variable) initial(path string, version uint64) memfile.Initial {
	return memfile.Initial{Slot: v.slot, ID: v.id, Version: version, MTime: v.mtime, Name: path, Value: v.data()}
}

// writeMemory brings the memory files to where the delta leads. Services with a new file, or none any more, are put into
// moved.
func (s *Core) writeMemory(d *delta, moved map[*service]struct{}) {
	for _, f := range d.ferries {
		s.leaveMemory(f, moved)
	}
	for _, r := range d.freed {
		s.freeSlot(r.service, r.slot, moved)
	}
	for _, f := range d.ferries {
		for i := range f.writes {
			s.writeSlot(f.to, f.writes[i].Slot, moved, func(mem *memfile.Writer) (bool, error) { return mem.PutParts(&f.writes[i], 0, nil) })
		}
	}
	for _, in := range d.inside {
		for _, st := range in.vars {
			v := st.variable
			if v == nil {
				continue
			}
			was, parts := d.pieced[v.id].parts(v)
			s.writeSlot(v.dir.service, v.slot, moved, func(mem *memfile.Writer) (bool, error) {
				it := v.initial(st.path, st.version)
				return mem.PutParts(&it, was, parts)
			})
		}
	}
	for _, ev := range d.events {
		if ev.kind == model.EventSet && !ev.created() || ev.kind == model.EventRenameDir {
			continue
		}
		c := ev.service.content.Load()
		if c == nil {
			continue
		}
		c.named = d.rev
		if c.mem != nil {
			_ = c.mem.SetNamed(uint64(d.rev)) // fails only if the file was damaged, which put finds
		}
	}
	for id := range d.inside {
		svc := s.view.services[id]
		if svc == nil {
			continue
		}
		if c := svc.content.Load(); c != nil && c.mem != nil {
			_ = c.mem.Changed() // the same
		}
	}
}

func (s *Core) wroteMemory(svc *service, c *content, rotated bool, err error, moved map[*service]struct{}) {
	if err == nil && !rotated {
		return
	}
	moved[svc] = struct{}{}
	if err == nil {
		c.file.Store(&model.MemoryFile{Path: c.mem.Path(), Generation: c.mem.Generation()})
		return
	}
	s.noMemory(svc, err)
	s.abandonMemory(c)
}

// noMemory tells that a service has no memory file, which can go for very many at once.
func (s *Core) noMemory(svc *service, err error) {
	s.memoryLog.do(func(more int) {
		s.log.Warn("no memory file: the values are sent over the connection", "service", svc.id, "err", err, "not logged since", more)
	})
}

// abandonMemory gives a file up that its service may go on without: who has it mapped has to ask anew.
func (s *Core) abandonMemory(c *content) {
	c.file.Store(nil)
	if c.mem != nil {
		_ = c.mem.Abandon()
		c.mem = nil
	}
}

func (s *Core) closeMemory(c *content) {
	c.file.Store(nil)
	if c.mem != nil {
		_ = c.mem.Close()
		c.mem = nil
	}
}

// closeAllMemory closes all memory files, which can be very many. First the readers of all of them are told that nothing comes any
// more: the next server may start as soon as this one has let go of the state directory. Then their names go. To unmap them
// takes longest, as a disk then frees their blocks, and nobody has to wait for it: a server's process ends here.
func (s *Core) closeAllMemory() {
	var files []*memfile.Writer
	for _, svc := range s.view.services {
		c := svc.content.Load()
		if c == nil {
			continue
		}
		c.file.Store(nil)
		if c.mem != nil {
			c.mem.Finish()
			files = append(files, c.mem)
			c.mem = nil
		}
	}
	for _, f := range files {
		_ = f.Remove()
	}
	go func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
}

// pushMoved tells the watchers of services where the memory file is now.
func (s *Core) pushMoved(moved map[*service]struct{}, t *touched) {
	for svc := range moved {
		var at model.MemoryFile
		if c := svc.content.Load(); c != nil {
			if f := c.file.Load(); f != nil {
				at = *f
			}
		}
		svc.watchMu.Lock()
		for w := range svc.watches {
			if w.session.Local {
				w.session.feed.file(svc.id, at)
				t.add(w.session)
			}
		}
		svc.watchMu.Unlock()
	}
}
