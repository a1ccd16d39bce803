// Command commyfs mounts shared variables as files, serves them, and reads, writes and watches them without a mount.
//
// Nothing below this package knows flags, the environment or configuration files. Each subcommand has a file of its own:
// an options struct, its flags, and a run function. An error is printed as one line, "commyfs: ...", and becomes the exit
// code that exit.go documents.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), endSignals()...)
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv}
	code := a.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// endSignals are those that end a command in good order, but for those that we were started to ignore: nohup, and jobs
// that a script runs in the background.
func endSignals() []os.Signal {
	var out []os.Signal
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) {
			out = append(out, s)
		}
	}
	return out
}
