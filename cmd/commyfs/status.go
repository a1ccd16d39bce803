package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/commy-project/commyfs/transport"
)

type statusOptions struct {
	common
	output
}

func (a *app) newStatusCommand() *cobra.Command {
	var o statusOptions
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the server and who uses it",
		Long:  "Show the server, its limits, its mounts and its other clients. No server is started: without one the exit code is 5.",
		Args:  takes(0, 0),
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.runStatus(cmd.Context(), &o) },
	}
	o.common.addFlags(cmd.Flags())
	o.output.addFlags(cmd.Flags())
	return cmd
}

type statusJSON struct {
	Connected bool                   `json:"connected"`
	Error     string                 `json:"error,omitempty"`
	Server    *transport.ServerInfo  `json:"server,omitempty"`
	Store     string                 `json:"store,omitempty"`
	Rev       int64                  `json:"rev,omitempty"`
	Limits    *transport.Limits      `json:"limits,omitempty"`
	Services  int                    `json:"services"`
	Loaded    int                    `json:"loaded"`
	Mounts    []mountJSON            `json:"mounts"`
	Sessions  []transport.ClientInfo `json:"sessions"` // those of mounts included
}

type mountJSON struct {
	Dir     string       `json:"dir"`
	Private privateFiles `json:"private,omitzero"` // only of this host's mounts
	transport.ClientInfo
}

func (a *app) runStatus(ctx context.Context, o *statusOptions) error {
	s, err := a.status(ctx, o)
	if exitCode(err) == exitUsage {
		return err
	}
	if err != nil {
		s = &statusJSON{Error: errorLine(err), Mounts: []mountJSON{}, Sessions: []transport.ClientInfo{}}
		err = &exitError{code: exitCode(err), err: err}
	}
	if o.json() {
		if werr := json.NewEncoder(a.stdout).Encode(s); werr != nil {
			return werr
		}
		return err
	}
	if err == nil {
		err = s.print(a)
	}
	return err
}

func (a *app) status(ctx context.Context, o *statusOptions) (*statusJSON, error) {
	c, _, err := a.connection(ctx, &o.common, "status")
	if err != nil {
		return nil, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	st, err := transport.Request[*transport.Status](ctx, c, &transport.GetStatus{})
	if err != nil {
		return nil, noAnswer(ctx, err)
	}
	if !c.Conn().Local() {
		st.Server.Mode = "remote"
	}
	s := &statusJSON{Connected: true, Server: &st.Server, Store: st.Store, Rev: st.Rev, Limits: &st.Limits, Services: st.Services,
		Loaded: st.Loaded, Mounts: []mountJSON{}, Sessions: []transport.ClientInfo{}}
	me := hello("status")
	for _, info := range st.Sessions {
		if info.Program == me.Program && info.Pid == me.Pid && info.Host == me.Host {
			continue
		}
		s.Sessions = append(s.Sessions, info)
		if info.Mount != "" {
			m := mountJSON{Dir: info.Mount, ClientInfo: info}
			if info.Host == me.Host {
				m.Private, _ = privateOf(ctx, info.Mount, askingBound)
			}
			s.Mounts = append(s.Mounts, m)
		}
	}
	return s, nil
}

func (s *statusJSON) print(a *app) error {
	const mib = 1 << 20
	_, err := fmt.Fprintf(a.stdout, "server    %s, pid %d on %s, %s, version %s, since %s\n", s.Server.URL, s.Server.Pid, s.Server.Host,
		s.Server.Mode, s.Server.Version, formatTime(s.Server.Started))
	if err == nil {
		_, err = fmt.Fprintf(a.stdout, "store     %s, revision %d, %d services, %d in memory\n", s.Store, s.Rev, s.Services, s.Loaded)
	}
	if err == nil {
		_, err = fmt.Fprintf(a.stdout, "limits    values of %d bytes, names of %d bytes (%d a component), %d of %d MiB free\n", s.Limits.Value,
			s.Limits.Name, s.Limits.Component, s.Limits.Free/mib, s.Limits.Total/mib)
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
		_, err = fmt.Fprintf(a.stdout, "%-9s %s, pid %d%s, %s, since %s\n", kind, what, c.Pid, where, c.User, formatTime(c.Connected))
		if c.Mount != "" {
			if p := mounts[0].Private; err == nil && p.Total > 0 {
				_, err = fmt.Fprintf(a.stdout, "          has alone %s\n", p)
			}
			mounts = mounts[1:]
		}
	}
	return err
}
