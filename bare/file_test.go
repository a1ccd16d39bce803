package bare

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
)

// Stores into a mapping whose descriptor is closed are found, until it is gone; then nothing is looked at any more.
func TestStores(t *testing.T) {
	onEach(t, func(t *testing.T, dir string) {
		k := openDir(t, dir).start(t, 1<<20, Variable{ID: 1, Off: 8, Size: 8}, Variable{ID: 2, Off: 70000, Size: 5000, Version: 5})
		k.writable(false)
		b := program(t, k.f)
		k.writable(true)
		atomic.StoreUint64(word64(b, 8), 0x4142434445464748)
		k.want(1, "HGFEDCBA")
		block := strings.Repeat("block", 1000)
		copy(b[70000:], block)
		if v := k.want(2, block); v.Version <= 5 {
			t.Errorf("found as version %d", v.Version)
		}
		for i := range 200 {
			atomic.StoreUint64(word64(b, 8), uint64(i))
		}
		k.want(1, "\xc7\x00\x00\x00\x00\x00\x00\x00")
		atomic.StoreUint64(word64(b, 8), 1) // right before it goes
		if err := unix.Munmap(b); err != nil {
			t.Fatal(err)
		}
		k.want(1, "\x01\x00\x00\x00\x00\x00\x00\x00")
		k.writable(false)
		testenv.Eventually(t, bound, func() error {
			k.f.mu.Lock()
			defer k.f.mu.Unlock()
			if k.f.active {
				return errors.New("it is still looked after")
			}
			return nil
		})
		scans := k.f.Stats().Scans
		path, _ := k.f.Paths()
		for range 3 { // who only reads is no reason to look
			if _, err := os.ReadFile(path); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(50 * time.Millisecond) // nothing is to happen
		if now := k.f.Stats().Scans; now != scans {
			t.Errorf("%d scans while nobody has the file open for writing", now-scans)
		}
	})
}

// write(2) by a program that is gone at once.
func TestWrites(t *testing.T) {
	onEach(t, func(t *testing.T, dir string) {
		k := openDir(t, dir).start(t, 1<<16, Variable{ID: 1, Off: 4090, Size: 12})
		path, _ := k.f.Paths()
		cmd := exec.Command("dd", "of="+path, "bs=1", "seek=4090", "conv=notrunc", "status=none")
		cmd.Stdin = strings.NewReader("hello, world")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		k.want(1, "hello, world")
		k.writable(false)
	})
}

// A process that is killed in the middle of storing.
func TestKilled(t *testing.T) {
	k := openDir(t, filepath.Join(t.TempDir(), "bare")).start(t, 1<<16, Variable{ID: 1, Off: 0, Size: 8})
	path, _ := k.f.Paths()
	cmd := exec.Command("python3", "-c", `
import mmap, struct, sys
f = open(sys.argv[1], "r+b")
m = mmap.mmap(f.fileno(), 0)
f.close()
i = 0
while True:
    i += 1
    struct.pack_into("<Q", m, 0, i)
    struct.pack_into("<Q", m, 8, i)
    if i == 100: print("going", flush=True)
`, path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, bound, func() error {
		if v := k.value(1); v.Version < 10 {
			return fmt.Errorf("version %d", v.Version)
		}
		return nil
	})
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	b := make([]byte, 8)
	if err := k.f.Load(b, 0); err != nil {
		t.Fatal(err)
	}
	k.want(1, string(b))
	k.writable(false)
}

// What is put is in the file, whoever stores meanwhile, and the next store is found again.
func TestPut(t *testing.T) {
	onEach(t, func(t *testing.T, dir string) {
		word, block := Variable{ID: 1, Off: 0, Size: 8}, Variable{ID: 2, Off: 5000, Size: 10000}
		k := openDir(t, dir).start(t, 1<<16, word, block)
		b := program(t, k.f)
		k.writable(true)
		var stop atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() {
			for n := uint64(0); !stop.Load(); n = (n + 1) % 256 {
				atomic.StoreUint64(word64(b, 0), n*0x0101010101010101)
			}
		})
		defer wg.Wait()
		defer stop.Store(true)
		end := time.Now().Add(time.Second)
		for i := uint64(0); time.Now().Before(end); i++ {
			data := bytes.Repeat([]byte{byte(i)}, int(block.Size))
			block.Version, word.Version = i, i
			if err := k.f.Put(block, data); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b[5000:15000], data) {
				t.Fatal("the file has not what was put")
			}
			if err := k.f.Put(word, bytes.Repeat([]byte{byte(i)}, 8)); err != nil {
				t.Fatal(err)
			}
			n := atomic.LoadUint64(word64(b, 0))
			if n%0x0101010101010101 != 0 {
				t.Fatalf("the word is a mixture: %x", n)
			}
		}
		stop.Store(true)
		wg.Wait()
		atomic.StoreUint64(word64(b, 0), 42)
		v := k.want(1, "\x2a\x00\x00\x00\x00\x00\x00\x00")
		if v.Version <= word.Version {
			t.Errorf("found as version %d, after %d was put", v.Version, word.Version)
		}
		if v := k.value(2); v.ID != 0 {
			t.Errorf("what was put was found: %.20q", v.Data)
		}
	})
}

