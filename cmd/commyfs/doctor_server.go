package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	iofs "io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/local"
	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server"
	"github.com/commy-project/commyfs/transport"
)

const (
	// roundTrips is the number of measurements; the median counts.
	roundTrips = 20
	// Slower than this is a warning, on the socket and over a network.
	slowSocket  = 25 * time.Millisecond
	slowNetwork = 250 * time.Millisecond
	// startGrace is how long a server that holds its lock may take to listen.
	startGrace = 2 * time.Second
)

func (a *app) serverChecks(o *doctorOptions) []check {
	d := a.dialer(&o.common, o.logger(a.stderr, slog.LevelWarn), true)
	if !o.isLocal() {
		return []check{
			{"server", func(context.Context) []finding {
				return []finding{skipped("server", "not used with --server"), skipped("leftovers", "not checked with --server")}
			}},
			{"network", d.examineServers},
		}
	}
	return []check{
		{"server", d.examineLocal},
		{"network", func(context.Context) []finding { return []finding{skipped("network", "only with --server")} }},
	}
}

// talk is the server's status and its response time.
type talk struct {
	server   model.ServerInfo
	services int
	rev      int64
	local    bool
	median   time.Duration
	bare     []model.BareInfo
	noLocks  bool // the server is too old to have any
}

// talkTo sends a hello, measures and closes the connection.
func talkTo(ctx context.Context, conn *transport.Conn) (*talk, error) {
	c := transport.NewClient(conn, transport.ClientOptions{})
	defer c.Close()
	if _, err := c.Hello(ctx, greet("doctor"), nil); err != nil {
		return nil, noAnswer(ctx, err)
	}
	t := &talk{local: conn.Local()}
	var took []time.Duration
	for range roundTrips {
		began := time.Now()
		st, err := c.Status(ctx)
		if err != nil {
			return nil, noAnswer(ctx, err)
		}
		took = append(took, time.Since(began))
		t.server, t.services, t.rev, t.bare, t.noLocks = st.Server, st.Services, st.Rev, st.Bare, st.Lease == 0
	}
	slices.Sort(took)
	t.median = took[len(took)/2]
	return t, nil
}

func judgeRoundTrip(t *talk) finding {
	f := good("round-trip", "%s, median of %d", t.median.Round(time.Microsecond), roundTrips)
	slow, fix := slowNetwork, "find a faster route to the server: every write waits that long"
	if t.local {
		slow, fix = slowSocket, "run `top` to see what keeps the processors busy"
	}
	if t.median > slow {
		return f.but(statusWarn, fix)
	}
	return f
}

// localServer is the state of the user's own server.
type localServer struct {
	dirs
	talk   *talk
	err    error
	holder server.LockInfo // who holds a lock; zero if unknown
}

func (d *dialer) examineLocal(ctx context.Context) []finding {
	ctx, cancel := context.WithTimeout(ctx, min(d.o.timeout, askingBound))
	defer cancel()
	s := localServer{dirs: d.o.dirs}
	began := time.Now()
	for {
		conn, err := d.connect(ctx)
		if s.err = noAnswer(ctx, err); err == nil {
			s.talk, s.err = talkTo(ctx, conn)
			break
		}
		s.holder = lockHolder(s.dirs)
		if !isSilent(err) || s.holder.PID == 0 || time.Since(began) > startGrace || !sleep(ctx, autoPoll) {
			break
		}
	}
	if s.err != nil && s.holder.PID == 0 { // it answered at first
		s.holder = lockHolder(s.dirs)
	}
	socket := local.Socket(s.runtime)
	var mode iofs.FileMode
	info, err := os.Lstat(socket)
	if err == nil {
		mode = info.Mode()
	}
	nobody := s.err
	if s.holder.PID != 0 {
		nobody = nil
	}
	return append(judgeLocal(s, currentVersion()), judgeSocket(socket, mode, err, nobody))
}

// isSilent tells a server that gives no answer from one that we are not to have.
func isSilent(err error) bool {
	code := model.CodeOf(err)
	return code == model.CodeDisconnected || code == model.CodeUnavailable
}

