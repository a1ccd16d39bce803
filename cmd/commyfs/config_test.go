package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// configured parses a command line of a command that has the options of mount, with an environment and a config.yaml.
func configured(t *testing.T, env map[string]string, file string, args ...string) (*mountOptions, *app, error) {
	t.Helper()
	home := t.TempDir()
	all := map[string]string{"HOME": home}
	for k, v := range env {
		all[k] = v
	}
	if file != "" {
		dir := filepath.Join(home, ".config", "commyfs")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a, _, _ := testApp(all)
	var o mountOptions
	cmd := &cobra.Command{
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.configure(cmd.Flags(), a.newRootCommand()) },
		RunE:              func(*cobra.Command, []string) error { return nil },
		SilenceErrors:     true,
		SilenceUsage:      true,
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usagef("%w", err) })
	o.addFlags(cmd.Flags())
	if args == nil {
		args = []string{} // nil would be the test's own
	}
	cmd.SetArgs(args)
	return &o, a, cmd.ExecuteContext(t.Context())
}

func TestPrecedence(t *testing.T) {
	const file = "timeout: 2s\nserver: [wss://file:1, wss://file:2]\ntenant: [a, b]\nread-only: true\n"
	env := map[string]string{"COMMYFS_TIMEOUT": "3s", "COMMYFS_SERVER": "wss://env:1,wss://env:2"}
	for _, tt := range []struct {
		name    string
		env     map[string]string
		file    string
		args    []string
		timeout time.Duration
		server  string
		tenants string
		ro      bool
	}{
		{name: "default", timeout: 5 * time.Second},
		{name: "file", file: file, timeout: 2 * time.Second, server: "wss://file:1 wss://file:2", tenants: "a b", ro: true},
		{name: "environment over file", env: env, file: file, timeout: 3 * time.Second, server: "wss://env:1 wss://env:2", tenants: "a b", ro: true},
		{name: "flag over both", env: env, file: file, args: []string{"--timeout", "4s", "--server", "wss://flag:1", "--tenant", "c", "--read-only=false"},
			timeout: 4 * time.Second, server: "wss://flag:1", tenants: "c"},
		{name: "-o is a flag", env: env, file: file, args: []string{"-o", "timeout=4s,server=wss://flag:1,tenant=c,read_only=false"},
			timeout: 4 * time.Second, server: "wss://flag:1", tenants: "c"},
		{name: "explicit default", env: env, file: file, args: []string{"--timeout=5s"}, timeout: 5 * time.Second,
			server: "wss://env:1 wss://env:2", tenants: "a b", ro: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, _, err := configured(t, tt.env, tt.file, tt.args...)
			if err != nil {
				t.Fatal(err)
			}
			if o.timeout != tt.timeout || strings.Join(o.server, " ") != tt.server || strings.Join(o.tenants, " ") != tt.tenants || o.readOnly != tt.ro {
				t.Errorf("got timeout %v, server %q, tenants %q, read-only %v", o.timeout, o.server, o.tenants, o.readOnly)
			}
		})
	}
}

func TestPathsInFile(t *testing.T) {
	o, a, err := configured(t, map[string]string{"COMMYFS_CERT": "cert.pem"}, "ca: ca.pem\napi-key-file: ~/key\nkey: /abs/key\n")
	if err != nil {
		t.Fatal(err)
	}
	home := a.getenv("HOME")
	if want := filepath.Join(home, ".config/commyfs/ca.pem"); o.ca != want {
		t.Errorf("relative: %q, want %q", o.ca, want)
	}
	if want := filepath.Join(home, "key"); o.apiKeyFile != want {
		t.Errorf("at home: %q, want %q", o.apiKeyFile, want)
	}
	if o.key != "/abs/key" || o.cert != "cert.pem" {
		t.Errorf("absolute %q, in the environment %q", o.key, o.cert)
	}
	// Without a server they are of no use, and no mistake either: the file serves every command.
	if err := o.resolve(a); err != nil {
		t.Error(err)
	}
}

