package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/heap"
	"github.com/commy-project/commyfs/internal/local"
	"github.com/commy-project/commyfs/internal/trust"
	"github.com/commy-project/commyfs/server"
	"github.com/commy-project/commyfs/transport"
)

type serveOptions struct {
	dirs
	logging
	listen     string
	cert, key  string
	selfSigned bool
	auto       bool
	timeout    time.Duration
}

func (a *app) newServeCommand() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server in the foreground",
		Long: "Run the server in the foreground. It serves the mounts and commands of this machine on its socket and, with --listen,\n" +
			"other machines. It replaces a server that a mount has started. When ready it prints \"listening URL\" and, with\n" +
			"--tls-self-signed, \"ca FILE\": the values for --server and --ca. Clients also need a key from `commyfs key create`.",
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runServe(cmd.Context(), &o) },
	}
	fs := cmd.Flags()
	fs.StringVar(&o.listen, "listen", "", "`address` (host:port) to listen on for other machines")
	fs.StringVar(&o.cert, "tls-cert", "", "`file` with the server's certificate")
	fs.StringVar(&o.key, "tls-key", "", "`file` with the private key of the server's certificate")
	fs.BoolVar(&o.selfSigned, "tls-self-signed", false, "create a certificate authority and a certificate signed by it")
	fs.DurationVar(&o.timeout, "timeout", 5*time.Second, "how long to wait at shutdown for pending requests")
	markConfigurable(fs, "listen", "tls-cert", "tls-key", "tls-self-signed", "timeout")
	fs.BoolVar(&o.auto, "auto", false, "exit when no clients are left: how mounts start their server")
	_ = fs.MarkHidden("auto")
	o.dirs.addFlags(fs)
	o.logging.addFlags(fs)
	return cmd
}

// linger is how long an automatic server stays without clients.
const linger = 5 * time.Second

func (a *app) runServe(ctx context.Context, o *serveOptions) error {
	if err := o.check(a); err != nil {
		return err
	}
	so := server.Options{StateDir: o.state, RuntimeDir: o.runtime, Mode: server.ModeServe, Version: currentVersion(), Listen: o.listen,
		Timeout: o.timeout, Logger: o.logger(a.stderr, slog.LevelWarn)}
	if o.auto {
		so.Mode, so.Linger, so.Logger = server.ModeAuto, linger, o.logger(a.stderr, slog.LevelInfo)
	}
	ca, err := o.certificates(&so)
	if err != nil {
		return err
	}
	go heap.Trim(ctx) // until the process ends
	start := takeOver
	if o.auto {
		start = startOrYield
	}
	s, err := start(ctx, so)
	var locked *server.LockedError
	if errors.As(err, &locked) && locked.Dir == o.runtime {
		return fmt.Errorf("%w: use a separate --runtime-dir for each --state-dir", err)
	}
	if err != nil || s == nil {
		return err
	}
	if !o.auto {
		fmt.Fprintf(a.stdout, "listening %s\n", s.Info().URL)
		if ca != "" {
			fmt.Fprintf(a.stdout, "ca %s\n", ca)
		}
		a.notify("READY=1", "STATUS=listening "+s.Info().URL)
	}
	select {
	case <-ctx.Done():
	case <-s.Done():
	}
	if !o.auto {
		a.notify("STOPPING=1")
	}
	reason := s.Err()
	if errors.Is(reason, server.ErrIdle) || errors.Is(reason, server.ErrHandover) || o.auto && errors.Is(reason, server.ErrVanished) {
		reason = nil
	}
	return errors.Join(reason, s.Close())
}

func (o *serveOptions) check(a *app) error {
	if o.timeout <= 0 {
		return usagef("--timeout %s: must be greater than 0", o.timeout)
	}
	if (o.cert == "") != (o.key == "") {
		return usagef("--tls-cert and --tls-key must be used together")
	}
	withTLS := o.cert != "" || o.selfSigned
	if o.cert != "" && o.selfSigned {
		return usagef("--tls-cert and --tls-self-signed cannot be used together")
	}
	if o.listen == "" && withTLS {
		return usagef("--tls-cert and --tls-self-signed require --listen")
	}
	if o.listen != "" {
		if _, port, err := net.SplitHostPort(o.listen); err != nil || !isPort(port) {
			return usagef("--listen %q: must be host:port", o.listen)
		}
		if !withTLS {
			return usagef("--listen %s: requires --tls-cert and --tls-key, or --tls-self-signed", o.listen)
		}
	}
	if err := absolute(&o.cert, &o.key); err != nil {
		return err
	}
	return o.dirs.resolve(a)
}

func isPort(s string) bool {
	_, err := net.LookupPort("tcp", s)
	return err == nil && s != ""
}

// certificates sets the TLS configuration, and returns the CA file of a self-signed certificate.
func (o *serveOptions) certificates(so *server.Options) (ca string, err error) {
	cert, key := o.cert, o.key
	if o.selfSigned {
		if cert, key, ca, err = o.makeCertificates(); err != nil {
			return "", err
		}
	}
	if cert == "" {
		return "", nil
	}
	if err := trust.CheckSecret(key); err != nil {
		return "", usagef("--tls-key: %w", err)
	}
	so.TLS, err = transport.ServerTLS(cert, key)
	return ca, err
}

func (o *serveOptions) makeCertificates() (cert, key, ca string, err error) {
	if err := local.MakeDir(o.state); err != nil {
		return "", "", "", err
	}
	// A second server for the state directory, which will be refused, must not replace the first one's certificate.
	f, err := os.OpenFile(filepath.Join(o.state, "tls.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", "", "", err
	}
	defer f.Close()
	for err = unix.EINTR; err == unix.EINTR; {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		return "", "", "", err
	}
	host, _, _ := net.SplitHostPort(o.listen) // checked
	return transport.SelfSigned(filepath.Join(o.state, "tls"), []string{host})
}
