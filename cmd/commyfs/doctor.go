package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/commy-project/commyfs/fs/mountpoint"
	"github.com/commy-project/commyfs/internal/local"
	"github.com/commy-project/commyfs/internal/names"
)

const (
	// checkBound limits each check; they run in parallel.
	checkBound = 4 * time.Second
	// askingBound limits the answer of a server or a mount. It is shorter, so that the check can report it.
	askingBound = 3 * time.Second
	// configBound limits reading the configuration, on which most checks depend.
	configBound = 2 * time.Second
	// doctorBound limits everything, with some reserve.
	doctorBound = configBound + checkBound + 2*time.Second
	// endGrace is how long a process that has reported may take to exit.
	endGrace = 500 * time.Millisecond
)

// The results of a check.
const (
	statusOK   = "ok"
	statusWarn = "warn"
	statusFail = "fail"
	statusSkip = "skip"
)

// finding is the result of a check.
type finding struct {
	Check  string `json:"check"`
	Status string `json:"status"`
	Detail string `json:"detail"`
	Fix    string `json:"fix"` // what to do; empty if nothing is wrong
}

func good(check, format string, args ...any) finding {
	return finding{Check: check, Status: statusOK, Detail: fmt.Sprintf(format, args...)}
}

func skipped(check, format string, args ...any) finding {
	return finding{Check: check, Status: statusSkip, Detail: fmt.Sprintf(format, args...)}
}

// but changes the status of a finding and adds a fix.
func (f finding) but(status, fix string) finding {
	f.Status, f.Fix = status, fix
	return f
}

// troubled is the finding for an error. If the error ends with advice, this replaces fix.
func troubled(check string, err error, fix string) finding {
	detail := errorLine(err)
	if i := strings.LastIndex(detail, ": "); i >= 0 {
		switch word, _, _ := strings.Cut(detail[i+2:], " "); word {
		case "choose", "install", "run", "stop", "use":
			detail, fix = detail[:i], detail[i+2:]
		}
	}
	return finding{check, statusFail, detail, fix}
}

// softened turns failures into warnings, for things that are not needed.
func softened(fs []finding) []finding {
	for i := range fs {
		if fs[i].Status == statusFail {
			fs[i].Status = statusWarn
		}
	}
	return fs
}

type doctorOptions struct {
	common
	output
}

func (a *app) newDoctorCommand() *cobra.Command {
	var o doctorOptions
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find out why a mount does not work or is slow",
		Long: "Check the machine, the directories, the server and the mounts. Each check prints a line: ok, warn, fail or skip (does not\n" +
			"apply), with what to do about it. Nothing is changed and no server is started. The exit code is 1 if a check fails.\n" +
			"Servers and mounts have at most 3s to answer, even if --timeout is longer.",
		Args: takes(0, 0),
		// Replaces the root's: configuration errors are findings here.
		PersistentPreRunE: func(*cobra.Command, []string) error { return nil },
		RunE:              func(cmd *cobra.Command, _ []string) error { return a.runDoctor(cmd.Context(), cmd, &o) },
	}
	o.common.addFlags(cmd.Flags())
	o.output.addFlags(cmd.Flags())
	return cmd
}

// doctorEnv tells a process that it is the one that runs the checks.
const doctorEnv = "COMMYFS_DOCTOR_CHILD"

// report is what the process that runs the checks sends to the one that the user started.
type report struct {
	JSON     bool
	Findings []finding
}

// runDoctor runs the checks in another process: a file system that does not answer a request can make a process
// unkillable, even by SIGKILL.
func (a *app) runDoctor(ctx context.Context, cmd *cobra.Command, o *doctorOptions) error {
	if a.getenv(doctorEnv) != "" {
		r, err := a.look(ctx, cmd, o)
		if err != nil {
			return err
		}
		return writeJSON(a.stdout, r)
	}
	r, err := a.sendDoctor(ctx)
	if err != nil {
		return err
	}
	if err := r.print(a, r.JSON || o.json()); err != nil {
		return err
	}
	for _, f := range r.Findings {
		if f.Status == statusFail {
			return &exitError{code: exitFailure}
		}
	}
	return nil
}

