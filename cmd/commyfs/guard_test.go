package main

import (
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// lateGuard is the first argument of a guard that starts when its test says so. Its abort file is a socket.
const lateGuard = "late-guard"

// beLateGuard tells its test that it is there, waits to be told that it may start, and is a guard then. If the test wants
// it to forget, no death signal is left by then, as after an exec that gives capabilities.
func beLateGuard(mount string, args []string) error {
	if _, err := unix.Write(3, []byte("r")); err != nil {
		return err
	}
	if n, err := unix.Read(3, make([]byte, 1)); err != nil || n != 1 {
		return err
	}
	if args[1] == "forget" {
		signal.Ignore(deathSignal)
	}
	return beGuard(mount, args)
}

// TestGuardThatStartsLate: the thread of the mount that the guard waits for has ended before the guard could look, while
// another one, which hangs, still keeps the mount's process.
func TestGuardThatStartsLate(t *testing.T) {
	for _, signal := range []string{"keep", "forget"} {
		t.Run(signal, func(t *testing.T) {
			test, abort := sockets(t)
			g := &guard{args: []string{lateGuard, signal, "0", "abort=3"}, files: []*os.File{abort}, log: slog.New(slog.DiscardHandler)}
			var cmd *exec.Cmd
			var err error
			tid, end := onThread(func() { cmd, err = g.start() })
			if err != nil {
				t.Fatal(err)
			}
			_ = abort.Close()
			wantByte(t, test, 'r')
			end()
			for unix.Tgkill(os.Getpid(), tid, 0) == nil {
				time.Sleep(time.Millisecond)
			}
			if _, err := test.WriteString("s"); err != nil {
				t.Fatal(err)
			}
			wantByte(t, test, '1')
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
	}
}

func TestExiting(t *testing.T) {
	tid, end := onThread(func() {})
	if exiting(os.Getpid(), tid) {
		t.Error("a thread that lives")
	}
	end()
	for !exiting(os.Getpid(), tid) {
		time.Sleep(time.Millisecond)
	}
	if exiting(os.Getpid(), os.Getpid()) {
		t.Error("the first thread")
	}
}

// onThread runs f on a thread of its own, which ends when the returned function is called.
func onThread(f func()) (tid int, end func()) {
	tids, ended := make(chan int), make(chan struct{})
	var try func()
	try = func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		if unix.Gettid() == os.Getpid() {
			go try() // the first thread never ends, and is not free for the next goroutine now
			<-ended
			runtime.UnlockOSThread()
			return
		}
		f()
		tids <- unix.Gettid()
		<-ended
	}
	go try()
	return <-tids, func() { close(ended) }
}

// sockets are the two ends of a connection.
func sockets(t *testing.T) (a, b *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.SetNonblock(fds[0], true); err != nil { // for a deadline
		t.Fatal(err)
	}
	a, b = os.NewFile(uintptr(fds[0]), "test"), os.NewFile(uintptr(fds[1]), "abort")
	t.Cleanup(func() { _ = a.Close() })
	return a, b
}

func wantByte(t *testing.T, f *os.File, want byte) {
	t.Helper()
	b := make([]byte, 1)
	err := f.SetReadDeadline(time.Now().Add(30 * time.Second))
	if err == nil {
		_, err = f.Read(b)
	}
	if err != nil || b[0] != want {
		t.Errorf("the guard said %q, %v, want %q", b, err, want)
	}
}
