package testenv

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// leakBound is how long goroutines may take to end after a test.
const leakBound = 5 * time.Second

// NoLeaks fails the test if, after the test and its later cleanups, goroutines are running that were not when NoLeaks was called.
// Call it first, and not in parallel tests, which would see each other's goroutines.
func NoLeaks(t testing.TB) {
	t.Helper()
	before := make(map[string]bool)
	for id := range goroutines() {
		before[id] = true
	}
	t.Cleanup(func() {
		err := Poll(leakBound, func() error {
			var left []string
			for id, stack := range goroutines() {
				if !before[id] {
					left = append(left, stack)
				}
			}
			if len(left) > 0 {
				return fmt.Errorf("%d goroutines left:\n\n%s", len(left), strings.Join(left, "\n\n"))
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// goroutines returns the stacks of all goroutines but those of the runtime and the testing package, by id.
func goroutines() map[string]string {
	buf := make([]byte, 1<<20)
	for {
		n := runtime.Stack(buf, true)
		if n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	stacks := make(map[string]string)
	for _, s := range bytes.Split(buf, []byte("\n\n")) {
		header, _, _ := bytes.Cut(s, []byte(" ["))
		stack := string(s)
		if ownedByTesting(stack) {
			continue
		}
		stacks[string(header)] = stack
	}
	return stacks
}

func ownedByTesting(stack string) bool {
	for _, f := range []string{
		"testing.(*T).Run(", "testing.(*M).", "testing.runTests", "testing.tRunner(", "testing.runFuzzing(",
		"testing/synctest", "os/signal.signal_recv", "os/signal.loop",
	} {
		if strings.Contains(stack, f) {
			return true
		}
	}
	return false
}