func (a *app) sendDoctor(ctx context.Context) (*report, error) {
	cmd := exec.Command(local.Executable(), os.Args[1:]...)
	cmd.Args[0] = "commyfs"
	cmd.Env = append(os.Environ(), doctorEnv+"=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, fmt.Errorf("doctor: %w", err)
	}
	answer := make(chan *report, 1)
	go func() {
		defer close(answer)
		var r report
		if json.NewDecoder(stdout).Decode(&r) == nil {
			answer <- &r
		}
	}()
	r, err := mountpoint.Bounded(ctx, doctorBound, func() (*report, error) { return <-answer, nil })
	if err == nil && r != nil {
		_, err = mountpoint.Bounded(ctx, endGrace, func() (any, error) { return nil, cmd.Wait() })
		if err == nil {
			_, err = a.stderr.Write(stderr.Bytes()) // the child's log
			return r, err
		}
	}
	_ = cmd.Process.Kill() // may have no effect
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case r != nil:
		return r, nil
	case err != nil:
		f := finding{"doctor", statusFail, "the checks do not finish", unhang}
		return &report{Findings: []finding{f}}, nil
	}
	err = cmd.Wait()
	text := strings.TrimSpace(strings.TrimPrefix(stderr.String(), "commyfs: "))
	if code := cmd.ProcessState.ExitCode(); code > 0 && text != "" {
		return nil, &exitError{code, errors.New(text)}
	}
	return nil, fmt.Errorf("doctor: the check process exited without an answer: %w: %s", err, text)
}

func (r *report) print(a *app, inJSON bool) error {
	if inJSON {
		return writeJSON(a.stdout, r.Findings)
	}
	for _, f := range r.Findings {
		line := f.Detail
		if f.Fix != "" {
			line += ": " + f.Fix
		}
		if _, err := fmt.Fprintf(a.stdout, "%-4s  %-11s  %s\n", f.Status, f.Check, names.Printable(line)); err != nil {
			return err
		}
	}
	return nil
}

// unhang is the advice if nothing more is known.
const unhang = "use `mount` to find the file system that hangs, and unmount it"

// check produces one or more findings. The output has the order of the checks.
type check struct {
	name string
	look func(context.Context) []finding
}

// look runs all checks. It returns only usage errors.
func (a *app) look(ctx context.Context, cmd *cobra.Command, o *doctorOptions) (*report, error) {
	config, err := mountpoint.Bounded(ctx, configBound, func() (*configuration, error) { return a.examineConfig(cmd, o) })
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, err
	}
	if err != nil { // the options must not be used any more: they are still being read
		config = &configuration{finding: finding{"config", statusFail, "reading the configuration hangs", unhang}}
	}
	checks := machineChecks(a.getenv("COMMYFS_DIFF"))
	checks = append(checks, check{"config", func(context.Context) []finding {
		return []finding{config.finding, judgeEnvironment(os.Environ(), knownVariables(a.newRootCommand()))}
	}})
	if config.usable {
		checks = append(checks, a.dirChecks(o)...)
		checks = append(checks, a.serverChecks(o)...)
	} else {
		for _, name := range []string{"state", "runtime", "server", "leftovers", "round-trip", "network"} {
			checks = append(checks, check{name, func(context.Context) []finding {
				return []finding{skipped(name, "fix the configuration first")}
			}})
		}
	}
	checks = append(checks, check{"mount", examineMounts})
	inJSON := a.getenv(envName("output")) == "json" && !cmd.Flags().Changed("output")
	return &report{JSON: inJSON || config.usable && o.json(), Findings: examine(ctx, checks, checkBound)}, ctx.Err()
}

// examine runs the checks in parallel, each within the bound.
func examine(ctx context.Context, checks []check, bound time.Duration) []finding {
	results := make([][]finding, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() {
			found, err := mountpoint.Bounded(ctx, bound, func() ([]finding, error) { return c.look(ctx), nil })
			if err != nil {
				found = []finding{{c.name, statusFail, "no answer within " + bound.String(), unhang}}
			}
			results[i] = found
		})
	}
	wg.Wait()
	all := []finding{}
	for _, r := range results {
		all = append(all, r...)
	}
	return all
}
