package testenv

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// recorder stands in for a test that is expected to fail or to be skipped.
type recorder struct {
	testing.TB
	failed, skipped string
	cleanups        []func()
}

type stopped struct{}

func (r *recorder) Helper()          {}
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Error(a ...any)   { r.failed = fmt.Sprint(a...) }

func (r *recorder) Fatalf(f string, a ...any) {
	r.failed = fmt.Sprintf(f, a...)
	panic(stopped{})
}

func (r *recorder) Skipf(f string, a ...any) {
	r.skipped = fmt.Sprintf(f, a...)
	panic(stopped{})
}

func record(f func(testing.TB)) *recorder {
	r := &recorder{}
	func() {
		defer func() {
			if p := recover(); p != nil && p != any(stopped{}) {
				panic(p)
			}
		}()
		f(r)
	}()
	for _, c := range r.cleanups {
		c()
	}
	return r
}

func TestNeed(t *testing.T) {
	const absent = "no-such-program-here"
	for _, c := range []struct {
		require         string
		program         string
		failed, skipped bool
	}{
		{"", "sh", false, false},
		{"all", "sh", false, false},
		{"", absent, false, true},
		{"fuse,root", absent, false, true},
		{"all", absent, true, false},
		{"fuse," + absent, absent, true, false},
	} {
		t.Setenv("COMMYFS_REQUIRE", c.require)
		r := record(func(t testing.TB) { Need(t, c.program) })
		if (r.failed != "") != c.failed || (r.skipped != "") != c.skipped {
			t.Errorf("COMMYFS_REQUIRE=%q Need(%q): failed %q, skipped %q", c.require, c.program, r.failed, r.skipped)
		}
	}
}

func TestEventually(t *testing.T) {
	calls := 0
	Eventually(t, time.Minute, func() error {
		if calls++; calls < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if calls != 3 {
		t.Errorf("condition called %d times, want 3", calls)
	}
	r := record(func(t testing.TB) {
		Eventually(t, time.Millisecond, func() error { return errors.New("never") })
	})
	if !strings.Contains(r.failed, "never") {
		t.Errorf("failure %q does not have the condition's last error", r.failed)
	}
}

func TestNoLeaks(t *testing.T) {
	if r := record(func(t testing.TB) {
		NoLeaks(t)
		done := make(chan struct{})
		go close(done)
		<-done
	}); r.failed != "" {
		t.Errorf("failed without a leak: %s", r.failed)
	}
	if testing.Short() {
		return // a leak is only known after its bound
	}
	stop := make(chan struct{})
	defer close(stop)
	if r := record(func(t testing.TB) {
		NoLeaks(t)
		go func() { <-stop }()
	}); !strings.Contains(r.failed, "TestNoLeaks") {
		t.Errorf("leak not seen: %q", r.failed)
	}
}
