package integration

import (
	"bytes"
	le "encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
)

// rawWatch is an inotify descriptor of this process: unlike inotifywait it shows every event, also of what is watched itself.
type rawWatch struct {
	t     *testing.T
	m     *Mount
	file  *os.File
	names map[int32]string
	ended chan struct{}

	mu     sync.Mutex // guards the following
	events []rawEvent
}

// rawEvent is what happened to what has a name here, or to what is in it.
type rawEvent struct {
	of, file string
	mask     string
	cookie   uint32
}

func (e rawEvent) String() string { return strings.TrimSuffix(e.of+" "+e.mask+" "+e.file, " ") }

var rawMasks = []struct {
	bit  uint32
	name string
}{
	{unix.IN_CREATE, "CREATE"}, {unix.IN_DELETE, "DELETE"}, {unix.IN_MOVED_FROM, "MOVED_FROM"}, {unix.IN_MOVED_TO, "MOVED_TO"},
	{unix.IN_MODIFY, "MODIFY"}, {unix.IN_CLOSE_WRITE, "CLOSE_WRITE"}, {unix.IN_ATTRIB, "ATTRIB"}, {unix.IN_MOVE_SELF, "MOVE_SELF"},
	{unix.IN_DELETE_SELF, "DELETE_SELF"}, {unix.IN_IGNORED, "IGNORED"}, {unix.IN_UNMOUNT, "UNMOUNT"}, {unix.IN_Q_OVERFLOW, "Q_OVERFLOW"},
}

// watchRaw watches paths of a mount, each of which has a name: "name path".
func (m *Mount) watchRaw(t *testing.T, list ...string) *rawWatch {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	w := &rawWatch{t: t, m: m, file: os.NewFile(uintptr(fd), "inotify"), names: map[int32]string{}, ended: make(chan struct{})}
	for _, s := range list {
		name, path, _ := strings.Cut(s, " ")
		var mask uint32
		for _, r := range rawMasks {
			mask |= r.bit
		}
		wd, err := unix.InotifyAddWatch(fd, m.Path(path), mask&unix.IN_ALL_EVENTS)
		if err != nil {
			t.Fatalf("watch %s: %v", path, err)
		}
		w.names[int32(wd)] = name
	}
	go w.run()
	t.Cleanup(w.close)
	return w
}

func (w *rawWatch) run() {
	defer close(w.ended)
	buf := make([]byte, 64<<10)
	for {
		n, err := w.file.Read(buf)
		if err != nil {
			return
		}
		w.mu.Lock()
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			mask, size := le.NativeEndian.Uint32(b[4:]), int(le.NativeEndian.Uint32(b[12:]))
			e := rawEvent{of: w.names[int32(le.NativeEndian.Uint32(b))], cookie: le.NativeEndian.Uint32(b[8:])}
			e.file = string(bytes.TrimRight(b[unix.SizeofInotifyEvent:unix.SizeofInotifyEvent+size], "\x00"))
			for _, r := range rawMasks {
				if mask&r.bit != 0 {
					e.mask = r.name
				}
			}
			w.events = append(w.events, e)
			b = b[unix.SizeofInotifyEvent+size:]
		}
		w.mu.Unlock()
	}
}

func (w *rawWatch) close() {
	_ = w.file.Close()
	<-w.ended
}

func (w *rawWatch) all() []rawEvent {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.events)
}

// mark is how many events there are.
func (w *rawWatch) mark() int { return len(w.all()) }

// has waits until an event has come after a mark.
func (w *rawWatch) has(mark int, want string) {
	w.t.Helper()
	testenv.Eventually(w.t, slower(10*time.Second), func() error {
		events := w.all()[mark:]
		if !slices.ContainsFunc(events, func(e rawEvent) bool { return e.String() == want }) {
			return fmt.Errorf("no event %q on %s: %v", want, w.m.Dir, events)
		}
		return nil
	})
}
