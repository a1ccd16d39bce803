package bare

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
)

// mapBell maps a file's bell as a program does.
func mapBell(t *testing.T, f *File) []byte {
	t.Helper()
	_, path := f.Paths()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	bell, err := mapFile(file, bellSize, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unmap(bell) })
	return bell
}

// ringFor tells of a page, as a program does.
func ringFor(bell []byte, page int) {
	atomic.OrUint64(word64(bell, bellHeader+8*(page/64)), 1<<(page%64))
	atomic.AddUint32(word32(bell, offBell), 1)
	if atomic.LoadUint32(word32(bell, offListening)) != 0 {
		wakeAll(word32(bell, offBell))
	}
}

// listened waits until the bell is heard.
func listened(t *testing.T, bell []byte) {
	t.Helper()
	testenv.Eventually(t, bound, func() error {
		if atomic.LoadUint32(word32(bell, offListening)) == 0 {
			return fmt.Errorf("nobody listens")
		}
		return nil
	})
}

// neverScanned has what is stored found by the bell alone.
func (f *File) neverScanned() {
	f.mu.Lock()
	f.blind, f.hot = true, 0
	f.scanned = f.d.now()
	f.mu.Unlock()
}

func used(t *testing.T, who int) time.Duration {
	t.Helper()
	var r unix.Rusage
	if err := unix.Getrusage(who, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// Who rings without end for nothing costs little, is heard again afterwards, and others meanwhile.
func TestBell_ForNothing(t *testing.T) {
	d := openDir(t, filepath.Join(t.TempDir(), "bare"))
	v := Variable{ID: 1, Off: 0, Size: 8}
	k := d.start(t, 1<<16, v)
	b, bell := program(t, k.f), mapBell(t, k.f)
	listened(t, bell)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for range 2 {
		const long = 2 * time.Second
		all, own, before := used(t, unix.RUSAGE_SELF), used(t, unix.RUSAGE_THREAD), k.f.Stats().Rung
		for end := time.Now().Add(long); time.Now().Before(end); {
			ringFor(bell, 1)
		}
		cost := used(t, unix.RUSAGE_SELF) - all - (used(t, unix.RUSAGE_THREAD) - own)
		looks := int64(k.f.Stats().Rung - before)
		t.Logf("%v of %v, %d looks", cost, long, looks)
		if looks > int64(long/(2*time.Millisecond)) {
			t.Errorf("bells without end had the file looked at %d times in %v", looks, long)
		}
	}
	time.Sleep(500 * time.Millisecond)
	listened(t, bell)
	k.f.neverScanned()
	copy(b, "in time.")
	ringFor(bell, 0)
	k.want(1, "in time.")
}

// The kernel lets a thread wait for 128 bells; there can be more.
func TestBell_Many(t *testing.T) {
	const n = 300
	d := openDir(t, filepath.Join(t.TempDir(), "bare"))
	var ks []*keeper
	var mems, bells [][]byte
	for i := range uint64(n) {
		k := &keeper{t: t, values: map[uint64]Found{}}
		f, err := d.Open(i+1, PageSize, k)
		if err != nil {
			t.Fatal(err)
		}
		k.f = f
		if err := f.Track(Variable{ID: 1, Off: 0, Size: 8}, make([]byte, 8)); err != nil {
			t.Fatal(err)
		}
		f.Start()
		ks, mems, bells = append(ks, k), append(mems, program(t, f)), append(bells, mapBell(t, f))
	}
	for i, k := range ks {
		listened(t, bells[i])
		k.f.neverScanned()
	}
	for i, k := range ks {
		value := fmt.Sprintf("store%03d", i)
		copy(mems[i], value)
		ringFor(bells[i], 0)
		k.want(1, value)
	}
}
