package heap

import (
	"context"
	"math"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestDue(t *testing.T) {
	const mb = 1 << 20
	for name, c := range map[string]struct {
		state
		due bool
	}{
		"little":                    {state{0, 4 * mb, 8 * mb, 8 * mb}, false},
		"garbage":                   {state{0, 100 * mb, 200 * mb, 0}, true},
		"free":                      {state{0, 100 * mb, 100 * mb, 50 * mb}, true},
		"little for what is there":  {state{0, 400 * mb, 450 * mb, 50 * mb}, false},
		"less than in the last one": {state{0, 400 * mb, 300 * mb, 0}, false},
		"busy":                      {state{50 * mb, 100 * mb, 200 * mb, 0}, false},
	} {
		if due := new(trimmer).due(c.state); due != c.due {
			t.Errorf("%s: due is %v", name, due)
		}
	}
	// What was left is not tried again, but what comes on top.
	var tr trimmer
	holes := state{0, 100 * mb, 100 * mb, 60 * mb}
	if !tr.due(holes) {
		t.Error("not due")
	}
	tr.did(holes)
	if tr.due(holes) {
		t.Error("due again for what could not be given back")
	}
	holes.free += 50 * mb
	if !tr.due(holes) {
		t.Error("never due again")
	}
}

func TestMeasure(t *testing.T) {
	before := measure()
	keep := make([]byte, 64<<20)
	runtime.GC()
	after := measure()
	runtime.KeepAlive(keep)
	if after.allocated < before.allocated+64<<20 || after.live < 64<<20 || after.objects < 64<<20 {
		t.Errorf("%+v, then %+v", before, after)
	}
	runtime.GC()
	if freed := measure(); freed.live > after.live-32<<20 {
		t.Errorf("%+v, then %+v", after, freed)
	}
}

// TestRoom: what lets the heap grow is not spare, and is not there where memory is limited.
func TestRoom(t *testing.T) {
	before := measure()
	b := ballast()
	runtime.GC()
	goal := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}}
	metrics.Read(goal)
	if got := goal[0].Value.Uint64(); got < room {
		t.Errorf("garbage is collected at %d bytes", got)
	}
	runtime.KeepAlive(b)
	if s := measure(); s.spare() > before.spare()+room/4 {
		t.Errorf("%d bytes seem to be spare, %d before", s.spare(), before.spare())
	}

	limit := debug.SetMemoryLimit(100 << 20)
	defer debug.SetMemoryLimit(limit)
	if n := len(ballast()); limit != math.MaxInt64 || n != 0 {
		t.Errorf("%d bytes where memory is limited, without %d", n, limit)
	}
}

// TestTrimmedRoom: Trim has it.
func TestTrimmedRoom(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { Trim(ctx); close(done) }()
	for measure().live < room/2 {
		runtime.GC()
	}
	cancel()
	<-done
}

// TestUntouched: what lets the heap grow takes no memory in a program that begins with it.
func TestUntouched(t *testing.T) {
	const child = "COMMY_TEST_HEAP"
	if os.Getenv(child) != "" {
		b := ballast()
		if n := resident(t, b); n > room/16 {
			t.Errorf("%d of %d bytes are in memory", n, len(b))
		}
		runtime.KeepAlive(b)
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestUntouched$", "-test.count=1")
	cmd.Env = append(os.Environ(), child+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// resident is how much of b is in memory.
func resident(t *testing.T, b []byte) int {
	t.Helper()
	pages := make([]byte, (len(b)+unix.Getpagesize()-1)/unix.Getpagesize())
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), uintptr(unsafe.Pointer(&pages[0])))
	if errno != 0 {
		t.Fatal(errno) // every Linux has it
	}
	n := 0
	for _, p := range pages {
		n += int(p & 1)
	}
	return n * unix.Getpagesize()
}
