//go:build linux && (amd64 || arm64) && !noasm && !race

package diff

import (
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/cpu"
)

// Somebody else's opinion of the machine must lead to the same choice.
func TestChosen(t *testing.T) {
	want := "portable"
	switch x := cpu.X86; {
	case runtime.GOARCH == "arm64":
		want = "neon"
	case x.HasAVX512F && x.HasAVX512BW && x.HasAVX512DQ && x.HasBMI1 && x.HasBMI2:
		want = "avx512"
	case x.HasAVX2:
		want = "avx2"
	}
	if got := Implementation(); got != want {
		t.Errorf("Implementation() = %q, want %q; there are %q", got, want, Implementations())
	}
}

// The name of an implementation is only a name. What really runs shows where it
// meets a page that it may not read.
func TestAssemblyRuns(t *testing.T) {
	page := syscall.Getpagesize()
	cur, shadow := mapped(t, 2*page), make([]byte, 2*page)
	cur[0] = 1
	if err := syscall.Mprotect(cur[page:], syscall.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	eachKernel(t, func(t *testing.T, k kernel) {
		for _, tt := range []struct {
			function string
			from     int
			store    bool
		}{
			{"first", page, false},
			{"scan", 0, false}, // first finds the difference in front of the page
			{"sync", 0, true},
		} {
			shadow[0] = 0
			stack := faultIn(t, func() { run(k, nil, cur[tt.from:], shadow[tt.from:], 0, tt.store) })
			for other := range rows {
				name := "/diff." + tt.function + strings.ToUpper(rows[other].name)
				got := strings.Contains(stack, name+"\n")
				if want := kernel(other) == k && k < kernelPortable; got != want {
					t.Errorf("%s with store %v: %s was called: %v, want %v; the calls were\n%s", rows[k].name, tt.store, name, got, want, stack)
				}
			}
		}
	})
}

// faultIn calls f, which must touch memory that it may not, and gives the names
// of the functions that were being called when it did.
func faultIn(t *testing.T, f func()) (stack string) {
	t.Helper()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() == nil {
			t.Fatal("there was no fault")
		}
		pcs := make([]uintptr, 64)
		frames := runtime.CallersFrames(pcs[:runtime.Callers(0, pcs)])
		for {
			frame, more := frames.Next()
			stack += frame.Function + "\n"
			if !more {
				return
			}
		}
	}()
	f()
	return ""
}
