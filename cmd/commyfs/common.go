package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/commy-project/commyfs/internal/dial"
	"github.com/commy-project/commyfs/internal/local"
)

// common are the options of every command that uses a server.
type common struct {
	server     []string
	apiKeyFile string
	ca         string
	cert, key  string
	timeout    time.Duration
	dirs
	logging

	fs *pflag.FlagSet // the options' flags
}

func (o *common) addFlags(fs *pflag.FlagSet) {
	o.fs = fs
	fs.StringSliceVar(&o.server, "server", nil, "server `URL`, wss://host:port or unix:///path; several are tried in order (default: your own server on this machine)")
	fs.StringVar(&o.apiKeyFile, "api-key-file", "", "`file` that contains the API key (COMMYFS_API_KEY can hold the key itself)")
	fs.StringVar(&o.ca, "ca", "", "`file` of CA certificates to trust (default: the system's)")
	fs.StringVar(&o.cert, "cert", "", "`file` with the client certificate")
	fs.StringVar(&o.key, "key", "", "`file` with the private key of the client certificate")
	fs.DurationVar(&o.timeout, "timeout", 5*time.Second, "how long to wait for the server")
	markConfigurable(fs, "server", "api-key-file", "ca", "cert", "key", "timeout")
	o.dirs.addFlags(fs)
	o.logging.addFlags(fs)
}

// resolve checks the options and makes their paths absolute.
func (o *common) resolve(a *app) error {
	if o.timeout <= 0 {
		return usagef("%s %s: must be greater than 0", origin(o.fs, "timeout"), o.timeout)
	}
	for _, s := range o.server {
		if !isServerURL(s) {
			return usagef("%s %q: must be wss://host:port or unix:///path", origin(o.fs, "server"), s)
		}
	}
	if (o.cert == "") != (o.key == "") {
		return usagef("--cert and --key must be used together")
	}
	for _, name := range []string{"ca", "cert", "api-key-file"} {
		// In the environment or the file they may be meant for another command. On the command line --server was
		// forgotten: the local server has other variables.
		if o.isLocal() && o.fs.Changed(name) {
			return usagef("--%s requires --server wss://host:port", name)
		}
	}
	if err := absolute(&o.apiKeyFile, &o.ca, &o.cert, &o.key); err != nil {
		return err
	}
	if err := o.checkKeyFile(); err != nil {
		return err
	}
	return o.dirs.resolve(a)
}

// isServerURL rejects what cannot be a server's URL; transport.Dial checks the rest.
func isServerURL(s string) bool {
	if path, ok := strings.CutPrefix(s, "unix://"); ok {
		return strings.HasPrefix(path, "/")
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "wss" && u.Scheme != "ws" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return false
	}
	if u.Port() == "" {
		return !strings.HasSuffix(u.Host, ":")
	}
	_, err = strconv.ParseUint(u.Port(), 10, 16)
	return err == nil
}

// isLocal reports whether the command uses the user's own server on this machine.
func (o *common) isLocal() bool { return len(o.server) == 0 }

// apiKey is read for every connection, so that a key can be replaced while a mount is running.
func (o *common) apiKey(a *app) (string, error) {
	if o.apiKeyFile != "" {
		return dial.ReadKey(o.apiKeyFile)
	}
	key := strings.TrimSpace(a.getenv(apiKeyEnv))
	return key, dial.CheckKey(key, apiKeyEnv)
}

// keyPrefix is the prefix of the keys that `commyfs key create` makes.
const keyPrefix = "commy_"

// checkKeyFile rejects a key in place of the name of its file.
func (o *common) checkKeyFile() error {
	if _, err := os.Stat(o.apiKeyFile); errors.Is(err, iofs.ErrNotExist) && strings.HasPrefix(filepath.Base(o.apiKeyFile), keyPrefix) {
		return usagef("--api-key-file takes a file name, not the key itself: other users can see command lines")
	}
	return nil
}

func absolute(paths ...*string) error {
	for _, p := range paths {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	return nil
}

// dirs are the directories of the local server.
type dirs struct {
	state, runtime string
}

func (d *dirs) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&d.state, "state-dir", "", "`directory` where the local server stores its data")
	fs.StringVar(&d.runtime, "runtime-dir", "", "`directory` for the local server's socket and memory files")
	markConfigurable(fs, "state-dir", "runtime-dir")
}

func (d *dirs) resolve(a *app) error { return d.resolveFor(a, os.Geteuid() == 0) }

func (d *dirs) resolveFor(a *app, root bool) error {
	state, runtime := local.Dirs(a.getenv, root)
	d.state, d.runtime = cmp.Or(d.state, state), cmp.Or(d.runtime, runtime)
	if d.state == "" || d.runtime == "" {
		return usagef("HOME is not set: use --state-dir and --runtime-dir")
	}
	return absolute(&d.state, &d.runtime)
}

// logging are the options of the log on standard error.
type logging struct {
	level, format choice
}

func (l *logging) addFlags(fs *pflag.FlagSet) {
	l.level = newChoice("", "debug", "info", "warn", "error")
	l.format = newChoice("text", "text", "json")
	fs.Var(&l.level, "log-level", "lowest level to log: debug, info, warn or error (default warn; info in the background)")
	fs.Var(&l.format, "log-format", "log format: text or json")
	markConfigurable(fs, "log-level", "log-format")
}

// logger logs to w from the chosen level on; otherwise is the default level.
func (l *logging) logger(w io.Writer, otherwise slog.Level) *slog.Logger {
	level := otherwise
	if l.level.value != "" {
		_ = level.UnmarshalText([]byte(l.level.value)) // cannot fail: Set accepts only valid levels
	}
	opts := &slog.HandlerOptions{Level: level}
	if l.format.value == "json" {
		return slog.New(slog.NewJSONHandler(jsonWriter{w}, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// output is the output format of a command.
type output struct {
	format choice
}

func (o *output) addFlags(fs *pflag.FlagSet) {
	o.format = newChoice("text", "text", "json")
	fs.Var(&o.format, "output", "output format: text or json")
	markConfigurable(fs, "output")
}

func (o *output) json() bool { return o.format.value == "json" }

// choice is a flag with a fixed set of values.
type choice struct {
	value string
	words []string
}

func newChoice(value string, words ...string) choice { return choice{value, words} }

// String implements [pflag.Value].
func (c *choice) String() string { return c.value }

// Set implements [pflag.Value].
func (c *choice) Set(s string) error {
	if !slices.Contains(c.words, s) {
		return fmt.Errorf("must be %s or %s", strings.Join(c.words[:len(c.words)-1], ", "), c.words[len(c.words)-1])
	}
	c.value = s
	return nil
}

// Type implements [pflag.Value].
func (c *choice) Type() string { return "string" }
