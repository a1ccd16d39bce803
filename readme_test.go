package commyfs_test

import (
	"os"
	"strings"
	"testing"
)

// TestREADME: what the README shows of the package is in the examples, which are run.
func TestREADME(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	check(t, err)
	examples, err := os.ReadFile("example_test.go")
	check(t, err)
	_, section, _ := strings.Cut(string(readme), "## In Go\n")
	section, _, _ = strings.Cut(section, "\n## ")
	shown := 0
	for line := range strings.Lines(section) {
		code, ok := strings.CutPrefix(line, "    ")
		if !ok {
			continue
		}
		code, _, _ = strings.Cut(code, " // ")
		code = strings.ReplaceAll(strings.TrimSpace(code), "commyfs.Options{}", "options")
		if shown++; !strings.Contains(string(examples), code) {
			t.Errorf("no example has %q", code)
		}
	}
	if shown < 5 {
		t.Errorf("the README shows %d lines of Go", shown)
	}
}
