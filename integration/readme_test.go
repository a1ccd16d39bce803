package integration

import (
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
)

// TestREADME runs what the README shows, and compares what it says comes out. Only the places are others: a mount point,
// a state directory and an address of the test's own, and the binary under test instead of what `make run` builds.

func TestREADME_FirstSteps(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "inotifywait", "bash")
	h := NewHost(t)
	s := newShell(h)
	s.places = strings.NewReplacer("/mnt/commy", h.path("mnt"), "/tmp/elsewhere", h.path("elsewhere"),
		// What the Makefile does once it has built.
		"make run", "mkdir -p "+h.path("mnt")+" && bin/commyfs mount "+h.path("mnt")+" --daemon >/dev/null",
		"make stop", "bin/commyfs umount "+h.path("mnt"))
	steps := transcript(t, "")
	for _, want := range []string{"make run", "echo 21.5 ", "cat ", "inotifywait ", "echo 22.0 ", "make stop"} {
		if !slices.ContainsFunc(steps, func(s step) bool { return strings.Contains(s.command, want) }) {
			t.Fatalf("%q is not in %v", want, steps)
		}
	}
	for _, step := range steps {
		s.run(step)
	}
	s.end()
	if left := mountsBelow(h.dir); len(left) > 0 {
		t.Errorf("mounts are left: %v", left)
	}
	if got := h.Must("get", "plant/line1/temp"); got != "22.0\n" {
		t.Errorf("the value that stays is %q", got)
	}
}