func judgeLocal(s localServer, version string) []finding {
	none := skipped("round-trip", "no server to ask")
	socket := local.Socket(s.runtime)
	held := s.holder.PID != 0 && isSilent(s.err)
	switch {
	case s.err == nil:
		t := s.talk
		f := good("server", "running: pid %d, mode %s, version %s, %s, revision %d", t.server.Pid, t.server.Mode, t.server.Version, countOf(t.services, "service"), t.rev)
		if t.server.Version != version {
			f = f.but(statusWarn, "it has another version: unmount everything, so that it exits and the next mount starts a new one")
			if t.server.Mode == server.ModeServe {
				f.Fix = "it has another version: restart `commyfs serve`"
			}
		}
		return append(append([]finding{f, judgeRoundTrip(t)}, judgeLocks(t)...), judgeBare(t.bare)...)
	case held && s.holder.Socket != socket:
		return []finding{good("server", "pid %d serves %s, but on %s", s.holder.PID, s.state, s.holder.Socket).but(statusFail,
			"use --runtime-dir "+quoted(filepath.Dir(s.holder.Socket))), none}
	case held:
		return []finding{good("server", "pid %d holds the lock, but: %s", s.holder.PID, errorLine(s.err)).but(statusFail,
			fmt.Sprintf("run `kill -9 %d`: the next mount or command starts another one", s.holder.PID)), none}
	case local.IsAbsent(s.err):
		return []finding{good("server", "not running: the next mount or command starts it"), none}
	}
	return []finding{troubled("server", s.err, "see server.log in "+quoted(s.state)), none}
}

// judgeLocks says so if the server has no locks.
func judgeLocks(t *talk) []finding {
	if !t.noLocks {
		return nil
	}
	return []finding{good("locks", "the server is too old to have locks: flock and fcntl exclude only programs on the same mount").but(statusWarn,
		"update the server")}
}

// slowScan is from where on stores into a bare service take noticeably long to be found.
const slowScan = 100 * time.Millisecond

// judgeBare looks at the bare services in memory, if there are any.
func judgeBare(list []model.BareInfo) []finding {
	if len(list) == 0 {
		return nil
	}
	var scanned int
	var lost, slow []string
	for _, b := range list {
		name := path{b.Tenant, b.Service, ""}.shown()
		switch {
		case b.NoFile:
			lost = append(lost, name)
		case b.Writable:
			scanned++
			if time.Duration(b.Interval) > slowScan {
				slow = append(slow, fmt.Sprintf("%s every %v", name, time.Duration(b.Interval).Round(time.Millisecond)))
			}
		}
	}
	f := good("bare", "%s in memory, %d open for writing", countOf(len(list), "bare service"), scanned)
	switch {
	case len(lost) > 0:
		f.Detail += ", without a file: " + strings.Join(lost, ", ")
		return []finding{f.but(statusFail, "see server.log in the state directory")}
	case len(slow) > 0:
		f.Detail += ", scanned rarely because they are large: " + strings.Join(slow, ", ")
		return []finding{f.but(statusWarn, "have programs ring the bell (docs/bare.md), or split these services")}
	}
	return []finding{f}
}

// lockHolder finds the process that has the lock of one of the directories by looking: to try the lock could make a
// server that starts in this moment give way.
func lockHolder(d dirs) server.LockInfo {
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return server.LockInfo{}
	}
	for _, name := range []string{filepath.Join(d.state, "lock"), filepath.Join(d.runtime, "server.lock")} {
		var info server.LockInfo
		var st unix.Stat_t
		text, err := os.ReadFile(name)
		if err == nil && json.Unmarshal(text, &info) == nil && unix.Stat(name, &st) == nil && holds(string(locks), info.PID, st.Ino) {
			return info
		}
	}
	return server.LockInfo{}
}

// holds reads proc_locks(5). Devices are not compared: some file systems show another one there than to stat.
func holds(locks string, pid int, inode uint64) bool {
	for line := range strings.Lines(locks) {
		f := strings.Fields(line)
		if len(f) > 5 && f[1] == "FLOCK" && f[4] == strconv.Itoa(pid) && strings.HasSuffix(f[5], ":"+strconv.FormatUint(inode, 10)) {
			return true
		}
	}
	return false
}

// judgeSocket looks for what a server has left that was killed; nobody is who did not answer there.
func judgeSocket(path string, mode iofs.FileMode, statErr, nobody error) finding {
	switch {
	case errors.Is(statErr, iofs.ErrNotExist):
		return good("leftovers", "none")
	case statErr != nil:
		return skipped("leftovers", "%s", errorLine(statErr))
	case mode.Type() != iofs.ModeSocket:
		return good("leftovers", "%s is not a socket and blocks the server's", path).but(statusFail, "run `rm -r "+quoted(path)+"`")
	case local.IsAbsent(nobody):
		return good("leftovers", "%s was left by a server that was killed", path).but(statusWarn, "run `commyfs ls`: it starts a server, which cleans up")
	}
	return good("leftovers", "none")
}
