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

// TestS23_StuckServer: a mount that is killed while its server is stopped gives errors in time, and comes back with the server.
func TestS23_StuckServer(t *testing.T) {
	t.Parallel()
	r := newRemote(t)
	near := r.server.Mount()
	near.Mkdir("t/s")
	near.Write("t/s/v", "1")
	far := r.client.Mount(r.args(often, "--timeout", shortTimeout.String())...)
	far.WaitValue("t/s/v", "1")
	r.client.guardOf(far.Dir)
	pid := r.client.serving(far.Dir)
	r.server.crashed, r.client.crashed = true, true
	stopped(t, r.serve.Pid())
	defer func() { _ = syscall.Kill(r.serve.Pid(), syscall.SIGCONT) }()
	begun := time.Now()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.client.gone(pid)
	p := r.client.StartCommand("stat", far.Dir)
	p.Wait(slower(15 * time.Second))
	t.Logf("an answer after %v: %s", time.Since(begun), p.stderr.String())
	if d := time.Since(begun); d > slower(8*time.Second) {
		t.Errorf("that took %v", d)
	}
	if err := syscall.Kill(r.serve.Pid(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, slower(60*time.Second), func() error {
		data, err := os.ReadFile(far.Path("t/s/v"))
		if err != nil || string(data) != "1" {
			return fmt.Errorf("%q, %v", data, err)
		}
		return nil
	})
	t.Logf("back after %v", time.Since(begun))
	if text := far.stderr.String(); strings.Contains(text, "given up") {
		t.Errorf("%s", text)
	}
}
