package hostile

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

const (
	// dataLimit is what the kernel lets the server have. It counts memory that Go has mapped and not yet touched, and
	// that the collector has not yet freed, so it is more than what is in use.
	dataLimit = 1 << 30
	// residentLimit is what the server may have in use at any moment, by its anonymous pages.
	residentLimit = 512 << 20
	// stateLimit bounds what an attack may leave in the state directory. An empty store takes about 40 MiB, and the
	// store does not compact its history before 64 MiB of it.
	stateLimit = 400 << 20
	// storedLimit is the same for attacks whose changes are stored like anybody's: a disk may take 100 MiB a second, and the
	// log of the store is cut only every half minute.
	storedLimit = 1 << 30
	// storingLimit is residentLimit for values that are stored as fast as the disk takes them: what the store has done with is
	// memory until the collector comes round.
	storingLimit = 768 << 20
	startBound   = 20 * time.Second
	// callBound is a mount's --timeout: what takes longer has failed.
	callBound = 5 * time.Second
)

// server is a running commyfs serve.
type server struct {
	t    *testing.T
	dir  string
	cmd  *exec.Cmd
	url  string
	ca   string
	log  bytes.Buffer
	done chan struct{} // closed when the process has ended

	resident atomic.Int64 // the most that was seen
}

func start(t *testing.T) *server {
	t.Helper()
	dir, err := os.MkdirTemp(root, "s")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, dir: dir, done: make(chan struct{})}
	s.cmd = s.command("serve", "--listen", "127.0.0.1:0", "--tls-self-signed")
	s.cmd.Stderr = &s.log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	limitData(t, s.cmd.Process.Pid, dataLimit)
	ready := make(chan error, 1)
	go func() {
		defer close(s.done)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if u, ok := strings.CutPrefix(lines.Text(), "listening "); ok {
				s.url = u
			}
			if f, ok := strings.CutPrefix(lines.Text(), "ca "); ok {
				s.ca = f
				ready <- nil
			}
		}
		err := s.cmd.Wait()
		select {
		case ready <- fmt.Errorf("ended at start: %v", err):
		default:
		}
	}()
	t.Cleanup(s.stop)
	select {
	case err = <-ready:
	case <-time.After(startBound):
		err = errors.New("not ready in time")
	}
	if err != nil {
		t.Fatalf("server: %v", err)
	}
	go s.observe()
	return s
}

// limitData bounds a process's memory, and sees that it holds.
func limitData(t *testing.T, pid int, limit uint64) {
	t.Helper()
	l := unix.Rlimit{Cur: limit, Max: limit}
	if err := unix.Prlimit(pid, unix.RLIMIT_DATA, &l, nil); err != nil {
		t.Fatalf("limit the server's memory: %v", err)
	}
	var got unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_DATA, nil, &got); err != nil || got != l {
		t.Fatalf("the server's memory is limited to %+v (%v), want %+v", got, err, l)
	}
}

func (s *server) command(args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "COMMYFS_STATE_DIR=" + s.dir + "/state", "COMMYFS_RUNTIME_DIR=" + s.dir + "/run",
	}
	return cmd
}

// stop ends the server, and fails the test if it does not end well or has left a panic in its log.
func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(startBound):
		_ = s.cmd.Process.Signal(syscall.SIGQUIT)
		select {
		case <-s.done:
		case <-time.After(time.Second):
			_ = s.cmd.Process.Kill()
			<-s.done
		}
		s.t.Error("the server did not end")
	}
	log := s.log.String()
	bad := !s.cmd.ProcessState.Success() || strings.Contains(log, "panic") || strings.Contains(log, "fatal error")
	if bad {
		s.t.Errorf("server: %v", s.cmd.ProcessState)
	}
	if s.t.Failed() {
		s.t.Logf("log of the server:\n%.6000s", log)
	}
}

// alive reports whether the process runs.
func (s *server) alive() bool {
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

// observe notes the most memory that the server is seen to have in use.
func (s *server) observe() {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-tick.C:
		}
		if n := anonymous(s.cmd.Process.Pid); n > s.resident.Load() {
			s.resident.Store(n)
		}
	}
}

// anonymous is the resident memory of a process that no file is behind.
func anonymous(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kb, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kb << 10
		}
	}
	return 0
}

