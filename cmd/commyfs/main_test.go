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
