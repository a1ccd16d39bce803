package integration

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
)

// TestS18_Resume: a token of a stream about one service holds in other mounts of the server, as long as the server remembers.
func TestS18_Resume(t *testing.T) {
	t.Parallel()
	h, a, b := twoMounts(t)
	a.Write("t/s/v", "0")
	a.Mkdir("t/other")
	a.Write("t/other/v", "0")
	first := a.Stream("events?path=t%2Fs")
	a.Write("t/s/v", "1")
	token := first.want("modify t/s/v")[0].Token
	first.Kill()

	a.Write("t/s/w", "2")
	a.Mkdir("t/s/d")
	a.Write("t/other/v", "3")
	if err := os.Rename(a.Path("t/s/w"), a.Path("t/s/d/w")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(a.Path("t/s/v")); err != nil {
		t.Fatal(err)
	}
	missed := []string{"create t/s/w", "create t/s/d/", "move t/s/w>t/s/d/w", "delete t/s/v"}
	b.WaitGone("t/s/v") // what a mount hears of while the stream is opened can be told twice
	name := "events?path=t%2Fs&since="
	second := b.Stream(name + url.QueryEscape(token))
	got := second.want(missed...)
	a.Write("t/s/x", "4")
	second.want(append(missed, "create t/s/x")...)
	second.Kill()

	// From the token of a line that another mount was told of, after a remount.
	a.Unmount()
	a = h.Mount()
	third := a.Stream(name + url.QueryEscape(got[len(got)-1].Token))
	third.want("create t/s/x")
	third.Kill()

	// A server that was restarted remembers nothing.
	h.KillServer(h.Status().Server.Pid)
	testenv.Eventually(t, slower(20*time.Second), func() error {
		if a.facts("status")["connected"] != "yes" {
			return errors.New("not connected")
		}
		return nil
	})
	fourth := a.Stream(name + url.QueryEscape(token))
	a.Write("t/s/x", "5")
	testenv.Eventually(t, slower(10*time.Second), func() error {
		got := parseStream(t, fourth.stdout.Lines())
		if len(got) != 2 || got[0].Event != "dropped" || got[1].String() != "modify t/s/x" {
			return fmt.Errorf("told of %v", got)
		}
		return nil
	})
}
