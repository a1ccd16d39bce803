package core

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/commy-project/commyfs/model"
)

// TestPanicOfACommitter: a session that panics while it commits ends the process, and does not leave a server that stores
// nothing, whoever recovers.
func TestPanicOfACommitter(t *testing.T) {
	const child = "COMMYFS_TEST_PANIC"
	if os.Getenv(child) != "" {
		p := connect(t, startCore(t))
		defer func() {
			_ = recover()
			os.Exit(0)
		}()
		for { // the committer may be faster
			p.seq++
			if _, err := p.HandIn(Ticket{}, &model.Report{Seq: p.seq, Changes: []model.Change{store("v", "x")}}); err != nil {
				t.Fatal(err)
			}
			p.Settle(func() { panic("in place of the committer") })
		}
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPanicOfACommitter$")
	cmd.Env = append(os.Environ(), child+"=1", "TMPDIR="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "panic: in place of the committer") {
		t.Errorf("the process ends with %v: %s", err, out)
	}
}
