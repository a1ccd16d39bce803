package integration

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
)

// TestS23_MovedOnce: processes that take a mount over, and are killed before they have told of all that was missed, tell of a rename
// once.
func TestS23_MovedOnce(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "bash")
	h := NewHost(t)
	a, b := h.Mount(often), h.Mount()
	furnish("t/r/x", "value", a, b)
	furnish("t/s/d", "value", a, b)
	d := a.dwells("t/s/d")
	defer d.leave()
	w := a.watchRaw(t, "old t/s", "new t/r", "dir t/s/d", "v t/s/d/in/v")
	const later = 1500 // events that are told behind the rename
	h.killedBetween(t, a, func() {
		if err := unix.Rename(b.Path("t/s/d"), b.Path("t/r/e")); err != nil {
			t.Fatal(err)
		}
		for i := range later {
			if err := os.Mkdir(b.Path(fmt.Sprintf("t/r/v%d", i)), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	})
	w.has(0, "new MOVED_TO e")
	for range 2 {
		created := 0
		for _, e := range w.all() {
			if strings.HasPrefix(e.String(), "new CREATE v") {
				created++
			}
		}
		t.Logf("killed when %d of %d events were told", created, later)
		h.kill9(a.Dir)
		testenv.Eventually(t, slower(20*time.Second), func() error {
			if h.serving(a.Dir) == 0 {
				return fmt.Errorf("nobody has the mount")
			}
			_, err := os.Stat(a.Path("t/r"))
			return err
		})
	}
	w.has(0, fmt.Sprintf("new CREATE v%d", later-1))
	d.isIn("t/r/e")
	b.WaitValue("t/r/e/in/v", d.writes())
	moved := 0
	for _, e := range w.all() {
		switch e.mask {
		case "MOVED_FROM", "MOVED_TO", "MOVE_SELF":
			moved++
		case "DELETE_SELF", "IGNORED":
			t.Errorf("a watch has ended: %v", e)
		}
	}
	if moved != 3 {
		t.Errorf("%d events of the rename, want 3", moved)
	}
}
