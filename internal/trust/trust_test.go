package trust

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/commy-project/commyfs/internal/testenv"
)

const other = 65534

// tree makes home/.config/commyfs/config.yaml below a directory that is sticky and open to all, as /tmp is.
func tree(t *testing.T) (base, file string) {
	t.Helper()
	base = t.TempDir()
	file = filepath.Join(base, "home", "dir", "config.yaml")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("timeout: 5s\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(base, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	return base, file
}

// prepare changes what tree made below base.
type prepare func(t *testing.T, base string)

func chmod(mode os.FileMode, parts ...string) prepare {
	return func(t *testing.T, base string) {
		if err := os.Chmod(filepath.Join(append([]string{base}, parts...)...), mode); err != nil {
			t.Fatal(err)
		}
	}
}

func chown(uid, gid int, parts ...string) prepare {
	return func(t *testing.T, base string) {
		if err := os.Lchown(filepath.Join(append([]string{base}, parts...)...), uid, gid); err != nil {
			t.Fatal(err)
		}
	}
}

func link(target string, parts ...string) prepare {
	return func(t *testing.T, base string) {
		name := filepath.Join(append([]string{base}, parts...)...)
		if err := os.Rename(name, name+".real"); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(strings.ReplaceAll(target, "BASE", base), name); err != nil {
			t.Fatal(err)
		}
	}
}

func all(list ...prepare) prepare {
	return func(t *testing.T, base string) {
		for _, f := range list {
			f(t, base)
		}
	}
}

var config = []string{"home", "dir", "config.yaml"}

func TestReadObeyed(t *testing.T) {
	testenv.Root(t)
	for _, c := range []struct {
		name    string
		prepare prepare
		says    string // of the refusal; empty: accepted
	}{
		{"as it is made", all(), ""},
		{"private", chmod(0o600, config...), ""},
		{"of another user", chown(other, other, config...), "config.yaml"},
		{"writable by all", chmod(0o666, config...), "mode 0666"},
		{"writable by a group", all(chown(0, 100, config...), chmod(0o664, config...)), "mode 0664"},
		{"writable by the owner's own group", chmod(0o664, config...), ""},
		{"in a directory of another user", chown(other, other, "home", "dir"), "dir"},
		{"in a directory open to all", chmod(0o777, "home", "dir"), "mode 0777"},
		{"below a directory of another user", chown(other, 0, "home"), "home"},
		{"below a directory open to a group", all(chown(0, 100, "home"), chmod(0o775, "home")), "mode 0775"},
		{"of another user in a sticky directory", all(chmod(0o777|os.ModeSticky, "home", "dir"), chown(other, 0, config...)), "config.yaml"},
		{"own in a sticky directory", chmod(0o777|os.ModeSticky, "home", "dir"), ""},
		{"a link", link("config.yaml.real", config...), ""},
		{"a link that another made", all(link("config.yaml.real", config...), chown(other, other, config...)), "config.yaml"},
		{"a link to another's file", all(link("config.yaml.real", config...), chown(other, other, "home", "dir", "config.yaml.real")), "config.yaml"},
		{"a link through another's directory", all(link("BASE/home/dir.real", "home", "dir"), chown(other, other, "home", "dir.real")), "dir.real"},
		{"a link that goes up", link("../dir/../dir/config.yaml.real", config...), ""},
		{"a link to itself", link("config.yaml", config...), "too many"},
		{"a pipe", func(t *testing.T, base string) {
			name := filepath.Join(base, "home", "dir", "config.yaml")
			if err := errors.Join(os.Remove(name), syscall.Mkfifo(name, 0o600)); err != nil {
				t.Fatal(err)
			}
		}, "regular"},
	} {
		t.Run(c.name, func(t *testing.T) {
			base, file := tree(t)
			c.prepare(t, base)
			got, err := ReadObeyed(file)
			switch {
			case c.says == "" && (err != nil || string(got) != "timeout: 5s\n"):
				t.Errorf("%q, %v", got, err)
			case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
				t.Errorf("error %v does not say %q", err, c.says)
			}
		})
	}
}

// A user may trust himself, whom root need not trust.
func TestReadObeyedByOwner(t *testing.T) {
	testenv.Root(t)
	base, file := tree(t)
	all(chown(other, other, "home"), chown(other, other, "home", "dir"), chown(other, other, config...))(t, base)
	if _, err := readObeyed(file, other); err != nil {
		t.Errorf("one's own: %v", err)
	}
	if _, err := readObeyed(file, 0); !errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), "owner nobody") {
		t.Errorf("another's, for root: %v", err)
	}
	if _, err := ReadObeyed(filepath.Join(base, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestCheckSecret(t *testing.T) {
	testenv.Root(t)
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		mode  os.FileMode
		owner int
		euid  int
		ok    bool
	}{
		{0o600, 0, 0, true}, {0o400, 0, 0, true}, {0o640, 0, 0, true}, {0o644, 0, 0, false}, {0o604, 0, 0, false}, {0o660, 0, 0, false},
		{0o600, other, other, true}, {0o640, other, other, false}, {0o644, other, other, false}, {0o666, other, other, false},
		{0o640, 0, other, true}, {0o644, 0, other, false}, {0o644, other, 0, true},
	} {
		if err := errors.Join(os.Chmod(file, c.mode), os.Chown(file, c.owner, 100)); err != nil {
			t.Fatal(err)
		}
		if err := checkSecret(file, c.euid); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrUntrusted) {
			t.Errorf("mode %04o of %d for %d: %v", c.mode, c.owner, c.euid, err)
		}
	}
	if err := CheckSecret(file + "none"); err != nil {
		t.Errorf("no file: %v", err)
	}
}

func TestCheckAuthority(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for mode, ok := range map[os.FileMode]bool{0o644: true, 0o600: true, 0o666: false, 0o646: false} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		if err := CheckAuthority(file); (err == nil) != ok {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
}
