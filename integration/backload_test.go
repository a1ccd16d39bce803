package integration

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
)

// loadWriters are programs that write to a mount for ever. Each tells what was acknowledged to it: "ok N", or "no N ERRNO".
var loadWriters = map[string]string{
	// appends, each acknowledged by fsync
	"append": `
import os, sys
target, name = sys.argv[1], sys.argv[2]
fd, n = os.open(target, os.O_WRONLY | os.O_APPEND), 0
while True:
    n += 1
    try:
        os.write(fd, b"%s-%d\n" % (name.encode(), n)); os.fsync(fd); print("ok", n, flush=True)
    except OSError as e:
        print("no", n, e.errno, flush=True)`,
	// changes in place, each acknowledged by fsync
	"edit": `
import os, sys
fd, n = os.open(sys.argv[1], os.O_RDWR), 0
while True:
    n += 1
    try:
        os.pwrite(fd, b"%012d" % n, 0); os.fsync(fd); print("ok", n, flush=True)
    except OSError as e:
        print("no", n, e.errno, flush=True)`,
	// changes in place, which nobody acknowledges
	"scribble": `
import os, sys, time
fd, n = os.open(sys.argv[1], os.O_RDWR), 0
while True:
    n += 1
    try:
        os.pwrite(fd, b"%012d" % n, 0)
        if n % 10 == 0: print("ok", n, flush=True)
    except OSError as e:
        print("no", n, e.errno, flush=True)
    time.sleep(0.0005)`,
	// whole values, of which nobody may ever see a part
	"seal": `
import os, sys, hashlib
n = 0
while True:
    n += 1
    body = (b"%d " % n) * (1 + n * 37 % 3000)
    try:
        with open(sys.argv[1], "wb", buffering=0) as f:
            data = hashlib.sha256(body).hexdigest().encode() + b" " + body
            while data: data = data[f.write(data):]
        print("ok", n, flush=True)
    except OSError as e:
        print("no", n, e.errno, flush=True)`,
	// reads them
	"check": `
import sys, hashlib
n = bad = 0
while True:
    try:
        with open(sys.argv[1], "rb", buffering=0) as f:
            data = b""
            while True:
                part = f.read(1 << 16)
                if not part: break
                data += part
    except OSError as e:
        print("no", n, e.errno, flush=True)
        continue
    sum, _, body = data.partition(b" ")
    if hashlib.sha256(body).hexdigest().encode() != sum: print("torn", len(data), flush=True)
    n += 1
    if n % 10 == 0: print("ok", n, flush=True)`,
}

const loadShell = `
	target=$1 n=0
	while :; do
		n=$((n + 1))
		if (echo "$n" > "$target"); then echo "ok $n"; else echo "no $n 0"; fi
	done`

const loadMaker = `
	target=$1 n=0
	while :; do
		n=$((n + 1))
		if (echo "$n" > "$target/f$n"); then echo "ok $n"; else echo "no $n 0"; fi
		if [ $((n % 3)) = 0 ]; then
			if mv "$target/f$n" "$target/g$n" && rm "$target/f$((n - 1))"; then echo "moved $n"; else echo "stuck $n"; fi
		fi
	done`

// told is what a writer has told.
type told struct {
	ok, no []int
	errnos map[string]int
	other  []string
}

func (p *Proc) told() told {
	r := told{errnos: map[string]int{}}
	for _, line := range p.stdout.Lines() {
		f := strings.Fields(line)
		n := 0
		if len(f) > 1 {
			n, _ = strconv.Atoi(f[1])
		}
		switch {
		case len(f) == 2 && f[0] == "ok":
			r.ok = append(r.ok, n)
		case len(f) == 3 && f[0] == "no":
			r.no = append(r.no, n)
			r.errnos[f[2]]++
		default:
			r.other = append(r.other, line)
		}
	}
	return r
}

func (r told) last() int {
	if len(r.ok) == 0 {
		return 0
	}
	return r.ok[len(r.ok)-1]
}

