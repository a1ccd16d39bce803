package bare

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
)

// fussy is an owner that answers at once, from within the call.
type fussy struct {
	f     *File
	found func(list []Found)
}

func (o *fussy) Found(list []Found) { o.found(list) }
func (o *fussy) Stored()            {}
func (o *fussy) Broken(error)       {}

// Nobody has the file open for writing, so there is one chance to tell of what is marked while the owner is being told.
func TestToldAgain(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func(f *File, v Variable) error
	}{
		{"lost", func(f *File, v Variable) error { f.Lost(v.ID); return nil }},
		{"marked, then taken", func(f *File, v Variable) error {
			err := f.Track(v, []byte("otherwis"))
			f.Took(v.ID, v.Version+1)
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			told := make(chan error, 10)
			o := &fussy{}
			times := 0
			o.found = func(list []Found) {
				v := list[0].Variable
				var err error
				if times++; times == 1 {
					err = c.answer(o.f, v)
				} else {
					o.f.Took(v.ID, v.Version+1)
				}
				told <- err
			}
			var err error
			if o.f, err = openDir(t, filepath.Join(t.TempDir(), "bare")).Open(7, 4096, o); err != nil {
				t.Fatal(err)
			}
			o.f.Start()
			if err := o.f.Track(Variable{ID: 1, Size: 8}, []byte("as owner")); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				select {
				case err := <-told:
					if err != nil {
						t.Fatal(err)
					}
				case <-time.After(5 * time.Second):
					t.Fatal("not told again")
				}
			}
		})
	}
}

// withOpened opens a directory whose strange files are told of.
func withOpened(t *testing.T) (*Dir, chan uint64) {
	t.Helper()
	told := make(chan uint64, 100)
	d, err := OpenDir(Options{Path: filepath.Join(t.TempDir(), "bare"), Store: [16]byte{1}, Opened: func(s uint64) { told <- s }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d, told
}

// await waits until it is told of a service.
func await(t *testing.T, told chan uint64, service uint64) {
	t.Helper()
	for {
		select {
		case s := <-told:
			if s == service {
				return
			}
		case <-time.After(bound):
			t.Fatalf("not told of service %d", service)
		}
	}
}

// passed waits until all that the kernel has to say by now has been heard.
func (d *Dir) passed(t *testing.T, told chan uint64) {
	t.Helper()
	path := filepath.Join(d.o.Path, "service_8.mem")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	await(t, told, 8)
}

// What was stored between opening a file and starting to look at it is found, also if who did it is gone.
func TestStoredBeforeStart(t *testing.T) {
	d, told := withOpened(t)
	k := &keeper{t: t, values: map[uint64]Found{}}
	var err error
	if k.f, err = d.Open(7, 4096, k); err != nil {
		t.Fatal(err)
	}
	v := Variable{ID: 1, Size: 8}
	if err := k.f.Track(v, make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	d.mu.Lock() // as if the kernel had told of it before the file was open
	delete(d.files, 7)
	d.mu.Unlock()
	b := program(t, k.f)
	copy(b, "meantime")
	if err := unix.Munmap(b); err != nil {
		t.Fatal(err)
	}
	d.passed(t, told)
	d.mu.Lock()
	d.files[7] = k.f
	d.mu.Unlock()
	k.f.Start()
	k.want(1, "meantime")
}

// What happens to a file while it is being closed is told of like what happens to one that is not open.
func TestStoredBeforeClose(t *testing.T) {
	d, told := withOpened(t)
	k := d.start(t, 4096, Variable{ID: 1, Size: 8})
	testenv.Eventually(t, bound, func() error {
		if !k.f.Quiet() {
			return errors.New("it is not quiet")
		}
		return nil
	})
	d.passed(t, told) // of its being opened
	k.f.mu.Lock()
	k.f.closed = true // as Close begins
	k.f.mu.Unlock()
	b := program(t, k.f)
	copy(b, "too late")
	if err := unix.Munmap(b); err != nil {
		t.Fatal(err)
	}
	d.passed(t, told)
	for len(told) > 0 {
		if <-told == 7 { // the others are what passed waits for
			t.Fatal("told of too early")
		}
	}
	k.f.mu.Lock()
	k.f.closed = false
	k.f.mu.Unlock()
	k.f.Close()
	await(t, told, 7)
}

// A file is not quiet while somebody looks at it: what is found then has nobody been told of.
func TestQuiet(t *testing.T) {
	k := openDir(t, filepath.Join(t.TempDir(), "bare")).start(t, 4096, Variable{ID: 1, Size: 8})
	k.writable(false)
	testenv.Eventually(t, bound, func() error {
		if !k.f.Quiet() {
			return errors.New("it is not quiet")
		}
		return nil
	})
	k.f.mu.Lock()
	k.f.active = true
	k.f.mu.Unlock()
	if k.f.Quiet() {
		t.Error("it is quiet while somebody looks at it")
	}
	k.f.mu.Lock()
	k.f.active = false
	k.f.mu.Unlock()
	d, err := OpenDir(Options{Path: filepath.Join(t.TempDir(), "bare"), noWatch: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	k = d.start(t, 4096)
	k.writable(false)
	if k.f.Quiet() {
		t.Error("it is quiet, and nobody would tell if somebody opened it")
	}
}

// Who ends before what was lost is put again leaves that to the next.
func TestLostTwice(t *testing.T) {
	d := openDir(t, filepath.Join(t.TempDir(), "bare"))
	k := d.start(t, 8192)
	k.f.Applied(5)
	path, _ := k.f.Paths()
	for i, lose := range []func() error{func() error { return os.Truncate(path, 4096) }, func() error { return os.Remove(path) }} {
		k.f.Close()
		if err := lose(); err != nil {
			t.Fatal(err)
		}
		want := int64(4096 * (1 - i))
		for range 2 {
			k = d.start(t, 8192)
			if st := k.f.State(); st.Kept != want || st.Applied != 5 || !st.SameBoot {
				t.Errorf("noted: %+v, want %d bytes kept", st, want)
			}
			k.f.Close()
		}
		k = d.start(t, 8192)
		k.f.Applied(5)
		k.f.Close()
		if k = d.start(t, 8192); k.f.State().Kept != MaxSize {
			t.Errorf("noted: %+v", k.f.State())
		}
	}
}
