package bench

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
)

// TestMain lets this binary be the program that is measured: one that has the minimal file system and no other.
func TestMain(m *testing.M) {
	if len(os.Args) < 3 || os.Args[1] != "helper" {
		os.Exit(m.Run())
	}
	var out io.Writer = os.Stdout
	if os.Args[2] == "hang" {
		out = stopper{}
		os.Args = os.Args[1:]
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err := errors.New("there is nothing but the minimal file system")
	if os.Args[2] == "bench-fs" {
		err = ServeMinimal(ctx, os.Args[3], out)
	}
	if err != nil {
		os.Stderr.WriteString("commyfs: " + err.Error() + "\n")
		os.Exit(1)
	}
}

// stopper writes, and stops the process: whoever uses what it serves hangs.
type stopper struct{}

func (stopper) Write(p []byte) (int, error) {
	n, err := os.Stdout.Write(p)
	return n, errors.Join(err, syscall.Kill(os.Getpid(), syscall.SIGSTOP))
}

func testOptions(t *testing.T, args ...string) Options {
	t.Helper()
	testenv.NeedFUSE(t)
	testenv.NoLeaks(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Command: append([]string{exe, "helper"}, args...), Env: []string{"PATH=" + os.Getenv("PATH")}, Dir: t.TempDir(),
		Time: 20 * time.Millisecond, Slice: 10 * time.Millisecond}
	t.Cleanup(func() {
		if left, err := mountsBelow(o.Dir); err != nil || len(left) > 0 {
			t.Errorf("mounts left: %v, %v", left, err)
		}
		if left, err := os.ReadDir(o.Dir); err != nil || len(left) > 0 {
			t.Errorf("files left: %v, %v", left, err)
		}
	})
	return o
}

// What cannot be measured does not keep the rest from being measured, and is named.
func TestRun_Yardsticks(t *testing.T) {
	testenv.Need(t, "dash")
	r, err := Run(t.Context(), testOptions(t))
	const reason = "set up: commyfs mount: there is nothing but the minimal file system"
	if err == nil || !strings.Contains(err.Error(), reason) {
		t.Errorf("error %v, want one with %q", err, reason)
	}
	want := []string{}
	for _, c := range cases {
		want = append(want, c.name+" tmpfs", c.name+" minimal", c.name+" commyfs")
		if c.far {
			want = append(want, c.name+" commyfs_wss")
		}
	}
	for i, res := range r.Results {
		if i >= len(want) || res.Case+" "+res.System != want[i] {
			t.Fatalf("result %d is %+v, want %v", i, res, want)
		}
		ours := res.System == commyfs || res.System == overTLS
		if (res.Error != "") != ours || (res.Count == 0) != ours || res.P50 > res.P99 || !ours && res.P50 <= 0 {
			t.Errorf("%+v", res)
		}
	}
	if len(r.Results) != len(want) {
		t.Errorf("%d results, want %d", len(r.Results), len(want))
	}
	if r.Seconds <= 0 || r.ClockUS <= 0 || r.StateFS == "" {
		t.Errorf("report %+v", r)
	}
}

func TestRun_Cancelled(t *testing.T) {
	o := testOptions(t)
	o.Time = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	mounted := make(chan error, 1)
	go func() {
		defer cancel()
		mounted <- testenv.Poll(20*time.Second, func() error {
			if found, err := mountsBelow(o.Dir); err != nil || len(found) == 0 {
				return errors.Join(err, errors.New("nothing is mounted"))
			}
			return nil
		})
	}()
	if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	if err := <-mounted; err != nil {
		t.Error(err)
	}
}

// A file system that does not answer is ended, and so is the run.
func TestRun_Hangs(t *testing.T) {
	o := testOptions(t, "hang")
	o.Total = 500 * time.Millisecond
	start := time.Now()
	r, err := Run(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), "not over after 500ms") {
		t.Errorf("error %v", err)
	}
	if took := time.Since(start); took > o.Total+stuckBound+stopBound {
		t.Errorf("took %v", took)
	}
	if len(r.Results) == 0 {
		t.Error("no results at all")
	}
}

func TestRun_NoCommand(t *testing.T) {
	if _, err := Run(t.Context(), Options{}); err == nil {
		t.Error("no error")
	}
}

func TestRun_NoDirectory(t *testing.T) {
	o := testOptions(t)
	o.Dir = filepath.Join(o.Dir, "absent")
	if _, err := Run(t.Context(), o); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want %v", err, os.ErrNotExist)
	}
	o.Dir = filepath.Dir(o.Dir)
}