// TestS23_Kill9UnderLoad kills the process of a mount again and again under writers, readers and watchers: nobody hangs, nothing
// that was acknowledged is lost or there twice, no value is torn, and who has something open goes on. COMMYFS_TEST_KILLS sets how
// often.
func TestS23_Kill9UnderLoad(t *testing.T) {
	testenv.Need(t, "python3", "dash", "bash", "inotifywait", "tail")
	kills := 4
	if n, err := strconv.Atoi(os.Getenv("COMMYFS_TEST_KILLS")); err == nil {
		kills = n
	}
	h := NewHost(t)
	a, b := h.Mount(often), h.Mount()
	a.Mkdir("t/s/new")
	a.Mkdir("t/s/cwd")
	seal := "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b 1"
	for name, value := range map[string]string{"log": "", "edit": strings.Repeat("0", 12), "scribble": strings.Repeat("0", 12), "echo": "0\n",
		"seal": seal, "followed": "begin\n"} {
		a.Write("t/s/"+name, value)
		b.WaitFor("t/s/" + name)
	}
	python := func(what, name string, args ...string) *Proc {
		return h.StartCommand("python3", append([]string{"-uc", loadWriters[what], a.Path("t/s/" + name)}, args...)...)
	}
	users := map[string]*Proc{
		"append 0": python("append", "log", "w0"), "append 1": python("append", "log", "w1"), "edit": python("edit", "edit"),
		"scribble": python("scribble", "scribble"), "seal": python("seal", "seal"), "check": python("check", "seal"),
		"echo": h.StartCommand("dash", "-uc", loadShell, "dash", a.Path("t/s/echo")),
		"make": h.StartCommand("dash", "-uc", loadMaker, "dash", a.Path("t/s/new")),
	}
	tail := h.StartCommand("tail", "-n", "+1", "-F", a.Path("t/s/followed"))
	tail.WaitLine(runBound, "begi")
	in := h.Inotify(a.Path("t/s/cwd"))
	sh := h.shellIn(a.Path("t/s/cwd"))

	// Whoever looks from elsewhere sees no value go back.
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		last := map[string]int{}
		for !stop.Load() {
			for _, name := range []string{"edit", "scribble", "echo"} {
				data, err := os.ReadFile(b.Path("t/s/" + name))
				n, nerr := strconv.Atoi(strings.TrimSpace(string(data)))
				if err := errors.Join(err, nerr); err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				if n < last[name] {
					t.Errorf("%s went from %d to %d", name, last[name], n)
				}
				last[name] = n
			}
			time.Sleep(time.Millisecond)
		}
	})
	progress := func() {
		t.Helper()
		from := map[string]int{}
		for name, u := range users {
			from[name] = u.told().last()
		}
		testenv.Eventually(t, slower(20*time.Second), func() error {
			for name, u := range users {
				if u.ended() {
					return fmt.Errorf("%s has ended: %s", name, u.logs())
				}
				if u.told().last() <= from[name] {
					return fmt.Errorf("%s does not go on", name)
				}
			}
			return nil
		})
	}
	progress()
	var took []time.Duration
	for i := range kills {
		time.Sleep(rand.N(150 * time.Millisecond)) // another moment each time
		if i%4 == 0 {
			h.guardOf(a.Dir) // else also while the heir begins
		}
		took = append(took, h.kill9(a.Dir))
		progress()
		from := in.Mark()
		h.MustShell(`echo "$2" >> "$1"; echo "$2" > "$3"`, b.Path("t/s/followed"), fmt.Sprint("line ", i), b.Path(fmt.Sprint("t/s/cwd/x", i%3)))
		tail.WaitLine(runBound, fmt.Sprint("line ", i))
		in.Expect(from, "MODIFY "+fmt.Sprint("x", i%3))
		if got := sh.do(fmt.Sprintf("/bin/pwd; cat x%d", i%3)); got != a.Path("t/s/cwd")+fmt.Sprintf("\nline %d\n", i) {
			t.Errorf("kill %d: the shell says %q", i, got)
		}
	}
	progress()
	stop.Store(true)
	wg.Wait()
	for _, u := range users {
		u.Signal(syscall.SIGTERM)
		u.Wait(runBound)
	}
	for _, e := range in.Events() {
		if e.has("DELETE_SELF") || e.has("IGNORED") || e.has("UNMOUNT") {
			t.Errorf("a watch has ended: %v", e)
		}
	}
	if tail.ended() || in.ended() || sh.ended() {
		t.Error("tail, inotifywait or the shell has ended")
	}
	sh.end()
	tail.Signal(syscall.SIGTERM)
	checkLoad(t, a, users)
	wantBackSoon(t, took)
}

// wantBackSoon wants requests to be answered within a second after a kill. One may take longer, on a machine that has much to do.
func wantBackSoon(t *testing.T, took []time.Duration) {
	t.Helper()
	slices.Sort(took)
	half, most := took[len(took)/2], took[len(took)-1]
	t.Logf("%d kills, answered again after p50 %v, max %v", len(took), half, most)
	if half > slower(time.Second) || most > slower(5*time.Second) {
		t.Error("that is too long")
	}
}

// checkLoad compares what is there with what the writers were told.
func checkLoad(t *testing.T, m *Mount, users map[string]*Proc) {
	t.Helper()
	count := map[string]int{}
	for line := range strings.Lines(m.Read("t/s/log")) {
		count[strings.TrimSuffix(line, "\n")]++
	}
	for name, u := range users {
		r := u.told()
		t.Logf("%s: %d acknowledged, refused %v", name, len(r.ok), r.errnos)
		if len(r.other) > 0 && name != "make" {
			t.Errorf("%s: %q", name, r.other)
		}
		if i, ok := strings.CutPrefix(name, "append "); ok {
			for _, n := range r.ok {
				if c := count["w"+i+"-"+strconv.Itoa(n)]; c != 1 {
					t.Errorf("append %s-%d was acknowledged, and is there %d times", i, n, c)
				}
			}
			for _, n := range r.no {
				if c := count["w"+i+"-"+strconv.Itoa(n)]; c > 1 {
					t.Errorf("append %s-%d was refused, and is there %d times", i, n, c)
				}
			}
		}
	}
	for _, name := range []string{"edit", "scribble", "echo"} {
		n, err := strconv.Atoi(strings.TrimSpace(m.Read("t/s/" + name)))
		if last := users[name].told().last(); err != nil || n < last {
			t.Errorf("%s is %d (%v), acknowledged was %d", name, n, err, last)
		}
	}
	made := users["make"].told()
	lost, moved := 0, map[int]bool{}
	for _, line := range made.other {
		what, n, _ := strings.Cut(line, " ")
		i, _ := strconv.Atoi(n)
		if what == "moved" {
			moved[i] = true
		} else {
			t.Errorf("make: %s: %s", line, tail(users["make"].stderr.String()))
		}
	}
	last := made.last()
	for _, n := range made.ok {
		name := "f" + strconv.Itoa(n)
		switch {
		case n >= last-3: // it may have been ended in the middle
			continue
		case n%3 == 0:
			name = "g" + strconv.Itoa(n)
		case n%3 == 2:
			if _, err := os.Stat(m.Path("t/s/new/" + name)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s was removed, and is there: %v", name, err)
			}
			continue
		}
		if data, err := os.ReadFile(m.Path("t/s/new/" + name)); err != nil || string(data) != strconv.Itoa(n)+"\n" {
			lost++
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	t.Logf("%d files were made, %d lost", len(made.ok), lost)
}
