package commyfs_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/commy-project/commyfs"
	"github.com/commy-project/commyfs/internal/heap"
	"github.com/commy-project/commyfs/server"
)

// TestMain runs a server that the examples share. The test binary is the program commyfs as well: with role set it serves.
func TestMain(m *testing.M) {
	if os.Getenv(role) != "" {
		serve(os.Args)
		return
	}
	dir, err := os.MkdirTemp("", "commyfs")
	if err != nil {
		panic(err)
	}
	srv, err := server.Start(context.Background(), server.Options{StateDir: filepath.Join(dir, "state"), RuntimeDir: filepath.Join(dir, "run")})
	if err != nil {
		panic(err)
	}
	options = commyfs.Options{URLs: []string{srv.URL()}}
	code := m.Run()
	if err := srv.Close(); err != nil {
		panic(err)
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

const role = "COMMY_TEST_ROLE"

// serve does what `commyfs serve --auto` does.
func serve(args []string) {
	dirs := map[string]string{}
	for i, arg := range args[:len(args)-1] {
		dirs[arg] = args[i+1]
	}
	go heap.Trim(context.Background())
	srv, err := server.Start(context.Background(), server.Options{StateDir: dirs["--state-dir"], RuntimeDir: dirs["--runtime-dir"],
		Mode: server.ModeAuto, Linger: 100 * time.Millisecond})
	if err == nil {
		<-srv.Done()
		err = srv.Close()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "commyfs:", err)
		os.Exit(1)
	}
}
