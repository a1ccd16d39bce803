package bare

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
)

const bound = 20 * time.Second

// keeper is an owner that takes what is found, at once.
type keeper struct {
	t *testing.T
	f *File

	mu     sync.Mutex // guards the following
	hold   bool       // nothing is taken
	values map[uint64]Found
	held   []Found
	broken []error
	stored int
	told   int
}

func (k *keeper) Found(list []Found) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, v := range list {
		k.told++
		if k.hold {
			k.held = append(k.held, v)
			continue
		}
		v.Version++
		k.values[v.ID] = v
		k.f.Took(v.ID, v.Version)
	}
}

func (k *keeper) Stored() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stored++
}

func (k *keeper) Broken(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.broken = append(k.broken, err)
}

func (k *keeper) value(id uint64) Found {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.values[id]
}

func (k *keeper) want(id uint64, value string) Found {
	k.t.Helper()
	testenv.Eventually(k.t, bound, func() error {
		if got := k.value(id).Data; string(got) != value {
			return fmt.Errorf("variable %d is %.40q, want %.40q", id, got, value)
		}
		return nil
	})
	return k.value(id)
}

func (k *keeper) wantBroken(n int) error {
	k.t.Helper()
	var err error
	testenv.Eventually(k.t, bound, func() error {
		k.mu.Lock()
		defer k.mu.Unlock()
		if len(k.broken) < n {
			return fmt.Errorf("told of %d times that the file is broken, want %d", len(k.broken), n)
		}
		err = k.broken[n-1]
		return nil
	})
	return err
}

// onEach runs a test on the file system of the temporary directory and on a tmpfs.
func onEach(t *testing.T, test func(t *testing.T, dir string)) {
	t.Run("disk", func(t *testing.T) { test(t, filepath.Join(t.TempDir(), "bare")) })
	t.Run("tmpfs", func(t *testing.T) {
		dir, err := os.MkdirTemp("/dev/shm", "commyfs")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		test(t, filepath.Join(dir, "bare"))
	})
}

func openDir(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := OpenDir(Options{Path: path, Store: [16]byte{1}, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func (d *Dir) start(t *testing.T, size int64, vars ...Variable) *keeper {
	t.Helper()
	k := &keeper{t: t, values: map[uint64]Found{}}
	f, err := d.Open(7, size, k)
	if err != nil {
		t.Fatal(err)
	}
	k.f = f
	for _, v := range vars {
		b := make([]byte, v.Size)
		if err := f.Load(b, v.Off); err != nil {
			t.Fatal(err)
		}
		if err := f.Track(v, b); err != nil {
			t.Fatal(err)
		}
	}
	f.Start()
	return k
}

// program maps the file as a program does that stores into it.
func program(t *testing.T, f *File) []byte {
	t.Helper()
	path, _ := f.Paths()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	b, err := unix.Mmap(int(file.Fd()), 0, int(st.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(b) }) // twice does no harm
	return b
}

func (k *keeper) writable(want bool) {
	k.t.Helper()
	testenv.Eventually(k.t, bound, func() error {
		if got := k.f.Stats().Writable; got != want {
			return fmt.Errorf("writable is %v, want %v", got, want)
		}
		return nil
	})
}

func addrOf(p *uint32) uintptr { return uintptr(unsafe.Pointer(p)) }

// onDisk is what is noted of the file now.
func (f *File) onDisk(t *testing.T) State {
	t.Helper()
	b, err := os.ReadFile(f.d.path(f.service, "state"))
	if err != nil {
		t.Fatal(err)
	}
	return decodeState(b, f.service, f.d.o.Store)
}

func (f *File) wantSynced(t *testing.T, rev int64) {
	t.Helper()
	testenv.Eventually(t, bound, func() error {
		if st := f.onDisk(t); st.Synced != rev {
			return fmt.Errorf("noted is %+v, want %d synced", st, rev)
		}
		return nil
	})
}
