// Package bench compares file operations on commyfs with two references in the same run: tmpfs, which shows the cost of the
// kernel alone, and a minimal go-fuse file system, which shows the cost of any FUSE daemon.
//
// All file systems stay mounted for the whole run, and one locked thread uses them. It works on one file system for
// [Options.Slice], then on the next, in rotating order, so that other load on the machine affects all of them equally. Compare file
// systems within one run, not the microseconds of different runs.
//
// Results are checked: after each slice a write is read back, and waited for, so that no slice pays for work that another one
// deferred. The figures do not include this waiting: a pwrite on commyfs is what its caller waits for, which is not a commit;
// pwrite_fsync, echo and wake include the server. Every figure includes two readings of the clock, [Report.ClockUS] in total.
//
// What programs get that use the Go SDK is measured on the same server, and is compared with nothing.
//
// [Run] leaves no mounts, processes or files behind, however it ends. A child that does not exit is killed, and if the caller is
// killed, the kernel sends the children a SIGTERM.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"
)

// Options configure a run. Command is required.
type Options struct {
	// Command is the commyfs to measure: a program, and arguments before those that Run adds.
	Command []string
	// Env is the environment of all children; HOME is replaced. Default: HOME alone.
	Env []string
	// Dir is where the temporary directory is made, which holds mount points and the servers' state: on the disk whose
	// speed counts. Default: /tmp.
	Dir string
	// Time is for how long each operation is measured on each file system. Default: 2 s.
	Time time.Duration
	// Slice is for how long at a stretch. Default: 50 ms.
	Slice time.Duration
	// Total bounds the whole run but for the clearing up. Default: 5 min.
	Total time.Duration
	// Version is what the report calls the program.
	Version string
	// Stderr gets the output of the children. Default: it is discarded.
	Stderr io.Writer
}

func (o Options) withDefaults() Options {
	if o.Dir == "" {
		o.Dir = "/tmp"
	}
	if o.Time <= 0 {
		o.Time = 2 * time.Second
	}
	if o.Slice <= 0 {
		o.Slice = 50 * time.Millisecond
	}
	if o.Total <= 0 {
		o.Total = 5 * time.Minute
	}
	if o.Stderr == nil {
		o.Stderr = io.Discard
	}
	return o
}

// stuckBound is how long after its end has come the client may go on in a system call, before what serves it is killed.
const stuckBound = 3 * time.Second

// Run measures. With an error the report has what could be measured, and says at each figure that is missing why. When
// ctx is cancelled the error is [context.Canceled], unless something could not be cleared up.
func Run(ctx context.Context, o Options) (*Report, error) {
	o = o.withDefaults()
	if len(o.Command) == 0 {
		return nil, errors.New("bench: no command")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.Total, fmt.Errorf("the run was not over after %v", o.Total))
	defer cancel()
	r := &runner{o: o, report: newReport(o), procs: &children{stderr: o.Stderr}}
	measured, done := make(chan struct{}), make(chan struct{})
	var err error
	go func() {
		defer close(done)
		// Never unlocked: the children get their signal when the thread that started them ends.
		runtime.LockOSThread()
		start := time.Now()
		err = r.run(ctx, measured)
		r.report.Seconds = time.Since(start).Seconds()
	}()
	select {
	case <-measured:
	case <-ctx.Done():
		select {
		case <-measured:
		case <-time.After(stuckBound):
			r.procs.kill()
		}
	}
	<-done
	return r.report, err
}

// runner is one run. All of it but procs belongs to the client's thread.
type runner struct {
	o      Options
	report *Report
	procs  *children
	dirs   directories
}

// run closes measured when all that is left to do is to clear up, which has its own bounds.
func (r *runner) run(ctx context.Context, measured chan<- struct{}) error {
	err := r.measure(ctx)
	close(measured)
	cleared := r.clearUp()
	if errors.Is(context.Cause(ctx), context.Canceled) {
		if cleared != nil {
			return cleared // worse than being interrupted
		}
		return context.Canceled
	}
	return errors.Join(err, cleared)
}

func (r *runner) measure(ctx context.Context) error {
	r.report.ClockUS = clockCost()
	if err := r.dirs.make(r.o.Dir); err != nil {
		return err
	}
	r.procs.env = append(slices.Clone(r.o.Env), "HOME="+r.dirs.home()) // without a configuration
	r.report.StateFS = fileSystemName(r.dirs.root)
	systems := r.mountAll(ctx)
	for _, c := range cases {
		r.measureCase(ctx, c, systems)
	}
	for _, s := range systems {
		if s.name == commyfs {
			r.measureClients(ctx, s)
		}
	}
	r.report.compare()
	return r.report.failure()
}

// clockCost is what timing nothing takes.
func clockCost() float64 {
	var h histogram
	for range 10_000 {
		start := time.Now()
		h.add(time.Since(start))
	}
	return micros(h.quantile(0.5))
}
