package commyfs

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/commy-project/commyfs/internal/dial"
	"github.com/commy-project/commyfs/internal/local"
	"github.com/commy-project/commyfs/model"
)

// Options configure [Connect]. The zero value means this user's own server on this machine.
type Options struct {
	// URLs are servers to try in turn: wss://host:port or unix:///path/to/server.sock. None: this user's own server.
	URLs []string
	// APIKey opens a server on another host; APIKeyFile holds it, and is read at every connection, so that it can be
	// replaced. Nobody else may be able to read the file.
	APIKey, APIKeyFile string
	// CAFile holds the certificates to trust. Default: the system's.
	CAFile string
	// CertFile and KeyFile are a client certificate. Default: none.
	CertFile, KeyFile string

	// StateDir and RuntimeDir are where this user's own server keeps its data and its socket, absolute. Default: as the
	// command does without its options: below XDG_STATE_HOME and XDG_RUNTIME_DIR or the home directory, for root
	// /var/lib/commyfs and /run/commyfs.
	StateDir, RuntimeDir string
	// Command is the program commyfs, and its first arguments, by which this user's own server is started. Default:
	// commyfs in PATH. The server is a process of its own: it outlives this program, and ends some seconds after its last
	// client.
	Command []string
	// NoStart makes Connect fail, with [ErrUnreachable], where this user's own server does not run.
	NoStart bool

	// Timeout bounds every wait for the server. Default: 5 s.
	Timeout time.Duration
	// Idle is how long a service that is neither read nor watched is followed. Default: 1 min; negative: for ever.
	Idle time.Duration
	// NoMap keeps the copies of services in this process's own memory, also on the server's host. Every watch then reports
	// each value; from shared memory it may find a later one, which stands for both.
	NoMap bool
	// Program is what the server shows others that we are. Default: the base name of os.Args[0].
	Program string
	// Logger is told of the connection's fate. Default: nobody.
	Logger *slog.Logger
}

func (o *Options) dialer() (*dial.Dialer, error) {
	o.Timeout = cmp.Or(o.Timeout, 5*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	d := dial.Options{URLs: o.URLs, APIKey: o.apiKey, CAFile: o.CAFile, CertFile: o.CertFile, KeyFile: o.KeyFile, Timeout: o.Timeout,
		NoStart: o.NoStart, Logger: o.Logger}
	if len(o.URLs) == 0 {
		state, runtime := local.Dirs(os.Getenv, os.Geteuid() == 0)
		o.StateDir, o.RuntimeDir = cmp.Or(o.StateDir, state), cmp.Or(o.RuntimeDir, runtime)
		if o.StateDir == "" || o.RuntimeDir == "" {
			return nil, fmt.Errorf("%w: HOME is not set, and StateDir and RuntimeDir are not given", ErrInvalid)
		}
		d.Local = local.Options{StateDir: o.StateDir, RuntimeDir: o.RuntimeDir, Command: o.command()}
	}
	return dial.New(d), nil
}

func (o *Options) command() []string {
	if len(o.Command) > 0 {
		return o.Command
	}
	path, err := exec.LookPath("commyfs")
	if err != nil {
		path = "commyfs" // the start of a server says that there is none
	}
	return []string{path}
}

func (o *Options) apiKey() (string, error) {
	if o.APIKeyFile != "" {
		return dial.ReadKey(o.APIKeyFile)
	}
	return o.APIKey, dial.CheckKey(o.APIKey, "APIKey")
}

// client is what we say of ourselves.
func (o *Options) client() model.Client {
	host, _ := os.Hostname() // for show
	who := model.Client{Program: cmp.Or(o.Program, filepath.Base(os.Args[0])), Pid: os.Getpid(), Host: host}
	if info, ok := debug.ReadBuildInfo(); ok {
		who.Version = info.Main.Version
	}
	return who
}
