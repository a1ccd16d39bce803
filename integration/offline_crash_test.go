package integration

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
)

// TestS19_OfflineKill9: a queue outlives kill -9 of its mount and is replayed by the next one, once. The mount cannot start without
// its server; the queue is kept.
func TestS19_OfflineKill9(t *testing.T) {
	t.Parallel()
	a := newAway(t)
	a.near.Write("t/s/v", "before\n")
	a.near.Write("t/s/log", "first\n")
	a.far.WaitValue("t/s/log", "first\n")
	a.cable.Unplug()
	a.client.MustShell(`cd "$1/t/s"; echo sent >> log`, a.dir) // and not answered
	a.cutOff()
	a.client.MustShell(`cd "$1/t/s"; for i in $(seq 20); do echo "$i" >> log; echo "$i" > v; done; echo new > made`, a.dir)
	before := a.queue()
	a.far.KillHard()
	wantError(t, a.client.Run(append([]string{"mount", a.dir, "--offline", "queue", "--timeout", "1s"}, a.args()...)...), 5, "")
	if text := a.client.Must("offline", "list"); !strings.Contains(text, fmt.Sprintf("%d edits of 3 variables", before.Entries)) {
		t.Errorf("list:\n%s", text)
	}
	a.cable.Plug()
	a.reachable()
	a.mount()
	if q := a.queue(); q.Entries != 0 {
		t.Errorf("mounted with %+v", q)
	}
	want := "first\nsent\n" + a.client.MustShell(`seq 20`)
	for _, m := range []*Mount{a.far, a.near} {
		m.WaitValue("t/s/log", want)
		m.WaitValue("t/s/v", "20\n")
		m.WaitValue("t/s/made", "new\n")
	}
	if list := a.asides(); len(list) != 0 {
		t.Errorf("set aside: %+v", list)
	}
}

// TestS19_OfflineKill9InReplay kills the mount while it replays, again and again: nothing is lost, nothing is there twice.
func TestS19_OfflineKill9InReplay(t *testing.T) {
	t.Parallel()
	a := newAway(t)
	a.near.Write("t/s/v", "before\n")
	a.near.Write("t/s/log", "")
	a.far.WaitValue("t/s/v", "before\n")
	const each = 600
	next := 0
	write := func() {
		a.client.MustShell(`cd "$1/t/s"; for i in $(seq "$2" "$3"); do echo "$i" >> log; echo "$i" > v; done; echo x > "made$2"; echo y >> "made$2"`,
			a.dir, fmt.Sprint(next+1), fmt.Sprint(next+each))
		next += each
	}
	rounds := 4
	if n, err := strconv.Atoi(os.Getenv("COMMYFS_TEST_KILLS")); err == nil {
		rounds = n
	}
	for round := range rounds {
		a.far.WaitValue("t/s/log", seq(next))
		a.cutOff()
		write()
		a.cable.Plug()
		// Killed after a while that grows: before, in and after the replay.
		time.Sleep(time.Duration(round) * 25 * time.Millisecond)
		left := 0
		if round%2 == 0 {
			testenv.Eventually(t, slower(20*time.Second), func() error {
				if left = a.queue().Entries; left == 2*each+2 {
					return fmt.Errorf("not begun")
				}
				return nil
			})
		}
		a.far.KillHard()
		a.reachable()
		a.mount()
		a.drained()
		a.near.WaitValue("t/s/log", seq(next))
		a.near.WaitValue("t/s/v", fmt.Sprintf("%d\n", next))
		a.near.WaitValue(fmt.Sprintf("t/s/made%d", next-each+1), "x\ny\n")
		if list := a.asides(); len(list) != 0 {
			t.Fatalf("round %d: set aside: %+v", round, list)
		}
		t.Logf("round %d: killed with %d entries left", round, left)
	}
}

func seq(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintln(&b, i+1)
	}
	return b.String()
}
