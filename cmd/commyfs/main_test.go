package main

import (
	"bytes"
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
		{"set t/s/v -5", "set t/s/v -- -5"},
		{"set t/s/v -.5 --if-version 3", "set t/s/v --if-version 3 -- -.5"},
		{"set t/s/v -- -x", "set t/s/v -- -x"},
		{"set -- t/s/v -5", "set -- t/s/v -5"},
		{"ls -l -R", "ls -l -R"},
		{"set t/s/v -", "set t/s/v -"},
	} {
		if got := strings.Join(numbersLast(strings.Fields(tt.args)), " "); got != tt.want {
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
