package bare

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
)

// slowDisk is a directory on a disk that syncs nothing before it is told to.
func slowDisk(t *testing.T) (d *Dir, begun chan struct{}, end chan error) {
	t.Helper()
	begun, end = make(chan struct{}, 100), make(chan error, 100)
	d, err := OpenDir(Options{Path: filepath.Join(t.TempDir(), "bare"), Store: [16]byte{1}, sync: func(int) error {
		begun <- struct{}{}
		return <-end
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 10 {
			end <- nil
		}
		_ = d.Close()
	})
	return d, begun, end
}

func within(t *testing.T, what string, fn func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn()
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatalf("%s waits for the disk", what)
	}
}

// Who closes, opens, or removes a file, or puts something, does not wait for the disk; what is noted as synced is.
func TestClose_Disk(t *testing.T) {
	d, begun, end := slowDisk(t)
	v := Variable{ID: 1, Off: 0, Size: 8}
	k := d.start(t, 4096, v)
	put := func(value string) {
		t.Helper()
		if err := k.f.Put(v, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	within(t, "a put", func() {
		put("12345678")
		k.f.Applied(5)
	})
	within(t, "closing", k.f.Close)
	<-begun // what Close has left
	within(t, "opening", func() { k = d.start(t, 4096, v) })
	if st := k.f.State(); st.Applied != 5 || st.Synced != 0 || !st.SameBoot {
		t.Errorf("opened before it was synced it is noted: %+v", st)
	}
	put("87654321")
	k.f.Applied(6)
	end <- nil // it knows nothing of this one
	<-begun    // which is synced on its own
	if st := k.f.onDisk(t); st.Synced != 0 {
		t.Errorf("noted before it was synced: %+v", st)
	}
	end <- nil
	k.f.wantSynced(t, 6)

	put("failures")
	k.f.Applied(7)
	within(t, "closing", k.f.Close)
	<-begun
	end <- errors.New("the disk is damaged")
	testenv.Eventually(t, bound, func() error {
		d.mu.Lock()
		defer d.mu.Unlock()
		if len(d.left) > 0 {
			return errors.New("it is not given up")
		}
		return nil
	})
	if st := k.f.onDisk(t); st.Synced != 6 || st.Applied != 7 {
		t.Errorf("noted after a failure: %+v", st)
	}
	k = d.start(t, 4096, v) // it is tried again, though nobody changes anything
	<-begun
	end <- nil
	k.f.wantSynced(t, 7)

	put("the last")
	k.f.Applied(8)
	within(t, "closing", k.f.Close)
	within(t, "removing", func() {
		if err := d.Remove(7); err != nil {
			t.Error(err)
		}
	})
	if l, err := os.ReadDir(d.o.Path); err != nil || len(l) != 0 {
		t.Errorf("there is left %v (%v)", l, err)
	}
}

// One file's disk does not keep another open for writing: who stores into it would not be seen.
func TestKeep_Disk(t *testing.T) {
	d, begun, _ := slowDisk(t)
	k := d.start(t, 4096)
	if err := k.f.Put(Variable{ID: 1, Off: 0, Size: 8}, []byte("12345678")); err != nil {
		t.Fatal(err)
	}
	<-begun
	if err := k.f.Put(Variable{ID: 1, Off: 0, Size: 8}, []byte("87654321")); err != nil {
		t.Fatal(err)
	}
	b := program(t, k.f)
	k.writable(true)
	atomic.StoreUint64(word64(b, 0), 0x3131313131313131)
	k.want(1, "11111111")
}

// A file that is closed while it is made anew does not come back.
func TestClose_Removed(t *testing.T) {
	for range 5 {
		d := openDir(t, filepath.Join(t.TempDir(), "bare"))
		k := d.start(t, 1<<24)
		b := program(t, k.f)
		for i := 0; i < len(b); i += PageSize {
			b[i] = 1
		}
		path, _ := k.f.Paths()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		for { // it is being made
			if _, err := os.Stat(path + ".new"); err == nil {
				break
			}
			if _, err := os.Stat(path); err == nil {
				break
			}
		}
		k.f.Close()
		if err := d.Remove(7); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(unix.Munmap(b), d.Close()); err != nil {
			t.Fatal(err)
		}
		if l, err := os.ReadDir(d.o.Path); err != nil || len(l) != 0 {
			t.Fatalf("there is left %v (%v)", l, err)
		}
	}
}
