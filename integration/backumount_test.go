package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
)

// TestS23_UnmountInRestart: a mount that is unmounted at any moment of its restart stays unmounted, whoever does it and how, and
// nothing is left of it. COMMYFS_TEST_KILLS sets how often.
func TestS23_UnmountInRestart(t *testing.T) {
	rounds := 2
	if n, err := strconv.Atoi(os.Getenv("COMMYFS_TEST_KILLS")); err == nil {
		rounds = n
	}
	for _, user := range []int{0, nobody} {
		t.Run(fmt.Sprint("user ", user), func(t *testing.T) {
			h := NewHost(t)
			umounts := []string{`"$1" umount "$2"`, `"$1" umount --lazy "$2"`}
			if user != 0 {
				testenv.Need(t, "setpriv", "fusermount3")
				h.BelongsTo(user)
				umounts = append(umounts, `fusermount3 -u "$2"`, `fusermount3 -u -z "$2"`)
			} else {
				umounts = append(umounts, `umount "$2"`, `umount -l "$2"`)
			}
			h.crashed = true
			for i := range rounds {
				for _, umount := range umounts {
					queue := []string{"--offline=fail", "--offline=queue"}[i%2] // which is made anew
					a := h.Mount(often, queue)
					h.guardOf(a.Dir)
					pid := h.serving(a.Dir)
					if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
						t.Fatal(err)
					}
					time.Sleep(rand.N(120 * time.Millisecond))
					// It can be in use for a moment, by the heir itself.
					testenv.Eventually(t, slower(20*time.Second), func() error {
						r := h.Shell(umount, binary, a.Dir)
						if r.Code != 0 && len(mountsBelow(a.Dir)) > 0 {
							return fmt.Errorf("%v", r)
						}
						return nil
					})
					left := func() error {
						if g := h.guards(); len(g) > 0 {
							return fmt.Errorf("guards %v", g)
						}
						if pid := h.serving(a.Dir); pid != 0 {
							return fmt.Errorf("process %d serves it", pid)
						}
						if m := mountsBelow(a.Dir); len(m) > 0 {
							return fmt.Errorf("mounted: %v", m)
						}
						return nil
					}
					testenv.Eventually(t, slower(20*time.Second), left)
					a.Wait(slower(5 * time.Second))
				}
			}
		})
	}
}
