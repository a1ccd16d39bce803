package integration

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
)

// Change is a line of `commyfs watch --output json`.
type Change struct {
	Path    string `json:"path"`
	Event   string `json:"event"`
	Version uint64 `json:"version"`
	Size    int64  `json:"size"`
	Writer  string `json:"writer"`
	Time    string `json:"time"`
	Value   string `json:"value_base64"`
}

// Watch is a running `commyfs watch` of a service: every change in the order of the server.
type Watch struct {
	*Proc
	h       *Host
	service string
	markers int
}

const marker = "watch-marker"

// Watch starts to watch a service and returns once its changes are seen.
func (h *Host) Watch(service string, args ...string) *Watch {
	h.t.Helper()
	w := &Watch{Proc: h.Start(append([]string{"watch", "--output", "json", service}, args...)...), h: h, service: service}
	testenv.Eventually(h.t, readyBound, func() error {
		w.mark()
		for _, c := range w.lines() {
			if c.Path == service+"/"+marker {
				return nil
			}
		}
		return fmt.Errorf("watch shows nothing: %s", w.logs())
	})
	return w
}

func (w *Watch) mark() string {
	w.markers++
	value := fmt.Sprint("marker ", w.markers)
	w.h.Must("set", w.service+"/"+marker, value)
	return value
}

func (w *Watch) lines() []Change {
	w.t.Helper()
	var changes []Change
	for _, line := range w.stdout.Lines() {
		var c Change
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			w.t.Fatalf("watch printed %q: %v", line, err)
		}
		changes = append(changes, c)
	}
	return changes
}

// Values returns every value that a variable has had since the watch began, up to now: one order per service, so that
// all of it has come when a change made now has.
func (w *Watch) Values(name string) []string {
	w.t.Helper()
	last := w.mark()
	var values []string
	testenv.Eventually(w.t, slower(10*time.Second), func() error {
		values = values[:0]
		for _, c := range w.lines() {
			b, err := base64.StdEncoding.DecodeString(c.Value)
			if err != nil {
				w.t.Fatalf("watch printed value_base64 %q: %v", c.Value, err)
			}
			switch c.Path {
			case w.service + "/" + name:
				values = append(values, string(b))
			case w.service + "/" + marker:
				if string(b) == last {
					return nil
				}
			}
		}
		return fmt.Errorf("%q not seen\n%s", last, w.logs())
	})
	return values
}
