package integration

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
)

// TestS23_ServerDown: a mount that is killed while its server cannot be reached gives errors, and comes back when the server does.
func TestS23_ServerDown(t *testing.T) {
	t.Parallel()
	for _, queue := range []bool{false, true} {
		t.Run(fmt.Sprint("queue ", queue), func(t *testing.T) {
			t.Parallel()
			r := newRemote(t)
			near := r.server.Mount()
			near.Mkdir("t/s")
			near.Write("t/s/v", "before\n")
			args := r.args(often, "--timeout", shortTimeout.String())
			if queue {
				args = append(args, "--offline", "queue")
			}
			far := r.client.Mount(args...)
			far.WaitValue("t/s/v", "before\n")
			r.cable.Unplug()
			want := "before\n"
			if queue {
				testenv.Eventually(t, slower(20*time.Second), func() error {
					if far.Xattr("t/s/v", "user.commy.stale") == "0" {
						return fmt.Errorf("not known to be offline")
					}
					return nil
				})
				far.Write("t/s/v", "offline\n")
				want = "offline\n"
			}
			r.client.guardOf(far.Dir)
			pid := r.client.serving(far.Dir)
			r.client.crashed = true
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			r.client.gone(pid)
			begun := time.Now()
			r.client.wantDead(far.Dir) // and not an empty directory, which somebody could write to
			t.Logf("an error after %v", time.Since(begun))
			testenv.Eventually(t, slower(20*time.Second), func() error { // it has tried
				if text := far.stderr.String(); !strings.Contains(text, "dead until the server can be reached") {
					return fmt.Errorf("the log does not say so: %s", text)
				}
				return nil
			})
			r.client.wantDead(far.Dir)
			r.cable.Plug()
			begun = time.Now()
			testenv.Eventually(t, slower(40*time.Second), func() error {
				data, err := os.ReadFile(far.Path("t/s/v"))
				if err != nil || string(data) != want {
					return fmt.Errorf("%q, %v", data, err)
				}
				return nil
			})
			t.Logf("back after %v", time.Since(begun))
			near.WaitValue("t/s/v", want)
			testenv.Eventually(t, slower(20*time.Second), func() error { // it has left word for the next
				if text := far.stderr.String(); !strings.Contains(text, "the mount goes on") {
					return fmt.Errorf("the log does not say so: %s", text)
				}
				return nil
			})
			if !queue { // which is made anew in any case
				r.client.kill9(far.Dir)
			}
			// Unmounted while it waits for the server, it does not come back.
			r.client.guardOf(far.Dir)
			r.cable.Unplug()
			pid = r.client.serving(far.Dir)
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			r.client.gone(pid)
			r.client.wantDead(far.Dir)
			r.client.Must("umount", far.Dir)
			r.cable.Plug()
			r.client.wantGuards(0)
			if pid := r.client.serving(far.Dir); pid != 0 {
				t.Errorf("process %d serves what was unmounted", pid)
			}
		})
	}
}
