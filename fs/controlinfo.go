package fs

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/commy-project/commyfs/internal/jsonline"
	"github.com/commy-project/commyfs/internal/names"
	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// facts are lines of a name and a value.
type facts struct{ bytes.Buffer }

func (t *facts) put(name string, value any) {
	text := names.Printable(fmt.Sprint(value))
	if text == "" {
		text = "-"
	}
	fmt.Fprintf(t, "%s %s\n", name, text)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// statusText says how the mount is. It has no names of variables: everybody who may come in may read it.
func (f *FS) statusText() []byte {
	var t facts
	connected, down, err := f.c.Connection()
	w := f.c.Welcome()
	t.put("connected", yesNo(connected))
	if connected {
		t.put("stale_since", "")
	} else {
		t.put("stale_since", jsonline.Time(down))
	}
	if err != nil && !connected {
		t.put("stale_reason", err)
	}
	t.put("server", w.Server.URL)
	t.put("server_pid", w.Server.Pid)
	t.put("server_host", w.Server.Host)
	t.put("server_mode", w.Server.Mode)
	t.put("server_version", w.Server.Version)
	t.put("server_started", jsonline.Time(time.Unix(0, w.Server.Started)))
	t.put("store", w.Store)
	s := f.services()
	t.put("access", access(w.Local, s))
	t.put("services", s.known)
	t.put("services_loaded", s.loaded)
	t.put("services_mapped", s.mapped)
	t.put("services_failed", s.failed)
	l := f.c.Limits()
	t.put("limit_value_bytes", l.Value)
	t.put("limit_name_bytes", l.Name)
	t.put("limit_component_bytes", l.Component)
	t.put("space_bytes", l.Total)
	t.put("space_free_bytes", l.Free)
	t.put("mount", f.o.Dir)
	t.put("mount_pid", os.Getpid())
	t.put("mount_version", f.o.Version)
	t.put("mount_since", jsonline.Time(f.control.since))
	t.put("mount_restarts", int(f.estate.Restarts()))
	t.put("read_only", yesNo(f.o.ReadOnly))
	t.put("allow_other", yesNo(f.o.AllowOther))
	t.put("timeout", f.c.Timeout())
	t.put("private_files", len(f.privateFiles()))
	if q, ok := f.c.Offline(); ok {
		t.put("offline_queue_edits", q.Entries)
		t.put("offline_queue_edits_most", q.Limits.Entries)
		t.put("offline_queue_bytes", q.Bytes)
		t.put("offline_queue_bytes_most", q.Limits.Bytes)
		t.put("offline_queue_since", "")
		if !q.Oldest.IsZero() {
			t.put("offline_queue_since", jsonline.Time(q.Oldest))
		}
		t.put("offline_refused_variables", q.Refused)
		t.put("offline_set_aside", q.Aside)
		t.put("offline_damaged", q.Damaged)
	}
	return t.Bytes()
}

// access says where values come from, and why.
func access(local bool, s serviceCounts) string {
	switch {
	case !local:
		return "remote: the server is on another host, or is reached by its network address"
	case s.loaded > 0 && s.mapped == 0:
		return "local: values come over the socket, because no memory file could be mapped (see log)"
	}
	return "local: values are read from the memory files of the server"
}

type serviceCounts struct{ known, loaded, mapped, failed int }

func (f *FS) services() (n serviceCounts) {
	for _, t := range f.c.Tenants() {
		for _, s := range t.Services() {
			n.known++
			switch {
			case s.Failed() != nil:
				n.failed++
			case s.Watched():
				if n.loaded++; s.Mapped() {
					n.mapped++
				}
			}
		}
	}
	return n
}

// servicesText has a line for each service that the mount has in use, or failed to.
func (f *FS) servicesText() []byte {
	var lines []string
	for _, t := range f.c.Tenants() {
		for _, s := range t.Services() {
			if state := serviceState(s); state != "" {
				lines = append(lines, names.Show(names.Path([]string{t.Name(), s.Name()}))+" "+state+"\n")
			}
		}
	}
	slices.Sort(lines)
	return []byte(strings.Join(lines, ""))
}

func serviceState(s *varsync.Service) string {
	switch err := s.Failed(); {
	case err != nil:
		return "failed: " + names.Printable(err.Error())
	case !s.Watched():
		return ""
	case s.Mapped():
		return "mapped"
	}
	return "buffered"
}

// locksText has a line for each lock that processes of this mount have or wait for.
func (f *FS) locksText() []byte {
	var b bytes.Buffer
	held, waited := f.c.LocksHere()
	for i, l := range slices.Concat(held, waited) {
		state, mode, kind, end := "held", "shared", "flock", "end"
		if i >= len(held) {
			state = "waits"
		}
		if l.Exclusive {
			mode = "exclusive"
		}
		if l.Kind == model.LockRange {
			if kind = "fcntl"; l.End != model.MaxLockOffset {
				end = strconv.FormatUint(l.End, 10)
			}
		}
		path := "-"
		if to := f.linkTo(l.ID); to != "" {
			path = names.Show(strings.TrimPrefix(to, upFromByID))
		}
		fmt.Fprintf(&b, "%s %s %s %d-%s pid %d %s id %d %s\n", state, kind, mode, l.Start, end, l.Pid, names.Show(cmp.Or(l.Program, "-")), l.ID, path)
	}
	return b.Bytes()
}

func (f *FS) configText() []byte { return []byte(f.o.Config) }

func (f *FS) logText() []byte {
	if f.o.Log == nil {
		return nil
	}
	return f.o.Log.keep.text()
}

// statsText has counters since the mount was made, and what is at the moment. The names stay.
func (f *FS) statsText() []byte {
	var t facts
	t.put("uptime_seconds", int64(time.Since(f.control.since).Seconds()))
	for _, op := range f.requests.stats() {
		t.put("requests_"+op.op+"_count", op.count)
		t.put("requests_"+op.op+"_ns", op.total.Nanoseconds())
		t.put("requests_"+op.op+"_max_ns", op.most.Nanoseconds())
	}
	t.put("requests_running", f.requests.running())
	t.put("requests_blocked", f.requests.blocked())
	t.put("read_bytes", f.traffic.read.Load())
	t.put("written_bytes", f.traffic.written.Load())
	t.put("reconnects", max(0, f.traffic.connections.Load()))
	t.put("reports_in_flight", f.c.InFlight())
	k := f.kernel.Stat()
	t.put("notices", k.Notices)
	for _, e := range k.Raised {
		t.put("events_raised_"+e.Name, e.Count)
	}
	t.put("events_failed", k.Failed)
	t.put("events_merged", k.Merged)
	t.put("events_dropped", k.Dropped)
	t.put("events_queued", k.Queued)
	t.put("kernel_nodes", k.Nodes)
	t.put("kernel_stale", k.Stale)
	files, dirs := f.handles.count()
	t.put("open_files", files)
	t.put("open_directories", dirs)
	streams, readers, lines, missed := f.streams.stat()
	t.put("streams", streams)
	t.put("stream_readers", readers)
	t.put("stream_services", f.streams.watches.Held())
	t.put("stream_lines", lines)
	t.put("stream_lines_dropped", missed)
	return t.Bytes()
}