func TestREADME_SeveralHosts(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "bash")
	na, nb := Link(t)
	server, other := NewHost(t), NewHost(t)
	server.netns, other.netns = na.Name, nb.Name
	shells := map[string]*shell{"server": newShell(server), "other": newShell(other)}
	for _, s := range shells {
		s.places = strings.NewReplacer("192.0.2.1", na.Addr, "/var/lib/commyfs", s.h.State(), "/mnt/commy", s.h.path("mnt"))
	}
	copied := false
	for _, step := range transcript(t, "Several hosts") {
		s := shells[step.host]
		if s == nil {
			t.Fatalf("on which host is %q?", step.command)
		}
		if s.h == other && !copied { // "Copy `ca.pem` ... and `line1.key` to the others"
			copied = true
			for _, file := range []string{filepath.Join(server.State(), "tls/ca.pem"), server.path("line1.key")} {
				b, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(other.path(filepath.Base(file)), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		s.run(step)
	}
	if !copied {
		t.Fatal("nothing happens on the other host")
	}
	if info, err := os.Stat(server.path("line1.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", info.Mode(), err)
	}
	mnt := other.path("mnt")
	other.MustShell(`mkdir -p "$1/plant/line1"; echo 21.5 > "$1/plant/line1/temp"`, mnt)
	if got := server.Must("get", "plant/line1/temp"); got != "21.5\n" {
		t.Errorf("on the server's host: %q", got)
	}
	if r := other.Shell(`mkdir "$1/elsewhere"`, mnt); r.Code == 0 || !strings.Contains(r.Stderr, "Permission denied") {
		t.Errorf("a tenant that the key does not open: %v", r)
	}
	other.Must("umount", mnt)
	shells["server"].run(step{command: "kill %1; wait %1 || true"})
	for _, s := range shells {
		s.end()
	}
}

func TestREADME_Memory(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "bash", "inotifywait", "python3")
	r := newRemote(t)
	near, far := r.server.Mount(), r.client.Mount(r.args()...)
	server, other := newShell(r.server), newShell(r.client)
	server.places = strings.NewReplacer("/mnt/commy", near.Dir)
	other.places = strings.NewReplacer("/mnt/commy", far.Dir)
	for _, step := range transcript(t, "Memory") {
		switch step.host {
		case "server":
			server.run(step)
		case "other":
			far.WaitFor("plant/cell/temp")
			other.run(step)
		default:
			t.Fatalf("on which host is %q?", step.command)
		}
	}
	server.end()
	other.end()
}

func TestREADME_WithoutMount(t *testing.T) {
	t.Parallel()
	h := NewHost(t)
	var watch *Proc
	lines := blocks(t, "Without a mount")
	if len(lines) != 1 {
		t.Fatalf("%d blocks", len(lines))
	}
	var ran []string
	for _, line := range lines[0] {
		for _, command := range regexp.MustCompile(` {2,}`).Split(line, -1) {
			args := strings.Fields(command)
			if len(args) < 2 || args[0] != "bin/commyfs" {
				t.Fatalf("command %q", command)
			}
			args = args[1:]
			ran = append(ran, args[0])
			if args[0] == "watch" {
				watch = h.Start(args...)
				testenv.Eventually(t, readyBound, func() error {
					h.Must("set", "plant/line1/other", fmt.Sprint(time.Now()))
					if len(watch.stdout.Lines()) == 0 {
						return fmt.Errorf("watch shows nothing")
					}
					return nil
				})
				continue
			}
			out := h.Must(args...)
			switch args[0] {
			case "get":
				if out != "23" {
					t.Errorf("%s: %q", command, out)
				}
			case "ls":
				if want := "plant/\nplant/line1/\nplant/line1/temp\n"; out != want {
					t.Errorf("%s: %q, want %q", command, out, want)
				}
			case "rm":
				watch.WaitLine(slower(10*time.Second), `{"path":"plant/line1/temp","event":"delete"`)
			}
		}
	}
	if got := strings.Join(ran, " "); got != "set get ls watch incr rm status" {
		t.Fatalf("commands: %s", got)
	}
	watch.Signal(syscall.SIGINT)
	if code := watch.Wait(runBound); code != 0 {
		t.Errorf("exit code %d of watch, interrupted", code)
	}
}

func TestREADME_Links(t *testing.T) {
	found := 0
	for _, m := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(readme(t), -1) {
		found++
		if _, err := os.Stat(filepath.Join("..", m[1])); err != nil {
			t.Error(err)
		}
	}
	if found < 5 {
		t.Errorf("%d links", found)
	}
}

// TestDocs_NamedTests: whoever looks up a test that a document names finds it, or one that begins so.
func TestDocs_NamedTests(t *testing.T) {
	var have []string
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	named := regexp.MustCompile("`(Test\\w+)(\\*?)`")
	files := func(pattern string, do func(name string, text []byte)) {
		t.Helper()
		err := filepath.WalkDir("..", func(name string, d iofs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if ok, _ := filepath.Match(pattern, d.Name()); !ok || d.IsDir() {
				return nil
			}
			text, err := os.ReadFile(name)
			do(name, text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	files("*_test.go", func(_ string, text []byte) {
		for _, m := range function.FindAllSubmatch(text, -1) {
			have = append(have, string(m[1]))
		}
	})
	found := 0
	files("*.md", func(name string, text []byte) {
		for _, m := range named.FindAllSubmatch(text, -1) {
			found++
			test, family := string(m[1]), len(m[2]) > 0
			if !slices.ContainsFunc(have, func(s string) bool { return s == test || family && strings.HasPrefix(s, test) }) {
				t.Errorf("%s names %s%s, which is no test", name, test, m[2])
			}
		}
	})
	if found < 30 {
		t.Errorf("%d names of tests in all documents", found)
	}
}

// TestDocs_NamedFunctions: the way of a write leads through functions that are there.
func TestDocs_NamedFunctions(t *testing.T) {
	text, err := os.ReadFile("../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`([a-z/]+\\.go): (\\w+)`").FindAllSubmatch(text, -1)
	if len(named) < 20 {
		t.Fatalf("%d functions named", len(named))
	}
	for _, m := range named {
		code, err := os.ReadFile(filepath.Join("..", string(m[1])))
		if err != nil {
			t.Error(err)
			continue
		}
		if !regexp.MustCompile(`(?m)^func (\([^)]*\) )?` + string(m[2]) + `\b`).Match(code) {
			t.Errorf("%s has no function %s", m[1], m[2])
		}
	}
}

func readme(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// blocks returns the indented blocks of the section with a heading, or of what comes before the first.
func blocks(t *testing.T, heading string) [][]string {
	t.Helper()
	in := heading == ""
	var out [][]string
	open := false
	for line := range strings.Lines(readme(t)) {
		line = strings.TrimRight(line, "\n")
		if title, ok := strings.CutPrefix(line, "## "); ok {
			in = title == heading
		}
		text, indented := strings.CutPrefix(line, "    ")
		switch {
		case !in || !indented:
			open = false
		case open:
			out[len(out)-1] = append(out[len(out)-1], text)
		default:
			open = true
			out = append(out, []string{text})
		}
	}
	if len(out) == 0 {
		t.Fatalf("section %q of the README shows nothing", heading)
	}
	return out
}

// step is a command that the README shows, and the output it shows below.
type step struct {
	host    string // what stands before the prompt
	command string
	output  []string
}

var prompt = regexp.MustCompile(`^([a-z]*)\$ (.*)$`)

func transcript(t *testing.T, heading string) []step {
	t.Helper()
	var out []step
	for _, line := range slices.Concat(blocks(t, heading)...) {
		switch m := prompt.FindStringSubmatch(line); {
		case m != nil:
			out = append(out, step{host: m[1], command: m[2]})
		case len(out) == 0:
			t.Fatalf("output %q before the first command", line)
		default:
			last := &out[len(out)-1]
			last.output = append(last.output, line)
		}
	}
	return out
}

// shell is a bash that is typed into, in a directory with bin/commyfs.
type shell struct {
	*Proc
	h      *Host
	stdin  io.WriteCloser
	places *strings.Replacer
	typed  int
	seen   int // lines of output
}

func newShell(h *Host) *shell {
	h.t.Helper()
	if err := os.Mkdir(h.path("bin"), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Symlink(binary, h.path("bin/commyfs")); err != nil {
		h.t.Fatal(err)
	}
	cmd := h.command("bash", "--norc", "-s")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	s := &shell{Proc: startProc(h.t, cmd), h: h, stdin: stdin, places: strings.NewReplacer()}
	h.started = append(h.started, s.Proc)
	s.typeIn("exec 2>&1")
	return s
}

func (s *shell) typeIn(line string) {
	s.t.Helper()
	if _, err := io.WriteString(s.stdin, line+"\n"); err != nil {
		s.t.Fatalf("%v: %v\n%s", s, err, s.logs())
	}
}

// run types a command, waits for its end and for the output that the README shows, and wants no other. What runs in the
// background may write before or after the end.
func (s *shell) run(step step) {
	s.t.Helper()
	s.typed++
	mark := fmt.Sprintf("<command %d of the test:", s.typed)
	s.typeIn(s.places.Replace(step.command))
	s.typeIn(fmt.Sprintf("echo '%s' $?", mark))
	var want []string
	for _, line := range step.output {
		want = append(want, s.places.Replace(line))
	}
	var got []string
	err := testenv.Poll(readyBound, func() error {
		got = nil
		code := ""
		lines := s.stdout.Lines()
		for _, line := range lines[min(s.seen, len(lines)):] {
			if c, ok := strings.CutPrefix(line, mark+" "); ok {
				code = c
			} else if !strings.Contains(line, "Terminated") { // bash's, of a job
				got = append(got, line)
			}
		}
		if code == "" || len(got) < len(want) {
			return fmt.Errorf("exit code %q, output %q", code, got)
		}
		s.seen = len(lines)
		if code != "0" {
			s.t.Errorf("exit code %s of %q", code, step.command)
		}
		return nil
	})
	if err != nil {
		s.t.Fatalf("%q: %v, want %q", step.command, err, want)
	}
	if !slices.Equal(got, want) {
		s.t.Errorf("%q shows\n%q, the README says\n%q", step.command, got, want)
	}
}

// end ends the shell as Ctrl-D does; what it started has to have ended.
func (s *shell) end() {
	s.t.Helper()
	if err := s.stdin.Close(); err != nil {
		s.t.Error(err)
	}
	s.Wait(runBound)
	lines := s.stdout.Lines()
	for _, line := range lines[s.seen:] {
		if !strings.Contains(line, "Terminated") {
			s.t.Errorf("more output: %q", line)
		}
	}
}
