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

	"github.com/commy-project/commyfs/internal/local"
	"github.com/commy-project/commyfs/internal/slack"
)

func main() {
	if mount := os.Getenv(guardEnv); mount != "" {
		os.Exit(exitCode(beGuard(mount, os.Args[1:])))
	}
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv}
	if a.stays(os.Args[1:]) {
		_ = slack.Take(local.Executable()) // only speed
	}
	ctx, stop := signal.NotifyContext(context.Background(), endSignals()...)
	code := a.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// stays reports whether the command is one that serves others for long.
func (a *app) stays(args []string) bool {
	cmd, _, err := a.newRootCommand().Find(args)
	return err == nil && (cmd.Name() == "serve" || cmd.Name() == "mount")
}

// endSignals are those that end a command in good order. A hangup is not one for a command that was started with nohup.
func endSignals() []os.Signal {
	out := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		out = append(out, syscall.SIGHUP)
	}
	return out
}