// A variable that is stored piece by piece is told of when it is complete.
func TestHoldsStill(t *testing.T) {
	v := Variable{ID: 1, Off: 64, Size: 4000}
	k := openDir(t, filepath.Join(t.TempDir(), "bare")).start(t, 1<<16, v)
	b := program(t, k.f)
	k.writable(true)
	for i := byte(1); i < 100; i++ {
		for n := range v.Size {
			b[v.Off+n] = i
		}
		k.want(1, strings.Repeat(string([]byte{i}), int(v.Size)))
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	// On a busy machine the program may be stopped half-way for longer than it takes to be seen as holding still.
	if k.told < 99 || k.told > 99+9 {
		t.Errorf("told of %d values, want 99: some are mixtures", k.told)
	}
}

// What was not taken is told of again, and what comes while something is out comes behind it.
func TestLost(t *testing.T) {
	k := openDir(t, filepath.Join(t.TempDir(), "bare")).start(t, 1<<16, Variable{ID: 1, Off: 0, Size: 8}, Variable{ID: 2, Off: 8, Size: 8})
	b := program(t, k.f)
	k.mu.Lock()
	k.hold = true
	k.mu.Unlock()
	held := func(n int) {
		t.Helper()
		testenv.Eventually(t, bound, func() error {
			k.mu.Lock()
			defer k.mu.Unlock()
			if len(k.held) != n {
				return fmt.Errorf("told of %d, want %d", len(k.held), n)
			}
			return nil
		})
	}
	atomic.StoreUint64(word64(b, 0), 1)
	held(1)
	atomic.StoreUint64(word64(b, 0), 2)
	atomic.StoreUint64(word64(b, 8), 1)
	held(2) // 1 is out
	k.f.Took(1, 10)
	held(3)
	k.mu.Lock()
	if v := k.held[2]; v.ID != 1 || v.Version != 10 || v.Data[0] != 2 {
		t.Errorf("then %+v came", v)
	}
	k.mu.Unlock()
	k.f.Renumber(1, 20) // it is out, and told of again over the version that is now known
	held(4)
	k.mu.Lock()
	if v := k.held[3]; v.ID != 1 || v.Version != 20 || v.Data[0] != 2 {
		t.Errorf("then %+v came", v)
	}
	k.hold = false
	k.mu.Unlock()
	k.f.Lost(1)
	k.want(1, "\x02\x00\x00\x00\x00\x00\x00\x00")
}

func TestBell(t *testing.T) {
	onEach(t, func(t *testing.T, dir string) {
		v := Variable{ID: 1, Off: 3 * PageSize, Size: 100}
		k := openDir(t, dir).start(t, 1<<20, v)
		b := program(t, k.f)
		k.writable(true)
		_, path := k.f.Paths()
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		bell, err := unix.Mmap(int(file.Fd()), 0, bellSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Munmap(bell) }()
		if string(bell[:8]) != bellMagic || *word64(bell, offSize) != 1<<20 {
			t.Errorf("the bell is %q", bell[:64])
		}
		k.f.neverScanned()
		for i := byte(1); i < 20; i++ {
			value := bytes.Repeat([]byte{i}, 100)
			copy(b[v.Off:], value)
			atomic.OrUint64(word64(bell, bellHeader), 1<<3)
			atomic.AddUint32(word32(bell, offBell), 1)
			if atomic.LoadUint32(word32(bell, offListening)) != 0 {
				wakeAll(word32(bell, offBell))
			}
			k.want(1, string(value))
		}
		if n := k.f.Stats().Rung; n == 0 {
			t.Error("the bell was not heard")
		}
		// Others are told of changes.
		was := atomic.LoadUint32(word32(bell, offChanges))
		woken := make(chan struct{})
		go func() {
			defer close(woken)
			for atomic.LoadUint32(word32(bell, offChanges)) == was {
				_, _, _ = unix.Syscall6(unix.SYS_FUTEX, addrOf(word32(bell, offChanges)), 0, uintptr(was), 0, 0, 0)
			}
		}()
		k.f.Applied(5)
		select {
		case <-woken:
		case <-time.After(bound):
			t.Error("who waits for changes was not woken")
		}
	})
}

// Bytes that are no variable's are told of as such, and wake who waits for changes.
func TestStored(t *testing.T) {
	k := openDir(t, filepath.Join(t.TempDir(), "bare")).start(t, 1<<16, Variable{ID: 1, Off: 0, Size: 8}, Variable{ID: 2, Off: 8, Size: 8})
	b := program(t, k.f)
	_, path := k.f.Paths()
	changes := func() uint32 {
		t.Helper()
		bell, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return *word32(bell, offChanges)
	}
	was := changes()
	stored := func(n int) {
		t.Helper()
		testenv.Eventually(t, bound, func() error {
			k.mu.Lock()
			defer k.mu.Unlock()
			if k.stored != n {
				return fmt.Errorf("told of %d, want %d", k.stored, n)
			}
			return nil
		})
	}
	copy(b, "variables both ") // 15 bytes: of both variables alone
	k.want(2, "s both \x00")
	stored(0)
	b[16] = 1
	stored(1)
	if changes() == was {
		t.Error("nobody was woken")
	}
	copy(b[12:], "both and none")
	k.want(2, "s boboth")
	stored(2)
}

// Without inotify stores are found, if later.
func TestNoWatch(t *testing.T) {
	d, err := OpenDir(Options{Path: filepath.Join(t.TempDir(), "bare"), noWatch: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	k := d.start(t, 1<<16, Variable{ID: 1, Off: 0, Size: 8})
	b := program(t, k.f)
	copy(b, "at last.")
	k.want(1, "at last.")
	if err := unix.Munmap(b); err != nil {
		t.Fatal(err)
	}
	path, _ := k.f.Paths()
	if err := os.WriteFile(path, []byte("written."), 0o600); err != nil { // and cut short
		t.Fatal(err)
	}
	k.want(1, "written.")
	k.writable(false)
}

// However often the bell is rung for one page, stores into another are found.
func TestBell_DoesNotHideOthers(t *testing.T) {
	k := openDir(t, filepath.Join(t.TempDir(), "bare")).start(t, 1<<16, Variable{ID: 1, Off: 0, Size: 8}, Variable{ID: 2, Off: PageSize, Size: 8})
	b := program(t, k.f)
	k.writable(true)
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stop.Load() {
			k.f.ring()
			time.Sleep(50 * time.Microsecond)
		}
	})
	defer wg.Wait()
	defer stop.Store(true)
	copy(b[PageSize:], "in quiet")
	k.want(2, "in quiet")
}

// A file that is opened again knows how far the one before had come.
func TestState(t *testing.T) {
	d := openDir(t, filepath.Join(t.TempDir(), "bare"))
	k := d.start(t, 1<<16)
	if st := k.f.State(); st.Kept != 0 || st.Applied != 0 || st.SameBoot {
		t.Errorf("of a new file it is noted: %+v", st)
	}
	k.f.Applied(12)
	if err := k.f.Put(Variable{ID: 1, Off: 0, Size: 8}, []byte("12345678")); err != nil {
		t.Fatal(err)
	}
	k.f.Close()
	k.f.wantSynced(t, 12)
	k = d.start(t, 1<<16)
	if st := k.f.State(); st != (State{Applied: 12, Synced: 12, SameBoot: true, Kept: MaxSize}) {
		t.Errorf("noted: %+v", st)
	}
	k.f.Applied(13)
	k.f.Close()
	k.f.wantSynced(t, 13)
	_, bell := k.f.Paths()
	state := strings.TrimSuffix(bell, "bell") + "state"
	b, err := os.ReadFile(state)
	if err != nil {
		t.Fatal(err)
	}
	b[offBoot]++ // another boot
	if err := os.WriteFile(state, b, 0o600); err != nil {
		t.Fatal(err)
	}
	k = d.start(t, 1<<16)
	if st := k.f.State(); st.Synced != 13 || st.SameBoot {
		t.Errorf("after another boot it is noted: %+v", st)
	}
	k.f.Close()
	k = d.start(t, 1<<16) // the one before has not put anything
	if st := k.f.State(); st.Synced != 13 || st.SameBoot {
		t.Errorf("noted: %+v", st)
	}
}

// A file that somebody cuts short, removes or replaces is mended.
func TestBroken(t *testing.T) {
	onEach(t, func(t *testing.T, dir string) {
		d := openDir(t, dir)
		k := d.start(t, 1<<16, Variable{ID: 1, Off: 0, Size: 8}, Variable{ID: 2, Off: 5 * PageSize, Size: 8})
		if err := k.f.Put(Variable{ID: 2, Off: 5 * PageSize, Size: 8}, []byte("far away")); err != nil {
			t.Fatal(err)
		}
		b := program(t, k.f)
		copy(b, "here now")
		k.want(1, "here now")
		path, bell := k.f.Paths()
		if err := os.Truncate(path, 4096); err != nil {
			t.Fatal(err)
		}
		if err := k.wantBroken(1); !errors.Is(err, ErrCut) {
			t.Errorf("cut short: %v", err)
		}
		testenv.Eventually(t, bound, func() error {
			got, err := os.ReadFile(path)
			if err == nil && (len(got) != 1<<16 || string(got[5*PageSize:][:8]) != "far away" || string(got[:8]) != "here now") {
				err = fmt.Errorf("%d bytes, %q", len(got), got[:8])
			}
			return err
		})
		for i, replace := range []func() error{
			func() error { return os.Remove(path) },
			func() error { return os.Rename(path, path+".away") },
			func() error {
				if err := os.Symlink("/etc/passwd", path+".link"); err != nil {
					return err
				}
				return os.Rename(path+".link", path)
			},
			func() error {
				if err := unix.Mkfifo(path+".fifo", 0o600); err != nil {
					return err
				}
				return os.Rename(path+".fifo", path)
			},
			func() error {
				if err := os.WriteFile(path+".other", make([]byte, 1<<16), 0o600); err != nil {
					return err
				}
				return os.Rename(path+".other", path)
			},
		} {
			if err := replace(); err != nil {
				t.Fatal(err)
			}
			if err := k.wantBroken(2 + i); !errors.Is(err, ErrReplaced) {
				t.Errorf("replacement %d: %v", i, err)
			}
			got, err := os.ReadFile(path)
			if err != nil || len(got) != 1<<16 || string(got[5*PageSize:][:8]) != "far away" {
				t.Fatalf("replacement %d: %d bytes, %v", i, len(got), err)
			}
			b := program(t, k.f)
			value := fmt.Sprintf("value %d.", i)
			copy(b, value)
			k.want(1, value)
		}
		for _, lose := range []func() error{
			func() error { return os.Remove(bell) },
			func() error { return os.Rename(bell, bell+".away") },
			func() error { return os.Rename(bell+".away", bell) },
		} {
			was, err := os.Stat(bell)
			if err != nil {
				t.Fatal(err)
			}
			if err := lose(); err != nil {
				t.Fatal(err)
			}
			testenv.Eventually(t, bound, func() error {
				now, err := os.Stat(bell)
				if err == nil && os.SameFile(was, now) {
					err = errors.New("the bell is the one that was there")
				}
				return err
			})
		}
		for _, size := range []int64{0, 100, 4096, 5000} {
			if err := os.Truncate(bell, size); err != nil {
				t.Fatal(err)
			}
			k.f.Applied(1) // does not crash
			b := program(t, k.f)
			value := fmt.Sprintf("bell%04d", size)
			copy(b, value)
			k.want(1, value)
		}
	})
}

// What somebody has appended goes when nobody has the file open for writing any more.
func TestLonger(t *testing.T) {
	k := openDir(t, filepath.Join(t.TempDir(), "bare")).start(t, 1<<16, Variable{ID: 1, Off: 0, Size: 8})
	b := program(t, k.f)
	path, _ := k.f.Paths()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(make([]byte, 100000)); err != nil {
		t.Fatal(err)
	}
	copy(b, "not gone")
	k.want(1, "not gone")
	if err := errors.Join(f.Close(), unix.Munmap(b)); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, bound, func() error {
		got, err := os.ReadFile(path)
		if err == nil && (len(got) != 1<<16 || string(got[:8]) != "not gone") {
			err = fmt.Errorf("%d bytes, %q", len(got), got[:8])
		}
		return err
	})
}

