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

// Options configure [Connect]. The zero value selects your own server on this machine.
type Options struct {
	// URLs are tried in order: wss://host:port or unix:///path. Default: your own server on this machine.
	URLs []string
	// APIKey authenticates the client to a server on another host. APIKeyFile is a file that contains the key; it is read
	// for every connection, so the key can be replaced. Other users must not be able to read it.
	APIKey, APIKeyFile string
	// CAFile contains the CA certificates to trust. Default: the system's.
	CAFile string
	// CertFile and KeyFile are the client certificate and its key. Default: none.
	CertFile, KeyFile string

	// StateDir and RuntimeDir are the directories of your own server, for its data and its socket. They must be absolute.
	// Default: those of the command, in XDG_STATE_HOME, XDG_RUNTIME_DIR or the home directory; for root /var/lib/commyfs
	// and /run/commyfs.
	StateDir, RuntimeDir string
	// Command starts your own server: the commyfs program, with its first arguments if it needs any. Default: commyfs in
	// PATH. The server runs in a separate process and exits a few seconds after its last client.
	Command []string
	// ServerArgs are options of `commyfs serve` for that server.
	ServerArgs []string
	// NoStart makes Connect fail with [ErrUnreachable] if your own server is not running.
	NoStart bool

	// Timeout limits every wait for the server. Default: 5 s.
	Timeout time.Duration
	// Idle is how long the client follows a service after its last use. Default: 1 min. Negative: until Close.
	Idle time.Duration
	// NoMap keeps copies in private memory on the server's host too. A watch then reports the value of each change. From
	// shared memory it may read a later value, and reports both changes as one.
	NoMap bool
	// Program is the name of this client in the status of the server. Default: the base name of os.Args[0].
	Program string
	// Logger receives messages about the connection. Default: none.
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
		d.Local = local.Options{StateDir: o.StateDir, RuntimeDir: o.RuntimeDir, Command: o.command(), Args: o.ServerArgs}
	}
	return dial.New(d), nil
}

func (o *Options) command() []string {
	if len(o.Command) > 0 {
		return o.Command
	}
	path, err := exec.LookPath("commyfs")
	if err != nil {
		path = "commyfs" // starting the server reports the error
	}
	return []string{path}
}

func (o *Options) apiKey() (string, error) {
	if o.APIKeyFile != "" {
		return dial.ReadKey(o.APIKeyFile)
	}
	return o.APIKey, dial.CheckKey(o.APIKey, "APIKey")
}

// client describes this program to the server.
func (o *Options) client() model.Client {
	host, _ := os.Hostname() // for show
	who := model.Client{Program: cmp.Or(o.Program, filepath.Base(os.Args[0])), Pid: os.Getpid(), Host: host}
	if info, ok := debug.ReadBuildInfo(); ok {
		who.Version = info.Main.Version
	}
	return who
}
