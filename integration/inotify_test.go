package integration

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
)

// Event is what inotifywait saw.
type Event struct {
	Mask string // as inotifywait prints it: "CREATE", "CREATE,ISDIR", "CLOSE_WRITE,CLOSE"
	Path string // below the watched directory
}

func (e Event) String() string { return e.Mask + " " + e.Path }

// has reports whether all bits are in the mask.
func (e Event) has(bits ...string) bool {
	mask := strings.Split(e.Mask, ",")
	for _, b := range bits {
		if !slices.Contains(mask, b) {
			return false
		}
	}
	return true
}

// Inotify is a running inotifywait.
type Inotify struct {
	*Proc
	dir string
}

// Inotify watches a directory and all below it, or one file. Reading raises nothing: only changes are asked for.
func (h *Host) Inotify(path string) *Inotify {
	h.t.Helper()
	testenv.Need(h.t, "inotifywait")
	p := h.StartCommand("inotifywait", "-m", "-r", "--format", "%e %w%f",
		"-e", "create", "-e", "modify", "-e", "close_write", "-e", "delete", "-e", "move", "-e", "delete_self", path)
	i := &Inotify{p, path}
	testenv.Eventually(h.t, 10*time.Second, func() error {
		if strings.Contains(p.stderr.String(), "Watches established") || p.ended() {
			return nil
		}
		return fmt.Errorf("inotifywait is not ready: %s", p.stderr.String())
	})
	if p.ended() {
		h.t.Fatal(p.logs())
	}
	return i
}

// Inotify watches the whole mount.
func (m *Mount) Inotify() *Inotify {
	m.t.Helper()
	return m.h.Inotify(m.Dir)
}

// Events returns what was seen so far.
func (i *Inotify) Events() []Event {
	var events []Event
	for _, line := range i.stdout.Lines() {
		mask, path, _ := strings.Cut(line, " ")
		path = strings.TrimPrefix(strings.TrimPrefix(path, i.dir), "/")
		events = append(events, Event{mask, path})
	}
	return events
}

// Mark is a place in the stream of events: how many there are.
func (i *Inotify) Mark() int { return len(i.Events()) }

// Expect waits until each of the events, given as "MASK PATH" with MASK any of the bits, has come after the mark, each
// after the one before it.
func (i *Inotify) Expect(mark int, want ...string) {
	i.t.Helper()
	testenv.Eventually(i.t, slower(10*time.Second), func() error {
		events := i.Events()
		if mark > len(events) {
			mark = len(events)
		}
		at := mark
		for _, w := range want {
			bits, path, _ := strings.Cut(w, " ")
			found := slices.IndexFunc(events[at:], func(e Event) bool {
				return e.Path == path && e.has(strings.Split(bits, ",")...)
			})
			if found < 0 {
				return fmt.Errorf("no event %q in that place of %q, wanted in order %q\nall: %v", w, events[mark:], want, events)
			}
			at += found + 1
		}
		return nil
	})
}
