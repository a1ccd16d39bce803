package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/commy-project/commyfs/internal/testenv"
)

// TestNamesAreHarmless: names that others chose do nothing to the terminal of who looks at them, forge no lines, and are
// told whole in JSON.
func TestNamesAreHarmless(t *testing.T) {
	t.Parallel()
	h := NewHost(t)
	hostile := "a\x1b[31m\nforged \u009b2J\u202eline\x07"
	dir := h.path("mnt\x1b]0;title\x07\u202e")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	watch := h.Start("watch")
	testenv.Eventually(t, slower(10*time.Second), func() error {
		if !strings.Contains(h.Run("status").Stdout, "watch, pid") {
			return errors.New("nobody watches")
		}
		return nil
	})
	m := h.MountOn(dir)
	for _, name := range []string{hostile, "latin-\xe9", `back\slash`} {
		if err := os.MkdirAll(m.Path(hostile+"/s/"+name), 0o755); err != nil {
			t.Fatal(err)
		}
		m.Write(hostile+"/s/"+name+"/v", "value of "+name)
	}
	harmless := func(what, out string) {
		t.Helper()
		if i := strings.IndexFunc(out, func(r rune) bool { return r != '\n' && (!unicode.IsPrint(r) || r == unicode.ReplacementChar) }); i >= 0 {
			t.Errorf("%s: %q in %q", what, out[i:min(i+4, len(out))], out)
		}
		for line := range strings.Lines(out) {
			if strings.HasPrefix(line, "forged") {
				t.Errorf("%s: a forged line in %q", what, out)
			}
		}
	}
	for _, args := range []string{"ls", "ls -l", "ls -R", "ls -lR", "status", "status --output json", "doctor", "doctor --output json", "key list"} {
		harmless(args, h.Run(strings.Fields(args)...).Stdout)
	}
	for _, args := range [][]string{{"stat", hostile}, {"ls", "-l", hostile + "/s"}, {"get", "nowhere/" + hostile + "/v"}, {"get", hostile}, {"rm", hostile + "/s"},
		{"ls", hostile + "/none"}, {"umount", dir + "none"}, {"watch", "a//" + hostile}, {"mount", dir + "none/x"}, {"key", "revoke", hostile}, {"ls", "--" + hostile}} {
		r := h.Run(args...)
		harmless(strings.Join(args, " "), r.Stdout+r.Stderr)
	}
	testenv.Eventually(t, slower(10*time.Second), func() error {
		if n := len(watch.stdout.Lines()); n < 8 {
			return fmt.Errorf("%d changes are told of", n)
		}
		return nil
	})
	harmless("watch", watch.stdout.String())
	if got := h.Must("ls", hostile+"/s"); got != `a\x1b[31m\nforged \xc2\x9b2J\xe2\x80\xaeline\x07/`+"\n"+`back\\slash/`+"\n"+`latin-\xe9/`+"\n" {
		t.Errorf("ls shows %q", got)
	}
	if got := h.Must("get", hostile+"/s/latin-\xe9/v"); got != "value of latin-\xe9" {
		t.Errorf("get changes the value: %q", got)
	}

	var paths []string
	for line := range strings.Lines(h.Must("ls", "-R", hostile+"/s", "--output", "json")) {
		var e struct {
			Path string
			Raw  []byte `json:"path_base64"`
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Raw != nil {
			e.Path = string(e.Raw)
		}
		paths = append(paths, e.Path)
	}
	for _, name := range []string{hostile, "latin-\xe9", `back\slash`} {
		if !strings.Contains(strings.Join(paths, "\x00"), hostile+"/s/"+name+"/v") {
			t.Errorf("no %q in JSON: %q", name, paths)
		}
	}
}
