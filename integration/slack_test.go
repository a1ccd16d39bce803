package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/commy-project/commyfs/internal/slack"
	"github.com/commy-project/commyfs/internal/testenv"
)

// TestTimerSlack: every thread of a mount and of its server has more timer slack, whoever runs them, and they are still found
// by their name and end with their signal.
func TestTimerSlack(t *testing.T) {
	t.Parallel()
	testenv.Root(t) // to see the slack of others
	h := NewHost(t)
	h.BelongsTo(nobody)
	server := h.Serve()
	m := h.Mount()
	h.MustShell(`mkdir -p "$1/t/s" && echo x > "$1/t/s/v"`, m.Dir)
	for _, p := range []*Proc{server.Proc, m.Proc} {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", p.Pid()))
		if err != nil || len(threads) < 3 {
			t.Fatalf("threads %v, error %v", threads, err)
		}
		for _, thread := range threads {
			got, err := os.ReadFile("/proc/" + filepath.Base(thread) + "/timerslack_ns")
			if os.IsNotExist(err) {
				continue // it ended
			}
			if err != nil || strings.TrimSpace(string(got)) != fmt.Sprint(slack.Nanoseconds) {
				t.Errorf("%v: %s has a timer slack of %q ns, error %v", p, thread, got, err)
			}
		}
	}
	m.Unmount()
	server.Stop()
}
