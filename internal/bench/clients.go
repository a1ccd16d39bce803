package bench

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	sdk "github.com/commy-project/commyfs"
	"github.com/commy-project/commyfs/internal/bench/crowd"
)

// ClientResult is what programs that use the Go SDK get of the server that the mounts have.
type ClientResult struct {
	Case      string  `json:"case"`
	Count     int     `json:"count"`
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_us"`
	P99       float64 `json:"p99_us"`
	Error     string  `json:"error,omitempty"`
}

// clientCase is one of them.
type clientCase struct {
	name, about string
	run         func(ctx context.Context, d time.Duration, connect func() (*sdk.Client, error)) (crowd.Sample, error)
}

var clientCases = []clientCase{
	{"commit", "Put of 8 bytes by the Go SDK: stored at the server", commit},
	{"throughput", "the same by 64 goroutines on one connection", throughput},
	{"counter", "64 goroutines add to one variable on one connection", counter},
	{"fan_out", "64 goroutines Put, 50 clients watch: values delivered, and the times from Put to the watcher", fanOut},
}

// measureClients measures them on the server of s, away from the client's thread, which is not theirs.
func (r *runner) measureClients(ctx context.Context, s *system) {
	for _, c := range clientCases {
		var got crowd.Sample
		err := s.err
		if err == nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err == nil {
			done := make(chan struct{})
			go func() {
				defer close(done)
				got, err = r.measureClient(ctx, c)
			}()
			<-done
		}
		res := ClientResult{Case: c.name, Count: got.Count, PerSecond: got.Rate, P50: got.P50, P99: got.P99}
		if err != nil {
			res.Error = err.Error()
		}
		r.report.Clients = append(r.report.Clients, res)
	}
}

func (r *runner) measureClient(ctx context.Context, c clientCase) (crowd.Sample, error) {
	var clients []*sdk.Client
	defer func() {
		for _, c := range clients {
			_ = c.Close() // has nothing left to do
		}
	}()
	return c.run(ctx, r.o.Time, func() (*sdk.Client, error) {
		c, err := r.connect(ctx)
		if err == nil {
			clients = append(clients, c)
		}
		return c, err
	})
}

// connect connects to the server of the local mounts, which is there as long as they are.
func (r *runner) connect(ctx context.Context) (*sdk.Client, error) {
	own := filepath.Join(r.dirs.root, localServer)
	return sdk.Connect(ctx, sdk.Options{StateDir: filepath.Join(own, "state"), RuntimeDir: filepath.Join(own, "run"), NoStart: true,
		Command: r.o.Command})
}

// The service that the clients use; no mount has looked at it.
const benchTenant, benchService = "bench", "clients"

func commit(ctx context.Context, d time.Duration, connect func() (*sdk.Client, error)) (crowd.Sample, error) {
	return put(ctx, d, connect, 1)
}

func throughput(ctx context.Context, d time.Duration, connect func() (*sdk.Client, error)) (crowd.Sample, error) {
	return put(ctx, d, connect, crowd.Writers)
}

func put(ctx context.Context, d time.Duration, connect func() (*sdk.Client, error), writers int) (crowd.Sample, error) {
	c, err := connect()
	if err != nil {
		return crowd.Sample{}, err
	}
	return crowd.Together(d, crowd.Putters(ctx, c.Service(benchTenant, benchService), writers))
}

func counter(ctx context.Context, d time.Duration, connect func() (*sdk.Client, error)) (crowd.Sample, error) {
	c, err := connect()
	if err != nil {
		return crowd.Sample{}, err
	}
	return crowd.Together(d, crowd.Adders(ctx, c.Service(benchTenant, benchService), crowd.Writers))
}

func fanOut(ctx context.Context, d time.Duration, connect func() (*sdk.Client, error)) (crowd.Sample, error) {
	f := crowd.NewFanOut()
	if err := f.Service(ctx, benchTenant, benchService, connect); err != nil {
		return crowd.Sample{}, err
	}
	return f.Run(d)
}

// listed is how many files the directory has that is listed.
const listed = 10_000

// fill makes them. On commyfs that is not done one by one.
func (s *system) fill(ctx context.Context, r *runner, dir string) error {
	name := func(i int) string { return fmt.Sprintf("file%05d", i) }
	if s.name != commyfs {
		for i := range listed {
			if err := createFile(filepath.Join(dir, name(i))); err != nil {
				return err
			}
		}
		return nil
	}
	c, err := r.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	svc := c.Service("bench", "bench") // of the mounts
	var ops []sdk.Op
	for i := range listed {
		ops = append(ops, svc.OpPut(filepath.Base(dir)+"/"+name(i), make([]byte, valueSize)))
		if len(ops) == 1000 || i == listed-1 {
			if _, err := c.Txn(ctx, ops...); err != nil {
				return err
			}
			ops = nil
		}
	}
	return nil
}
