package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	varfs "github.com/commy-project/commyfs/fs"
	"github.com/commy-project/commyfs/fs/estate"
	"github.com/commy-project/commyfs/fs/kernel"
	"github.com/commy-project/commyfs/fs/mountpoint"
	"github.com/commy-project/commyfs/fs/pages"
	"github.com/commy-project/commyfs/internal/heap"
	"github.com/commy-project/commyfs/internal/names"
	"github.com/commy-project/commyfs/offline"
	varsync "github.com/commy-project/commyfs/sync"
)

type mountOptions struct {
	common
	tenants    []string
	daemon     bool
	restarts   uint32
	readOnly   bool
	allowOther bool
	uid, gid   uint32
	umask      octal
	sync       choice
	conflict   choice
	events     string
	delay      time.Duration
	temporary  []string
	cache      []string

	offline        choice
	offlineEntries uint32
	offlineBytes   uint64
}

func (a *app) newMountCommand() *cobra.Command {
	var o mountOptions
	cmd := &cobra.Command{
		Use:   "mount DIR",
		Short: "Mount shared variables on a directory",
		Long: "Mount shared variables on DIR, as DIR/tenant/service/variable. The command stays in the foreground and prints \"mounted DIR\"\n" +
			"when DIR is ready; with --daemon it returns then. It exits when DIR is unmounted, and unmounts DIR when interrupted.",
		Args: takes(1, 1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.runMount(cmd.Context(), &o, args[0]) },
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func (o *mountOptions) addFlags(fs *pflag.FlagSet) {
	o.common.addFlags(fs)
	o.umask = 0o022
	o.sync = newChoice("close", "close", "always", "never")
	o.conflict = newChoice("overwrite", "overwrite", "fail")
	fs.StringArrayVar(&o.tenants, "tenant", nil, "show only this `tenant`; repeatable")
	fs.BoolVar(&o.daemon, "daemon", false, "run in the background and log to the state directory")
	fs.Uint32Var(&o.restarts, "restarts", 3, "how often in 10 s, at most, to start the mount's process again when it dies; 0 leaves the mount dead")
	fs.BoolVar(&o.readOnly, "read-only", false, "refuse all changes")
	fs.BoolVar(&o.allowOther, "allow-other", false, "give other users access to the mount")
	fs.Uint32Var(&o.uid, "uid", uint32(os.Geteuid()), "user ID of the files' owner")
	fs.Uint32Var(&o.gid, "gid", uint32(os.Getegid()), "group ID of the files")
	fs.Var(&o.umask, "umask", "permission bits to clear (octal)")
	fs.Var(&o.sync, "sync", "when to wait for the server: close (on close, fsync and the first write), always (on every write) or never")
	fs.Var(&o.conflict, "conflict", "what becomes of a change of a version that its writer has not seen: overwrite (it is made) or fail (with ESTALE)")
	fs.StringVar(&o.events, "events", "all", "inotify events to raise for changes made elsewhere: `list` of create, modify, close_write, attrib, delete, move; or all, none")
	fs.DurationVar(&o.delay, "event-delay", 0, "how long to gather the changes of a value made elsewhere into one event (at most 1m)")
	fs.StringArrayVar(&o.temporary, "temporary", nil, "`pattern` of new files that stay private to this mount until they are renamed; replaces the built-in patterns\n"+
		"(\"defaults\" adds them, \"none\" matches no file); excl:PATTERN matches only files created with O_EXCL,\n"+
		"mkstemp:PATTERN only files created by mkstemp; repeatable")
	fs.StringArrayVar(&o.cache, "cache", nil, "`pattern` of variables to serve from the kernel's page cache: TENANT/SERVICE/VARIABLE, where * is\n"+
		"anything but a slash and ** any number of components; for small values of constant size; repeatable")
	o.offline = newChoice("fail", "fail", "queue")
	fs.Var(&o.offline, "offline", "what to do with writes while the server cannot be reached: fail, or queue (keep them on disk and replay them)")
	fs.Uint32Var(&o.offlineEntries, "offline-entries", offline.DefaultEntries, "how many writes the offline queue holds")
	fs.Uint64Var(&o.offlineBytes, "offline-bytes", offline.DefaultBytes, "how many bytes the offline queue holds")
	markConfigurable(fs, "cache", "tenant", "restarts", "read-only", "allow-other", "uid", "gid", "umask", "sync", "conflict", "events", "event-delay", "temporary",
		"offline", "offline-entries", "offline-bytes")
	fs.VarP(&mountFlags{fs}, "option", "o", "`options` in the form of mount(8): k[=v],... for --k v")
}

var syncModes = map[string]varfs.SyncMode{"close": varfs.SyncClose, "always": varfs.SyncAlways, "never": varfs.SyncNever}

var conflictModes = map[string]varfs.ConflictMode{"overwrite": varfs.ConflictOverwrite, "fail": varfs.ConflictFail}

func (a *app) runMount(ctx context.Context, o *mountOptions, dir string) error {
	if dir == "" {
		return usagef("mount: empty directory name")
	}
	events, err := kernel.ParseEvents(o.events)
	if err != nil {
		return usagef("%s: %w", origin(o.fs, "events"), err)
	}
	if o.delay < 0 || o.delay > kernel.MaxDelay {
		return usagef("%s %s: must be from 0 to %s", origin(o.fs, "event-delay"), o.delay, kernel.MaxDelay)
	}
	temporary, err := varfs.ParseTemporaries(o.temporary)
	if err != nil {
		return usagef("%s: %w", origin(o.fs, "temporary"), err)
	}
	if o.offlineEntries == 0 || o.offlineBytes == 0 || o.offlineBytes > math.MaxInt64 {
		return usagef("--offline-entries and --offline-bytes must be greater than 0")
	}
	cache, err := pages.ParsePatterns(o.cache)
	if err != nil {
		return usagef("%s: %w", origin(o.fs, "cache"), err)
	}
	if err := o.resolve(a); err != nil {
		return err
	}
	if o.restarts > estate.MaxRestarts {
		return usagef("%s: at most %d", origin(o.fs, "restarts"), estate.MaxRestarts)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	daemon, err := a.daemonized()
	if err != nil {
		return err
	}
	in, err := a.inherits()
	if in != nil && daemon == nil {
		err = usagef("environment variable %s is for internal use only", heirEnv)
	}
	if err != nil {
		if daemon != nil {
			daemon.failed(err)
		}
		return err
	}
	if o.daemon && daemon == nil {
		return a.startDaemon(ctx, o, dir)
	}
	err = a.mount(ctx, o, varfs.Options{Dir: dir, Events: events, EventDelay: o.delay, Temporary: temporary, Cache: cache}, daemon, in)
	if daemon != nil {
		daemon.failed(err)
	}
	return err
}

// mount mounts, or takes over what in says, reports it, and returns when the mount has ended.
func (a *app) mount(ctx context.Context, o *mountOptions, fo varfs.Options, daemon *daemon, in *inheritance) error {
	dir := fo.Dir
	var forbidden []string
	if o.isLocal() {
		forbidden = []string{o.state, o.runtime}
	}
	if in == nil {
		if err := mountpoint.Check(dir, forbidden...); err != nil {
			return err
		}
	} else if in.device < 0 {
		fo.Clear = func() error { return in.clear(dir, forbidden) }
	}
	background := daemon != nil
	if in != nil {
		background = a.getenv(backgroundEnv) != ""
	}
	level := slog.LevelWarn
	if background {
		level = slog.LevelInfo
	}
	// The working directory must not keep a file system busy.
	if err := os.Chdir("/"); err != nil {
		return err
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, endSignals()...)
	defer signal.Stop(signals)
	// Whoever has read the log may be gone: that ends no mount.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)

	log := varfs.NewLog(o.logger(a.stderr, level).Handler())
	d := a.dialer(&o.common, slog.New(log), false)
	h := hello("mount")
	h.Mount = dir
	fo.AllowOther, fo.ReadOnly, fo.UID, fo.GID, fo.Umask = o.allowOther, o.readOnly, o.uid, o.gid, uint32(o.umask)
	fo.Conflict = conflictModes[o.conflict.value]
	fo.Sync, fo.Logger, fo.Log, fo.Heirs = syncModes[o.sync.value], d.log, log, o.restarts > 0
	fo.Config, fo.Version = o.effective(), currentVersion()
	q, err := o.openQueue(ctx, dir, d.log)
	if err != nil {
		return err
	}
	if q != nil {
		defer q.Close()
	}
	fo.Anew = q != nil // what is queued is asked about in the name of the process that has died
	co := varsync.Options{Dial: d.session, Client: h, Timeout: o.timeout, Tenants: o.tenants, Offline: q, Logger: d.log}
	m, err := begin(ctx, co, fo, in)
	if errors.Is(err, errUnmounted) {
		daemon.tell(endedWord)
		return nil
	}
	if err != nil {
		if in != nil && ctx.Err() != nil {
			err = in.abandon(dir, daemon)
		}
		return err
	}
	if in == nil || in.device < 0 {
		if err := o.leave(m, dir, background); err != nil {
			d.log.Warn("the mount cannot outlive this process", "err", err)
		}
	}
	go heap.Trim(ctx) // until the process ends
	stderr, _ := a.stderr.(*os.File)
	guard := startGuard(m, stderr, d.log)
	defer guard.stop()
	switch {
	case in != nil:
		m.Estate().SetRestarted()
		d.log.Warn("the process of the mount had died: the mount goes on", "restarts", m.Estate().Restarts(), "taken over", in.device >= 0)
		daemon.ready()
	case daemon != nil:
		daemon.ready()
	default:
		fmt.Fprintln(a.stdout, "mounted "+dir)
		a.notify("READY=1", "STATUS=mounted "+names.Show(dir))
	}
	err = serveMount(m, signals, a.stderr)
	if !background {
		a.notify("STOPPING=1")
	}
	return errors.Join(err, m.Close())
}

// begin mounts, or takes over.
func begin(ctx context.Context, co varsync.Options, fo varfs.Options, in *inheritance) (*varfs.Mounted, error) {
	if in == nil {
		return varfs.Mount(ctx, co, fo)
	}
	if in.device >= 0 {
		return varfs.TakeOver(ctx, co, fo, varfs.Inheritance{Device: in.device, Dev: in.dev, Estate: in.estate})
	}
	m, err := varfs.Mount(ctx, co, fo)
	if err == nil {
		m.Estate().Continue(in.estate)
		err = in.estate.Close()
	}
	return m, err
}

// mounted is the part of a mount that serveMount uses.
type mounted interface {
	Wait()
	Unmount(lazy bool) error
	Abort() error
}

const (
	// busyGrace is how long a mount that is in use stays after SIGTERM, which service managers send only once.
	busyGrace = 5 * time.Second
	// detachGrace is how long the users of a detached mount have to finish.
	detachGrace = time.Second
)

// serveMount returns when the mount has ended. A signal unmounts it. If it is in use, a second signal, or busyGrace after
// SIGTERM or SIGHUP, detaches it; programs that still use it then get errors.
func serveMount(m mounted, signals <-chan os.Signal, stderr io.Writer) error {
	gone := make(chan struct{})
	go func() {
		m.Wait()
		close(gone)
	}()
	var detach <-chan time.Time
	for asked := false; ; asked = true {
		lazy := asked
		select {
		case <-gone:
			return nil
		case <-detach:
		case s := <-signals:
			if !asked && s != syscall.SIGINT {
				t := time.NewTimer(busyGrace)
				defer t.Stop()
				detach = t.C
			}
		}
		err := m.Unmount(lazy)
		switch {
		case err != nil && lazy:
			return err
		case err != nil:
			how := "interrupt again to detach it"
			if detach != nil {
				how = fmt.Sprintf("detaching it in %s", busyGrace)
			}
			fmt.Fprintf(stderr, "commyfs: %s: %s\n", errorLine(err), how)
		case lazy:
			t := time.NewTimer(detachGrace)
			defer t.Stop()
			select {
			case <-gone:
				return nil
			case <-t.C:
			}
			// Otherwise pending requests would hang until this process has exited, which may have to wait for them.
			return m.Abort()
		}
	}
}

// octal is a flag for permission bits.
type octal uint32

// String implements pflag.Value.
func (v *octal) String() string { return fmt.Sprintf("%03o", uint32(*v)) }

// Set implements pflag.Value.
func (v *octal) Set(s string) error {
	n, err := strconv.ParseUint(strings.TrimPrefix(s, "0o"), 8, 32)
	if err != nil || n > 0o777 {
		return fmt.Errorf("must be octal permission bits such as 022")
	}
	*v = octal(n)
	return nil
}

// Type implements pflag.Value.
func (v *octal) Type() string { return "mode" }