func TestForeign(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bare")
	d := openDir(t, dir)
	target := filepath.Join(t.TempDir(), "target")
	if err := os.WriteFile(target, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "service_7.mem")
	for name, put := range map[string]func() error{
		"symlink":   func() error { return os.Symlink(target, path) },
		"hard link": func() error { return os.Link(target, path) },
		"fifo":      func() error { return unix.Mkfifo(path, 0o600) },
		"directory": func() error { return os.Mkdir(path, 0o700) },
	} {
		if err := put(); err != nil {
			t.Fatal(err)
		}
		if f, err := d.Open(7, 4096, &keeper{}); err == nil {
			t.Errorf("%s: opened", name)
			f.Close()
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDir(Options{Path: link}); err == nil {
		t.Error("a directory behind a link is taken")
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(dir, 1, 1); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenDir(Options{Path: dir}); !errors.Is(err, ErrForeign) {
			t.Errorf("another user's directory: %v", err)
		}
	}
}

func TestResize(t *testing.T) {
	d := openDir(t, filepath.Join(t.TempDir(), "bare"))
	k := d.start(t, 1<<16, Variable{ID: 1, Off: 0, Size: 8})
	b := program(t, k.f)
	if err := k.f.Resize(1 << 18); err != nil {
		t.Fatal(err)
	}
	far := Variable{ID: 2, Off: 1<<18 - 8, Size: 8}
	if err := k.f.Put(far, []byte("far away")); err != nil {
		t.Fatal(err)
	}
	copy(b, "old one.") // through the mapping from before
	k.want(1, "old one.")
	after := program(t, k.f)
	copy(after[far.Off:], "and back")
	k.want(2, "and back")
	if err := k.f.Resize(1 << 16); err == nil {
		t.Error("a variable was cut off")
	}
	k.f.Forget(2)
	if err := k.f.Resize(1 << 16); err != nil {
		t.Fatal(err)
	}
	after[far.Off] = '!' // is no fault
	path, _ := k.f.Paths()
	size := func(want int64) {
		t.Helper()
		if st, err := os.Stat(path); err != nil || st.Size() != want {
			t.Errorf("the file is %v, %v, want %d", st, err, want)
		}
	}
	reopen := func() {
		t.Helper()
		k.f.Close()
		k = d.start(t, 1<<16, Variable{ID: 1, Off: 0, Size: 8})
	}
	reopen()
	size(1 << 18)
	for _, m := range [][]byte{b, after} {
		if err := unix.Munmap(m); err != nil {
			t.Fatal(err)
		}
	}
	reopen()
	size(1 << 16)
}

// A large file that is mostly empty takes neither room nor time.
func TestSparse(t *testing.T) {
	onEach(t, func(t *testing.T, dir string) {
		far := Variable{ID: 1, Off: MaxSize - 8, Size: 8}
		k := openDir(t, dir).start(t, MaxSize, far)
		b := program(t, k.f)
		k.writable(true)
		copy(b[far.Off:], "far away")
		k.want(1, "far away")
		path, _ := k.f.Paths()
		if err := unix.Fallocate(fd(t, path), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, MaxSize-PageSize, PageSize); err != nil {
			t.Fatal(err)
		}
		k.want(1, "\x00\x00\x00\x00\x00\x00\x00\x00")
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil || st.Blocks > 1024 {
			t.Errorf("%d blocks are taken (%v)", st.Blocks, err)
		}
		if c := k.f.Stats().Cost; c > 20*time.Millisecond {
			t.Errorf("a scan takes %v", c)
		}
		copy(b[far.Off:], "far away")
		k.want(1, "far away")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := k.wantBroken(1); !errors.Is(err, ErrReplaced) {
			t.Errorf("removed: %v", err)
		}
		if err := unix.Stat(path, &st); err != nil || st.Blocks > 1024 || st.Size != MaxSize {
			t.Errorf("made anew it has %d blocks and %d bytes (%v)", st.Blocks, st.Size, err)
		}
	})
}

func fd(t *testing.T, path string) int {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return int(f.Fd())
}

// A file that is not open is told of when somebody stores into it.
func TestOpened(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bare")
	told := make(chan uint64, 100)
	d, err := OpenDir(Options{Path: dir, Opened: func(s uint64) { told <- s }})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := os.WriteFile(filepath.Join(dir, "service_12.mem"), make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	select {
	case s := <-told:
		if s != 12 {
			t.Errorf("told of %d", s)
		}
	case <-time.After(bound):
		t.Error("not told")
	}
	if l, err := d.Services(); err != nil || len(l) != 1 || l[0] != 12 {
		t.Errorf("services %v, %v", l, err)
	}
	if err := d.Remove(12); err != nil {
		t.Fatal(err)
	}
}

// Who only reads a file that is not open is no reason to open it, who can store into it is.
func TestOpened_Read(t *testing.T) {
	d, told := withOpened(t)
	const n = 400 // more than are asked for at a time
	paths := map[uint64]string{}
	for i := range uint64(n) {
		paths[i+100] = d.path(i+100, "mem")
		if err := os.WriteFile(paths[i+100], make([]byte, PageSize), 0o600); err != nil {
			t.Fatal(err)
		}
		await(t, told, i+100)
	}
	read := func(services ...uint64) {
		t.Helper()
		for _, s := range services {
			if _, err := os.ReadFile(paths[s]); err != nil {
				t.Fatal(err)
			}
		}
	}
	none := func(what string) {
		t.Helper()
		d.passed(t, told)
		for len(told) > 0 {
			if s := <-told; s != 8 { // which passed writes
				t.Errorf("%s: told of %d", what, s)
			}
		}
	}
	drain := func() {
		t.Helper()
		d.passed(t, told)
		for len(told) > 0 {
			<-told
		}
	}
	noReaders := func() {
		t.Helper()
		testenv.Eventually(t, bound, func() error {
			d.readersMu.Lock()
			defer d.readersMu.Unlock()
			if len(d.readers) > 0 {
				return fmt.Errorf("%d files are kept open", len(d.readers))
			}
			return nil
		})
	}
	noReaders()
	drain()
	for range 100 {
		read(100, 101)
	}
	none("read")
	for range 20 {
		f, err := os.OpenFile(paths[100], os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		await(t, told, 100)
		b, err := mapFile(f, PageSize, unix.PROT_READ|unix.PROT_WRITE)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		d.passed(t, told)
		read(100) // it is still mapped
		await(t, told, 100)
		b[0]++
		d.passed(t, told)
		unmap(b)
		await(t, told, 100)
		ro, err := os.Open(paths[100])
		if err != nil {
			t.Fatal(err)
		}
		testenv.Eventually(t, bound, func() error { // the kernel tells of it before it is closed
			if writers(ro) {
				return errors.New("somebody has it open for writing")
			}
			return nil
		})
		_ = ro.Close()
		drain()
		read(100, 101)
		none("read after it was written")
	}
	// Another file in its place.
	read(102)
	if err := os.WriteFile(paths[102]+".next", make([]byte, PageSize), 0o600); err != nil {
		t.Fatal(err)
	}
	next, err := os.OpenFile(paths[102]+".next", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	if err := os.Rename(paths[102]+".next", paths[102]); err != nil {
		t.Fatal(err)
	}
	read(102)
	await(t, told, 102)
	for s := range paths {
		if s != 102 {
			read(s)
		}
	}
	drain()
	noReaders()
	none("nobody did anything")
}

// Ten thousand variables, all stored to at once.
func TestMany(t *testing.T) {
	const n = 10000
	var vars []Variable
	for i := range n {
		vars = append(vars, Variable{ID: uint64(i + 1), Off: int64(i) * 104, Size: 8})
	}
	k := openDir(t, filepath.Join(t.TempDir(), "bare")).start(t, 1<<20, vars...)
	b := program(t, k.f)
	for round := range uint64(20) {
		for _, v := range vars {
			atomic.StoreUint64(word64(b, int(v.Off)), v.ID+round)
		}
	}
	for _, v := range vars {
		want := make([]byte, 8)
		*word64(want, 0) = v.ID + 19
		k.want(v.ID, string(want))
	}
}

// Whatever is in the bell or the state, nothing crashes, and the file is served.
func FuzzFiles(f *testing.F) {
	f.Add([]byte("COMMYBEL"), []byte("COMMYBST"))
	f.Add(encodeBell(7, [16]byte{1}, 4096), encodeState(7, [16]byte{1}, State{Applied: 5, Synced: 3}))
	f.Add(bytes.Repeat([]byte{0xff}, bellSize), bytes.Repeat([]byte{0xff}, stateSize))
	f.Fuzz(func(t *testing.T, bell, state []byte) {
		dir := filepath.Join(t.TempDir(), "bare")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for name, b := range map[string][]byte{"service_7.bell": bell, "service_7.state": state} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		k := openDir(t, dir).start(t, 4096, Variable{ID: 1, Off: 0, Size: 8})
		if st := k.f.State(); st.Synced > st.Applied || st.Applied < 0 {
			t.Errorf("state %+v", st)
		}
		b := program(t, k.f)
		copy(b, "12345678")
		k.want(1, "12345678")
		k.f.ring()
		k.f.Applied(1)
	})
}

// A program that opens the file while changes are being put into it is seen soon.
func TestPut_Opened(t *testing.T) {
	k := openDir(t, filepath.Join(t.TempDir(), "bare")).start(t, 1<<16, Variable{ID: 1, Off: 0, Size: 8})
	word := Variable{ID: 2, Off: 8, Size: 8}
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; !stop.Load(); i++ {
			if err := k.f.Put(word, fmt.Appendf(nil, "%08d", i)); err != nil {
				t.Error(err)
			}
			time.Sleep(100 * time.Microsecond)
		}
	})
	defer wg.Wait()
	defer stop.Store(true)
	const rounds = 9
	late := 0
	for i := range rounds {
		b := program(t, k.f)
		value := fmt.Sprintf("round%03d", i)
		began := time.Now()
		copy(b, value)
		k.want(1, value)
		if time.Since(began) > lendFor/2 {
			late++
		}
		if err := unix.Munmap(b); err != nil {
			t.Fatal(err)
		}
		k.writable(false)
		time.Sleep(2 * lendFor / rounds) // at another moment of lending
	}
	if late > rounds/3 {
		t.Errorf("%d of %d stores were found late", late, rounds)
	}
}