// stateSize is how much disk the state directory takes.
func (s *server) stateSize() int64 {
	var n int64
	err := filepath.WalkDir(filepath.Join(s.dir, "state"), func(_ string, e iofs.DirEntry, err error) error {
		if errors.Is(err, iofs.ErrNotExist) {
			return nil // it may come and go
		}
		if err != nil {
			return err
		}
		if info, err := e.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok && e.Type().IsRegular() {
				n += st.Blocks * 512
			}
		}
		return nil
	})
	if err != nil {
		s.t.Error(err)
	}
	return n
}

// key makes an API key.
func (s *server) key(name, rights string) string {
	s.t.Helper()
	out, err := s.command("key", "create", name, "--rights", rights).Output()
	if err != nil {
		s.t.Fatalf("key create: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// victim is a server as its clients see it.
type victim struct {
	url, ca, key string
}

func (s *server) victim(key string) victim { return victim{s.url, s.ca, key} }

// dial opens a connection and says hello, as some client.
func (v victim) dial(ctx context.Context) (*transport.Conn, error) {
	conn, err := v.connect(ctx)
	if err != nil {
		return nil, err
	}
	hello := &transport.Hello{ID: make([]byte, 16), Program: "hostile", Host: "here"}
	_, _ = rand.Read(hello.ID)
	if err = conn.Send(transport.Envelope{ID: 1, Message: hello}); err == nil {
		_, err = conn.Receive()
	}
	if err != nil {
		conn.Fail(err)
		return nil, err
	}
	return conn, nil
}

func (v victim) connect(ctx context.Context) (*transport.Conn, error) {
	return transport.Dial(ctx, transport.DialOptions{URL: v.url, CAFile: v.ca, APIKey: v.key, Timeout: callBound})
}

const attackVar = "COMMYFS_HOSTILE_ATTACK"

// attacked has another process attack the server until end is called.
func (v victim) attacked(t *testing.T, name string) (end func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("nice", "-n", "19", self)
	cmd.Env = append(os.Environ(), attackVar+"="+name, "URL="+v.url, "CA="+v.ca, "KEY="+v.key)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	end = func() {
		once.Do(func() {
			_ = in.Close()
			if err := cmd.Wait(); err != nil {
				t.Errorf("the attacker: %v", err)
			}
		})
	}
	t.Cleanup(end)
	return end
}

// beHostile is the attacker's process: it goes on until its input ends.
func beHostile(name string) int {
	if attacks[name] == nil {
		fmt.Fprintf(os.Stderr, "no attack %q\n", name)
		return 1
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	attacks[name](ctx, victim{os.Getenv("URL"), os.Getenv("CA"), os.Getenv("KEY")})
	return 0
}

// good is a client that behaves well.
type good struct {
	cl  *transport.Client
	seq uint64
}

func (s *server) good(key string) *good {
	s.t.Helper()
	conn, err := s.victim(key).dial(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	g := &good{cl: transport.NewClient(conn, transport.ClientOptions{})}
	s.t.Cleanup(func() { _ = g.cl.Close() })
	return g
}

// report carries out changes.
func (g *good) report(changes ...model.Change) error {
	ctx, cancel := context.WithTimeout(context.Background(), callBound)
	defer cancel()
	g.seq++
	a, err := transport.Request[*transport.VariableChangesAcknowledged](ctx, g.cl, &transport.ReportVariableChanges{Seq: g.seq, Acked: g.seq, Changes: changes})
	if err == nil && a.Code != model.CodeOK {
		err = &model.Error{Code: a.Code, Message: a.Message}
	}
	return err
}

func store(service, name string, data []byte) model.Change {
	return model.Change{Op: model.OpStore, Tenant: "t", Service: service, Name: name, Data: data, Create: true, Parents: true}
}

// TestLimitHolds: a process under the limit that asks for more memory does not live. Else no test here could fail.
func TestLimitHolds(t *testing.T) {
	testenv.Need(t, "python3")
	const hog = `
import mmap, sys
sys.stdin.readline()
mmap.mmap(-1, 1 << 30, flags=mmap.MAP_PRIVATE)
print("has it all")`
	cmd := exec.Command("python3", "-c", hog)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	limitData(t, cmd.Process.Pid, dataLimit)
	_, _ = in.Write([]byte("go\n"))
	if err := cmd.Wait(); err == nil || out.Len() > 0 {
		t.Errorf("it ended by %v and said %q", err, out.String())
	}
}
