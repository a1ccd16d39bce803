package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/commy-project/commyfs"
)

type statusOptions struct {
	common
	output
}

func (a *app) newStatusCommand() *cobra.Command {
	var o statusOptions
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the server and its clients",
		Long:  "Show the server, its limits, its mounts and its other clients. This starts no server: if none is running, the exit code is 5.",
		Args:  takes(0, 0),
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.runStatus(cmd.Context(), &o) },
	}
	o.common.addFlags(cmd.Flags())
	o.output.addFlags(cmd.Flags())
	return cmd
}

type statusJSON struct {
	Connected bool                `json:"connected"`
	Error     string              `json:"error,omitempty"`
	Server    *commyfs.ServerInfo `json:"server,omitempty"`
	Store     string              `json:"store,omitempty"`
	Rev       int64               `json:"rev,omitempty"`
	Limits    *commyfs.Limits     `json:"limits,omitempty"`
	Services  int                 `json:"services"`
	Loaded    int                 `json:"loaded"`
	Damaged   int                 `json:"damaged,omitempty"` // records that the server cannot read
	Bare      []commyfs.BareInfo  `json:"bare,omitempty"`    // bare services in memory
	MoreBare  int                 `json:"more_bare,omitempty"`
	// Memory has the named services that somebody uses.
	Memory     []commyfs.MemoryInfo `json:"memory,omitempty"`
	MoreMemory int                  `json:"more_memory,omitempty"`
	// NoLocks: the server is too old to have locks.
	NoLocks   bool `json:"no_locks,omitempty"`
	Locks     int  `json:"locks,omitempty"`
	LockWaits int  `json:"lock_waits,omitempty"`
	// Queues are the offline queues of this host's mounts, as they are on the disk.
	Queues   []queueJSON   `json:"offline_queues,omitempty"`
	Mounts   []mountJSON   `json:"mounts"`
	Sessions []sessionJSON `json:"sessions"` // including those of mounts
}

type sessionJSON struct {
	commyfs.SessionInfo
	RawMount []byte `json:"mount_base64,omitempty"` // if it is not valid UTF-8
}

type mountJSON struct {
	Dir     string       `json:"dir"`
	RawDir  []byte       `json:"dir_base64,omitempty"`
	Private privateFiles `json:"private,omitzero"`  // only for mounts on this host
	Offline *offlineJSON `json:"offline,omitempty"` // the same, and only for those with a queue
	// How often another process has gone on with the mount after one had died, and since when the present one has it, in Unix
	// nanoseconds; only for mounts on this host.
	Restarts  int   `json:"restarts,omitempty"`
	Restarted int64 `json:"restarted,omitempty"`
	commyfs.SessionInfo
}

func (a *app) runStatus(ctx context.Context, o *statusOptions) error {
	s, err := a.status(ctx, o)
	if exitCode(err) == exitUsage {
		return err
	}
	if err != nil {
		s = &statusJSON{Error: errorLine(err), Mounts: []mountJSON{}, Sessions: []sessionJSON{}}
		err = &exitError{code: exitCode(err), err: err}
	}
	var qerr error
	if s.Queues, qerr = listQueues(o.state); err == nil {
		err = qerr
	}
	if o.json() {
		if werr := writeJSON(a.stdout, s); werr != nil {
			return werr
		}
		return err
	}
	if err == nil {
		err = s.print(a)
	}
	for i := range s.Queues { // also without a server
		err = errors.Join(err, s.Queues[i].print(a, false))
	}
	return err
}

func (a *app) status(ctx context.Context, o *statusOptions) (*statusJSON, error) {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	c, err := a.connect(ctx, &o.common, "status", true)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	st, err := c.Status(ctx)
	if err != nil {
		return nil, err
	}
	if !c.IsLocal() {
		st.Server.Mode = "remote"
	}
	s := &statusJSON{Connected: true, Server: &st.Server, Store: st.Store, Rev: st.Rev, Limits: &st.Limits, Services: st.Services,
		Loaded: st.Loaded, Damaged: st.Damaged, Bare: st.Bare, MoreBare: st.MoreBare, Memory: st.Memory, MoreMemory: st.MoreMemory, NoLocks: st.Lease == 0, Locks: st.Locks, LockWaits: st.LockWaits, Mounts: []mountJSON{}, Sessions: []sessionJSON{}}
	me := hello("status")
	for _, info := range st.Sessions {
		if info.Program == me.Program && info.Pid == me.Pid && info.Host == me.Host {
			continue
		}
		s.Sessions = append(s.Sessions, sessionJSON{info, raw(info.Mount)})
		if info.Mount != "" {
			m := mountJSON{Dir: info.Mount, RawDir: raw(info.Mount), SessionInfo: info}
			if info.Host == me.Host {
				m.Private, _ = privateOf(ctx, info.Mount, askingBound)
				m.Offline, _ = offlineOf(ctx, info.Mount, askingBound)
				m.Restarts, m.Restarted = restartsOf(ctx, info.Mount)
			}
			s.Mounts = append(s.Mounts, m)
		}
	}
	return s, nil
}

