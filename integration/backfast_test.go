package integration

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
)

// TestS23_FastKills kills a mount's process and then the next one at any moment of its beginning, also before it has a guard: the
// mount goes on with what is open, and nothing is left of all those processes. COMMYFS_TEST_KILLS sets how often.
func TestS23_FastKills(t *testing.T) {
	testenv.Need(t, "python3")
	rounds := 12
	if n, err := strconv.Atoi(os.Getenv("COMMYFS_TEST_KILLS")); err == nil {
		rounds = n
	}
	h := NewHost(t)
	a, b := h.Mount(often), h.Mount()
	h.crashed = true
	a.Mkdir("t/s")
	a.Write("t/s/v", "0")
	a.Write("t/s/log", "")
	b.WaitFor("t/s/log")
	held, err := os.OpenFile(a.Path("t/s/v"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	u := h.StartCommand("python3", "-uc", loadWriters["append"], a.Path("t/s/log"), "w")
	u.WaitLine(slower(20*time.Second), "ok ")
	// heir waits for another process than those.
	heir := func(not ...int) (pid int) {
		t.Helper()
		testenv.Eventually(t, slower(20*time.Second), func() error {
			pid = h.serving(a.Dir)
			for _, n := range not {
				if pid == 0 || pid == n {
					return fmt.Errorf("process %d", pid)
				}
			}
			return nil
		})
		return pid
	}
	took := []time.Duration{}
	for i := range rounds {
		h.guardOf(a.Dir)
		begun := time.Now()
		first := h.serving(a.Dir)
		_ = syscall.Kill(first, syscall.SIGKILL)
		second := heir(first, 0)
		time.Sleep(rand.N(80 * time.Millisecond))
		_ = syscall.Kill(second, syscall.SIGKILL)
		heir(first, second, 0)
		text := fmt.Sprintf("%09d", i)
		_, err := held.WriteAt([]byte(text), 0)
		if err = errors.Join(err, held.Sync()); err != nil {
			t.Errorf("round %d: %v", i, err)
		} else {
			b.WaitValue("t/s/v", text)
		}
		took = append(took, time.Since(begun))
		if rest := 400*time.Millisecond - time.Since(begun); rest > 0 { // no more than --restarts in a while
			time.Sleep(rest)
		}
	}
	u.Signal(syscall.SIGTERM)
	u.Wait(runBound)
	h.guardOf(a.Dir)
	count := map[string]int{}
	for line := range strings.Lines(b.Read("t/s/log")) {
		count[strings.TrimSuffix(line, "\n")]++
	}
	r := u.told()
	for _, n := range r.ok {
		if c := count[fmt.Sprint("w-", n)]; c != 1 {
			t.Errorf("append %d was acknowledged, and is there %d times", n, c)
		}
	}
	for line, c := range count {
		if c > 1 {
			t.Errorf("%q is there %d times", line, c)
		}
	}
	t.Logf("%d appends, refused %v", len(r.ok), r.errnos)
	wantBackSoon(t, took)
	held.Close()
	h.Must("umount", a.Dir)
	h.wantGuards(1)
	testenv.Eventually(t, slower(5*time.Second), func() error {
		if pid := h.serving(a.Dir); pid != 0 {
			return fmt.Errorf("process %d is left of the mount", pid)
		}
		return nil
	})
}
