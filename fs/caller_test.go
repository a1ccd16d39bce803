package fs

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// A writer inside execve has a status, and no flags: those come when the FLUSH has been answered.
func TestFlushInsideExec(t *testing.T) {
	m := newMount(t, Options{})
	m.put("t/s/v", "old")
	over := make(chan struct{})
	m.callers.open = func(name string) ([]byte, error) {
		if !strings.HasSuffix(name, "/status") {
			<-over
		}
		return os.ReadFile(name)
	}
	f := m.opened("t/s/v", trunc)
	m.ok("write", f.write(0, "new"))
	done := make(chan fuse.Status, 1)
	go func() { done <- f.flush() }()
	select {
	case status := <-done:
		m.ok("flush", status)
	case <-time.After(10 * time.Second):
		t.Error("flush waits for its caller")
		close(over)
		<-done
		return
	}
	m.wantStored("v", "new")
	close(over)
	f.release()
}

// Reads that are held back return, are no more than so many, and are gone with what holds them.
func TestHeldBackReads(t *testing.T) {
	var c callers
	c.init()
	over := make(chan struct{})
	var waiting atomic.Int32
	c.open = func(name string) ([]byte, error) {
		if strings.HasSuffix(name, "/syscall") {
			waiting.Add(1)
			defer waiting.Add(-1)
			<-over
		}
		return []byte("Name:\tx\nTgid:\t7\n"), nil
	}
	for range 3 * maxProbes {
		if _, err := c.read(1, "syscall"); !errors.Is(err, errHeldBack) {
			t.Fatalf("error %v, want %v", err, errHeldBack)
		}
	}
	if n := waiting.Load(); n != maxProbes {
		t.Errorf("%d reads wait, want %d", n, maxProbes)
	}
	if got := c.process(1); got != 7 {
		t.Errorf("process %d while others are held back, want 7", got)
	}
	close(over)
	eventually(t, "the reads have ended", func() bool { return waiting.Load() == 0 && len(c.probes) == 0 })
	if _, err := c.read(1, "syscall"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestProcess(t *testing.T) {
	var c callers
	c.init()
	if got := c.process(uint32(syscall.Gettid())); got != os.Getpid() {
		t.Errorf("process %d, want %d", got, os.Getpid())
	}
	if got := c.process(0); got != 0 {
		t.Errorf("process %d of no thread", got)
	}
}

func TestInGroup(t *testing.T) {
	var f FS
	f.callers.init()
	f.callers.open = func(name string) ([]byte, error) {
		if name != "/proc/5/status" {
			return nil, os.ErrNotExist
		}
		return []byte("Name:\tGroups: 8\nUid:\t9\t9\t9\t9\nGid:\t1\t1\t1\t1\nFDSize:\t64\nGroups:\t4 24 1000 \nNStgid:\t5\n"), nil
	}
	for _, tt := range []struct {
		tid, gid, files uint32
		want            bool
	}{
		{5, 1, 1, true}, // what new files get
		{5, 1, 24, true},
		{5, 1, 1000, true},
		{5, 1, 8, false},
		{5, 1, 100, false},
		{5, 1, 9, false},
		{6, 1, 24, false}, // gone
		{0, 1, 24, false}, // of another pid namespace
		{0, 1, 1, true},
	} {
		f.o.GID = tt.files
		h := fuse.InHeader{Caller: fuse.Caller{Owner: fuse.Owner{Uid: 9, Gid: tt.gid}, Pid: tt.tid}}
		if got := f.inGroup(&h); got != tt.want {
			t.Errorf("thread %d of group %d in %d: %v", tt.tid, tt.gid, tt.files, got)
		}
	}
}

// Who reads a file that somebody is about to write for the first time waits for that, but not for itself.
func TestOpenOfDraft(t *testing.T) {
	m := newMount(t, Options{})
	m.draftWait = time.Hour
	f := m.made("t/s/draft", trunc)
	open := func(pid uint32) chan fuse.Status {
		done := make(chan fuse.Status, 1)
		go func() {
			in := &fuse.OpenIn{InHeader: m.header(f.node), Flags: syscall.O_RDONLY}
			in.Pid = pid
			done <- m.Open(nil, in, &fuse.OpenOut{})
		}()
		return done
	}
	select {
	case status := <-open(uint32(syscall.Getpid())):
		m.ok("open of one's own", status)
	case <-time.After(10 * time.Second):
		t.Fatal("a process waits for itself")
	}
	other := open(1)
	select {
	case <-other:
		t.Error("another process does not wait")
	case <-time.After(100 * time.Millisecond):
	}
	m.ok("write", f.write(0, "value"))
	m.ok("close", f.close())
	m.ok("open of another", <-other)
}

// A task has memory until it ends. One that cannot be seen counts as having some.
func TestHasMemory(t *testing.T) {
	if !hasMemory(uint32(syscall.Gettid())) {
		t.Error("this thread has no memory")
	}
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := uint32(cmd.Process.Pid)
	eventually(t, "a zombie has no memory", func() bool { return !hasMemory(pid) })
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if !hasMemory(pid) {
		t.Error("a task that cannot be seen counts as one that ends")
	}
}