func TestAPIKey(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	flag, env, file := write("flag", "by-flag\n"), write("env", "by-env\n"), "api-key-file: "+write("file", "by-file\n")+"\n"
	for _, tt := range []struct {
		name string
		env  map[string]string
		args []string
		want string
	}{
		{"file", nil, nil, "by-file"},
		{"file named in the environment", map[string]string{"COMMYFS_API_KEY_FILE": env}, nil, "by-env"},
		{"secret in the environment", map[string]string{"COMMYFS_API_KEY_FILE": env, "COMMYFS_API_KEY": "secret"}, nil, "secret"},
		{"flag", map[string]string{"COMMYFS_API_KEY": "secret"}, []string{"--api-key-file", flag}, "by-flag"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, a, err := configured(t, tt.env, file, tt.args...)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := o.apiKey(a); got != tt.want || err != nil {
				t.Errorf("key %q, %v, want %q", got, err, tt.want)
			}
		})
	}
	for _, text := range []string{"", "two words", "not\x00printable"} {
		o := common{apiKeyFile: write("bad", text)}
		if _, err := o.apiKey(nil); exitCode(err) != exitDenied || text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("a file with %q: %v", text, err)
		}
	}
}

func TestMountFlags(t *testing.T) {
	o, _, err := configured(t, nil, "", "-o", "_netdev,x-systemd.automount,rw,nofail,defaults,allow_other,uid=7,umask=077,sync=always", "-o", "ro,tenant=a,tenant=b,daemon")
	if err != nil {
		t.Fatal(err)
	}
	if !o.allowOther || o.uid != 7 || o.umask != 0o077 || o.sync.value != "always" || !o.readOnly || !o.daemon || !slices.Equal(o.tenants, []string{"a", "b"}) {
		t.Errorf("got %+v", o)
	}
	for list, says := range map[string]string{
		"frobnicate":    "frobnicate",
		"noexec":        "noexec",
		"env.NAME=x":    "env.NAME",
		"option=ro":     "option",
		"help":          "help",
		"uid":           "uid=VALUE",
		"uid=me":        "uid",
		"sync=always,x": `"x"`,
	} {
		_, _, err := configured(t, nil, "", "-o", list)
		if exitCode(err) != exitUsage || !strings.Contains(errorLine(err), says) {
			t.Errorf("-o %s: %v, want wrong usage that says %q", list, err, says)
		}
	}
}

func TestDirs(t *testing.T) {
	if os.Geteuid() == 0 {
		var d dirs
		a, _, _ := testApp(map[string]string{"HOME": "/h", "XDG_STATE_HOME": "/x"})
		if err := d.resolve(a); err != nil || d.state != "/var/lib/commyfs" || d.runtime != "/run/commyfs" {
			t.Errorf("root: %+v, %v", d, err)
		}
	}
	for _, tt := range []struct {
		name string
		env  map[string]string
		want dirs
	}{
		{"home", map[string]string{"HOME": "/h"}, dirs{"/h/.local/state/commyfs", "/h/.cache/commy_virtual_files"}},
		{"XDG", map[string]string{"HOME": "/h", "XDG_STATE_HOME": "/s", "XDG_RUNTIME_DIR": "/r"}, dirs{"/s/commyfs", "/r/commyfs"}},
		{"relative XDG", map[string]string{"HOME": "/h", "XDG_STATE_HOME": "s", "XDG_RUNTIME_DIR": "r"}, dirs{"/h/.local/state/commyfs", "/h/.cache/commy_virtual_files"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, _, _ := testApp(tt.env)
			var d dirs
			if err := d.resolveFor(a, false); err != nil || d != tt.want {
				t.Errorf("got %+v, %v, want %+v", d, err, tt.want)
			}
		})
	}
	a, _, _ := testApp(nil)
	if err := new(dirs).resolveFor(a, false); err == nil || !strings.Contains(err.Error(), "--state-dir") {
		t.Errorf("no home: %v", err)
	}
}
