package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// testApp is an app with an environment of its own, and nothing on standard input.
func testApp(env map[string]string) (*app, *bytes.Buffer, *bytes.Buffer) {
	var stdout, stderr bytes.Buffer
	a := &app{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, getenv: func(k string) string { return env[k] }}
	return a, &stdout, &stderr
}

func TestWrongUsage(t *testing.T) {
	for _, tt := range []struct {
		args string
		says string
	}{
		{"frobnicate", "frobnicate"},
		{"get", "usage: commyfs get PATH..."},
		{"get --frobnicate t/s/v", "frobnicate"},
		{"get t/s", "tenant/service/variable"},
		{"get t/s/v --timeout soon", "soon"},
		{"get t/s/v --timeout 0s", "--timeout"},
		{"get t/s/v --output xml", "xml"},
		{"get t/s/v --log-level loud", "loud"},
		{"get t/s/v --server http://x", "wss://"},
		{"get t/s/v --server ws://192.0.2.1:1", "wss://"},
		{"get t/s/v --server unix://relative", "wss://"},
		{"get t/s/v --server wss://", "wss://host:port"},
		{"get t/s/v --server wss://127.0.0.1:99999", "wss://host:port"},
		{"get t/s/v --server wss://127.0.0.1:", "wss://host:port"},
		{"get t/s/v --server wss://u:p@127.0.0.1:1", "wss://host:port"},
		{"get t/s/v --ca x", "--server"},
		{"get t/s/v --api-key-file x", "--server"},
		{"get t/s/v --server wss://127.0.0.1:1 --api-key-file commy_name_secret", "file"},
		{"set t/s/v --if-version -1 a", `--if-version "-1"`},
		{"key create name --tenant a/b", `"a/b"`},
		{"serve --listen 127.0.0.1:99999 --tls-self-signed", "host:port"},
		{"mount a --uid me", "number"},
		{"mount a --read-only=perhaps", "true or false"},
		{"get t/s/v --cert a", "--key"},
		{"set t/s/v a b", `"b"`},
		{"set t//v a", "empty component"},
		{"set t/s/v a --if-version x", "if-version"},
		{"stat /", "tenant"},
		{"version now", "now"},
		{"key", "create"},
		{"key frobnicate", "frobnicate"},
		{"key create", "NAME"},
		{"key create name --rights fly", "fly"},
		{"mount", "DIR"},
		{"mount a b", `"b"`},
		{"mount a -o frobnicate=1", "frobnicate"},
		{"mount a --events none,sometimes", "none"},
		{"mount a --umask 999", "umask"},
		{"mount a --sync sometimes", "sometimes"},
		{"serve --listen nonsense", "nonsense"},
		{"serve --listen 127.0.0.1:0", "--tls-self-signed"},
		{"serve --listen :0 --tls-cert x", "--tls-key"},
		{"serve --tls-self-signed", "--listen"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			a, stdout, stderr := testApp(map[string]string{"HOME": t.TempDir()})
			code := a.run(t.Context(), strings.Fields(tt.args))
			line := strings.TrimSuffix(stderr.String(), "\n")
			if code != exitUsage || !strings.HasPrefix(line, "commyfs: ") || strings.Contains(line, "\n") || !strings.Contains(line, tt.says) {
				t.Errorf("exit code %d and %q, want %d and one line that has %q", code, line, exitUsage, tt.says)
			}
			if stdout.Len() > 0 {
				t.Errorf("standard output has %q", stdout)
			}
		})
	}
}

func TestNumbersLast(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"set t/s/v 5", "set t/s/v 5"},
		{"set t/s/v -5", "set -- t/s/v -5"},
		{"set t/s/v -.5 --if-version 3", "set --if-version 3 -- t/s/v -.5"},
		{"set --timeout -1s t/s/v 5", "set --timeout -1s t/s/v 5"},
		{"set --timeout -1s t/s/v -5", "set --timeout -1s -- t/s/v -5"},
		{"set --timeout=1s t/s/v -5", "set --timeout=1s -- t/s/v -5"},
		{"get t/s/v -5/s/v t/s/w --output json", "get --output json -- t/s/v -5/s/v t/s/w"},
		{"ls -lR -5", "ls -lR -- -5"},
		{"key revoke -5", "key revoke -- -5"},
		{"mount -o ro -5", "mount -o ro -- -5"},
		{"set -- t/s/v -5 -x", "set -- t/s/v -5 -x"},
		{"set t/s/v -5 -- -x", "set -- t/s/v -5 -x"},
		{"set t/s/v -- -x", "set t/s/v -- -x"},
		{"set -- t/s/v -5", "set -- t/s/v -5"},
		{"ls -l -R", "ls -l -R"},
		{"set t/s/v -", "set t/s/v -"},
	} {
		a, _, _ := testApp(nil)
		if got := strings.Join(numbersLast(a.newRootCommand(), strings.Fields(tt.args)), " "); got != tt.want {
			t.Errorf("numbersLast(%q) = %q, want %q", tt.args, got, tt.want)
		}
	}
}

func TestVersion(t *testing.T) {
	a, stdout, _ := testApp(nil)
	if code := a.run(t.Context(), []string{"version", "--output", "json"}); code != exitOK {
		t.Fatalf("exit code %d", code)
	}
	for _, want := range []string{`"version":"`, `"go":"go1`, `"diff":"`} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("%s is not in %s", want, stdout)
		}
	}
}

func TestSuggestions(t *testing.T) {
	for args, says := range map[string]string{
		"stauts":      "status",
		"unmount x":   "umount",
		"delete x":    "rm",
		"key rm":      "revoke",
		"help stauts": "status",
		"help nope":   "commyfs --help",
	} {
		a, _, stderr := testApp(nil)
		if code := a.run(t.Context(), strings.Fields(args)); code != exitUsage || !strings.Contains(stderr.String(), says) {
			t.Errorf("%s: exit code %d, %q, want %d and %q", args, code, stderr, exitUsage, says)
		}
	}
}

// TestLinkedVersion: the linker says nothing about a variable that does not exist.
func TestLinkedVersion(t *testing.T) {
	defer func(before string) { version = before }(version)
	version = "v1.2.3"
	a, stdout, _ := testApp(nil)
	if code := a.run(t.Context(), []string{"--version"}); code != exitOK || stdout.String() != "commyfs v1.2.3\n" {
		t.Errorf("exit code %d, %q", code, stdout)
	}
	for _, file := range []string{"../../Makefile", "../../Dockerfile"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "-X main.version=") {
			t.Errorf("%s does not set main.version", file)
		}
	}
}
