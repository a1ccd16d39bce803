// Package examples_test compiles the readers of other languages, as their users do, and has them read what servers write.
package examples_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/memfile"
)

const bound = 30 * time.Second

var binaries string // where compiled programs are

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "commyfs-examples")
	if err != nil {
		panic(err)
	}
	binaries = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// program is compiled once, when a test needs it first.
type program struct {
	name    string
	command []string // without the output file; the first word is the compiler, the last the source
	once    sync.Once
	out     []byte
	err     error
}

var (
	cFlags     = []string{"-Wall", "-Wextra", "-Wpedantic", "-Werror"}
	checkC     = &program{name: "check-c", command: slices.Concat([]string{"cc", "-std=c11", "-O2"}, cFlags, []string{"testdata/check.c"})}
	checkASan  = &program{name: "check-asan", command: slices.Concat([]string{"cc", "-std=c11", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"}, cFlags, []string{"testdata/check.c"})}
	checkCPP   = &program{name: "check-cpp", command: slices.Concat([]string{"c++", "-x", "c++", "-std=c++17", "-O2"}, cFlags, []string{"testdata/check.c"})}
	checkRust  = &program{name: "check-rust", command: []string{"rustc", "--edition", "2021", "-D", "warnings", "-O", "testdata/check.rs"}}
	checkers   = []*program{checkC, checkCPP, checkRust}
	watchC     = &program{name: "watch-c", command: slices.Concat([]string{"cc", "-std=c11", "-O2"}, cFlags, []string{"c/watch.c"})}
	watchRust  = &program{name: "watch-rust", command: []string{"rustc", "--edition", "2021", "-D", "warnings", "-O", "rust/watch.rs"}}
	withPread  = []string{"PREAD=1"}
	bothAccess = map[string][]string{"mapped": nil, "pread": withPread}
)

// path compiles the program.
func (p *program) path(t *testing.T) string {
	t.Helper()
	testenv.Need(t, p.command[0])
	out := filepath.Join(binaries, p.name)
	p.once.Do(func() {
		p.out, p.err = exec.Command(p.command[0], append(p.command[1:], "-o", out)...).CombinedOutput()
	})
	if p.err != nil || len(p.out) > 0 {
		t.Fatalf("%s: %v\n%s", p.name, p.err, p.out)
	}
	return out
}

// run runs a program to its end, which must come.
func run(t *testing.T, env []string, name string, args ...string) (out string, code int) {
	t.Helper()
	p := start(t, env, name, args...)
	return p.wait(t)
}

// process is a program that runs.
type process struct {
	cmd    *exec.Cmd
	cancel func()
	out    strings.Builder
	ended  chan error
	mu     sync.Mutex // guards out
}

func start(t *testing.T, env []string, name string, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*bound)
	p := &process{cmd: exec.CommandContext(ctx, name, args...), cancel: cancel, ended: make(chan error, 1)}
	p.cmd.Env = append(append(os.Environ(), "ASAN_OPTIONS=exitcode=99", "UBSAN_OPTIONS=exitcode=99"), env...)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.ended <- p.cmd.Wait() }()
	t.Cleanup(cancel)
	return p
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *process) printed() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// wait returns the exit code. To be killed, to take too long, or a sanitizer's report is no way to end.
func (p *process) wait(t *testing.T) (out string, code int) {
	t.Helper()
	err := <-p.ended
	p.cancel()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || !exit.Exited()) {
		t.Errorf("%v: %v\n%s", p.cmd.Args, err, p.printed())
	}
	if out := p.printed(); strings.Contains(out, "Sanitizer") || strings.Contains(out, "runtime error") {
		t.Errorf("%v: %s", p.cmd.Args, out)
	}
	return p.printed(), p.cmd.ProcessState.ExitCode()
}

// await waits until the program has printed something.
func (p *process) await(t *testing.T, want string) {
	t.Helper()
	testenv.Eventually(t, bound, func() error {
		if out := p.printed(); !strings.Contains(out, want) {
			return fmt.Errorf("printed %q, not %q", out, want)
		}
		return nil
	})
}

// asleep waits until the program waits at a word that processes share.
func (p *process) asleep(t *testing.T) {
	t.Helper()
	testenv.Eventually(t, bound, func() error {
		var nr, addr, op uint64
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", p.cmd.Process.Pid))
		if err != nil {
			return err
		}
		if n, _ := fmt.Sscanf(string(b), "%d 0x%x 0x%x", &nr, &addr, &op); n != 3 || nr != unix.SYS_FUTEX || op != 0 {
			return fmt.Errorf("it does not sleep: %s", b)
		}
		return nil
	})
}

var small = memfile.WriterOptions{Service: 7, Store: [16]byte{1, 2, 3}, MinValues: 8 << 10, MinNames: 4 << 10, MinSlots: 16}

func create(t *testing.T, path string, o memfile.WriterOptions, vars ...memfile.Initial) *memfile.Writer {
	t.Helper()
	w, err := memfile.Create(path, o, slices.Values(vars))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func put(t *testing.T, w *memfile.Writer, slot uint32, id, version uint64, name string, value []byte) {
	t.Helper()
	if _, err := w.Put(slot, id, version, int64(version)*10, name, value); err != nil {
		t.Fatal(err)
	}
}

// sealed is the value of number n, as the checkers know it: its length and all bytes follow from n.
func sealed(buf []byte, n uint64) []byte {
	buf = binary.LittleEndian.AppendUint64(buf[:0], n)
	for left := int(n * 7919 % 6000); left > 0; left -= 256 {
		part := cycle[int(byte(n))+8:]
		buf = append(buf, part[:min(left, 256)]...)
	}
	return buf
}

// cycle has the numbers of bytes, twice and more.
var cycle = func() (b [3 * 256]byte) {
	for i := range b {
		b[i] = byte(i)
	}
	return b
}()
