// Command peers measures commyfs against its goals, of which docs/performance.md tells: one line per goal with what was
// measured, what was wanted, and "ok" or "MISS". With -json it writes the same as JSON.
//
// Each goal is a ratio to a yardstick on the same machine: Redis, a minimal go-fuse file system, the bare engine, two
// processes that do nothing but answer. Both are measured in turns, in rounds, and the ratio of a row is the median of the
// ratios of its rounds, so that other load on the machine affects both. A few goals are absolute.
//
// Our side is the real program: a server, mounts, and clients of the SDK in this process, each row with an empty store of
// its own. It is a program of its own so that commyfs contains nothing of its peers.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/pprof"
	"syscall"
	"time"

	"github.com/commy-project/commyfs/internal/bench"
)

type options struct {
	rows    *regexp.Regexp
	long    bool
	rounds  int
	time    time.Duration
	commyfs string
	dir     string
	json    bool
	scale   int
	profile string
	table   string
}

// Children are killed when the thread that started them ends: main's does not.
func init() { runtime.LockOSThread() }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var err error
	switch role := append(os.Args, "", "")[1]; role {
	case roleMinimal:
		err = bench.ServeMinimal(ctx, os.Args[2], os.Stdout)
	case rolePong:
		err = servePong(ctx, os.Args[2], func() error { return nil })
	case roleStore:
		err = serveStore(ctx, os.Args[2], os.Args[3])
	case roleFan:
		err = serveFan(ctx, os.Args[2])
	default:
		var o options
		if o, err = parse(os.Args[1:], os.Stderr); err == nil && o.table != "" {
			err = writeTable(os.Stdout, o.table)
		} else if err == nil {
			err = run(ctx, o, os.Stdout)
		}
	}
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	var which string
	f := flag.NewFlagSet("peers", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&which, "rows", "", "`regexp` of the rows to measure; default: all but the long ones")
	f.BoolVar(&o.long, "long", false, "also the long rows: a million variables, a hundred thousand services")
	f.IntVar(&o.rounds, "rounds", 5, "rounds per row")
	f.DurationVar(&o.time, "time", time.Second, "how long to measure each side in each round")
	f.StringVar(&o.commyfs, "commyfs", "bin/commyfs", "`program` to measure; what clients in this process do is not its doing")
	f.StringVar(&o.dir, "dir", os.TempDir(), "`directory` for temporary files, on the disk to measure")
	f.BoolVar(&o.json, "json", false, "write JSON")
	f.IntVar(&o.scale, "scale", 1, "divide the sizes of the long rows by this, to try them")
	f.StringVar(&o.profile, "cpuprofile", "", "`file` for a profile of this process: of the clients of the SDK")
	f.StringVar(&o.table, "table", "", "measure nothing: write the table of two runs with -json, `BEFORE,AFTER`")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 || o.rounds < 1 || o.time <= 0 || o.scale < 1 {
		return o, errors.New("see -help")
	}
	if o.table != "" {
		return o, nil
	}
	var err error
	if which != "" {
		o.rows, err = regexp.Compile("^(" + which + ")$")
	}
	if err == nil {
		o.commyfs, err = filepath.Abs(o.commyfs)
	}
	if err == nil {
		_, err = os.Stat(o.commyfs)
	}
	return o, err
}

func (o *options) wants(r row) bool {
	if o.rows != nil {
		return o.rows.MatchString(r.name)
	}
	return !r.long || o.long
}

// run measures the rows. What cannot be measured is reported, and does not keep the rest from being measured.
func run(ctx context.Context, o options, w io.Writer) error {
	if o.profile != "" {
		f, err := os.Create(o.profile)
		if err == nil {
			err = pprof.StartCPUProfile(f)
		}
		if err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	rep := newReport(o)
	if !o.json {
		rep.writeHead(w)
	}
	for _, r := range rows {
		if !o.wants(r) {
			continue
		}
		results, err := r.measure(ctx, o)
		if ctx.Err() != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		if err != nil {
			results = append(results, result{Row: r.name, Error: err.Error()})
		}
		for i := range results {
			rep.add(results[i])
			if !o.json {
				rep.writeRow(w, &results[i])
			}
		}
	}
	if o.json {
		return rep.writeJSON(w)
	}
	return rep.writeFoot(w)
}

// measure gives the row machinery of its own, and takes it down.
func (r *row) measure(ctx context.Context, o options) (results []result, err error) {
	l, err := newLab(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	return r.run(l, r.name)
}