func (s *statusJSON) print(a *app) error {
	const mib = 1 << 20
	err := showf(a.stdout, "server    %s, pid %d on %s, %s, version %s, since %s\n", s.Server.URL, s.Server.Pid, s.Server.Host,
		s.Server.Mode, s.Server.Version, formatNano(s.Server.Started))
	if err == nil {
		err = showf(a.stdout, "store     %s, revision %d, %s, %d in memory\n", s.Store, s.Rev, countOf(s.Services, "service"), s.Loaded)
	}
	if err == nil && s.Damaged > 0 {
		err = showf(a.stdout, "damaged   %d records of the store cannot be read: see the server's log\n", s.Damaged)
	}
	if err == nil {
		err = showf(a.stdout, "limits    values of %d bytes, names of %d bytes (%d a component), %d of %d MiB free\n", s.Limits.Value,
			s.Limits.Name, s.Limits.Component, s.Limits.Free/mib, s.Limits.Total/mib)
	}
	for i := range s.Bare {
		if err == nil {
			err = printBare(a.stdout, &s.Bare[i])
		}
	}
	if err == nil && s.MoreBare > 0 {
		err = showf(a.stdout, "bare      and %s\n", countOf(s.MoreBare, "more service"))
	}
	if err == nil {
		err = printMemory(a.stdout, s.Memory, s.MoreMemory)
	}
	if err == nil && s.NoLocks {
		err = showf(a.stdout, "locks     the server is too old to have any: flock and fcntl exclude only programs on the same mount\n")
	} else if err == nil && s.Locks+s.LockWaits > 0 {
		err = showf(a.stdout, "locks     %d held, %d waited for: see `commyfs locks`\n", s.Locks, s.LockWaits)
	}
	host, _ := os.Hostname()
	mounts := s.Mounts
	for _, c := range s.Sessions {
		if err != nil {
			break
		}
		kind, what := "client", c.Program
		if c.Mount != "" {
			kind, what = "mount", c.Mount
		}
		where := ""
		if c.Host != host {
			where = " on " + c.Host
		}
		err = showf(a.stdout, "%-9s %s, pid %d%s, %s, since %s\n", kind, what, c.Pid, where, c.User, formatNano(c.Connected))
		if c.Mount != "" {
			if m := mounts[0]; err == nil && m.Restarts > 0 {
				err = showf(a.stdout, "          restarted %s, last %s\n", countOf(m.Restarts, "time"), formatNano(m.Restarted))
			}
			if p := mounts[0].Private; err == nil && p.Total > 0 {
				err = showf(a.stdout, "          private files: %s\n", p)
			}
			if o := mounts[0].Offline; err == nil && o != nil {
				err = showf(a.stdout, "          offline queue: %s\n", o)
			}
			mounts = mounts[1:]
		}
	}
	return err
}

// maxShown is how many services are shown as text; JSON has more.
const maxShown = 20

func printMemory(w io.Writer, list []commyfs.MemoryInfo, more int) error {
	for i := range list[:min(len(list), maxShown)] {
		m := &list[i]
		file := "no file"
		if m.Size > 0 {
			file = fmt.Sprintf("%d bytes, generation %d", m.Size, m.Generation)
		}
		using := []string{}
		for _, u := range []struct {
			n    int
			what string
		}{{m.Mapped, "mapped by %s"}, {m.Remote, "sent to %s on other hosts"}, {m.Unmapped, "sent to %s of this host that do not map it"}} {
			if u.n > 0 {
				using = append(using, fmt.Sprintf(u.what, countOf(u.n, "client")))
			}
		}
		if err := showf(w, "memory    %s, %s, %s\n", path{m.Tenant, m.Service, ""}.String(), file, strings.Join(using, ", ")); err != nil {
			return err
		}
	}
	if more += max(0, len(list)-maxShown); more > 0 {
		return showf(w, "memory    and %s\n", countOf(more, "more service"))
	}
	return nil
}

func printBare(w io.Writer, b *commyfs.BareInfo) error {
	state := "nobody stores into it"
	switch {
	case b.NoFile:
		state = "its file cannot be had: see the server's log"
	case b.Writable:
		state = fmt.Sprintf("open for writing, scanned every %v in %v", time.Duration(b.Interval), time.Duration(b.Cost))
	}
	return showf(w, "bare      %s, %d bytes, %s, %s, %s\n", path{b.Tenant, b.Service, ""}.String(), b.Size, countOf(b.Variables, "variable"), state,
		countOf(int(b.Found), "value")+" found")
}
