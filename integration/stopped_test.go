package integration

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
)

// TestS19_StoppedServer: a server that is stopped, and not given up yet or given up already, keeps nobody from what the
// mounts know, and when it goes on everything is as it should be.
func TestS19_StoppedServer(t *testing.T) {
	const (
		timeout = time.Second
		rounds  = 3 // a slow one can be the machine's fault
		bound   = 250 * time.Millisecond
	)
	h := NewHost(t)
	a, b := h.Mount("--timeout", timeout.String()), h.Mount("--timeout", timeout.String())
	names := []string{"t/s/v", "t/s/w", "t/s/d/v"}
	a.Mkdir("t/s/d")
	a.Mkdir("t/s/churn")
	for _, name := range names {
		a.Write(name, name+" 0")
		b.WaitValue(name, name+" 0")
	}
	server := h.Status().Server.Pid
	h.crashed = true // a stopped server can be replaced by another one
	look := func(m *Mount, name, want string) time.Duration {
		began := time.Now()
		got, err := os.ReadFile(m.Path(name))
		if err == nil {
			_, err = os.Stat(m.Path(name))
		}
		if err != nil || string(got) != want {
			t.Errorf("%s of %s: %q, %v; want %q", name, m.Dir, got, err, want)
		}
		return time.Since(began)
	}
	var worst time.Duration
	for round := range rounds {
		// Names change while it is stopped, so that the mounts may have been told half of it: in a directory that the kernel
		// does not lock for what is looked at.
		churn := h.StartCommand("dash", "-c", `while :; do : > "$1/x" && rm -f "$1/x" || exit 0; done`, "dash", a.Path("t/s/churn"))
		if err := syscall.Kill(server, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		worst = 0
		tick := time.NewTicker(20 * time.Millisecond)
		for end := time.Now().Add(5 * timeout / 2); time.Now().Before(end); <-tick.C {
			for _, m := range []*Mount{a, b} {
				for _, name := range names {
					worst = max(worst, look(m, name, fmt.Sprint(name, " ", round)))
				}
			}
		}
		tick.Stop()
		if err := syscall.Kill(server, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		churn.Kill()
		for _, name := range names {
			want := fmt.Sprint(name, " ", round+1)
			testenv.Eventually(t, slower(10*time.Second), func() error { return os.WriteFile(a.Path(name), []byte(want), 0o666) })
			b.WaitValue(name, want)
		}
		if t.Failed() || worst < bound {
			break
		}
	}
	if worst >= bound {
		t.Errorf("the slowest open, read and stat took %v in each of %d rounds", worst, rounds)
	}
}
