package commyfs_test

import (
	"bufio"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// promises is how many there are.
const promises = 24

// TestPromises: each promise of docs/semantics.md says which tests prove it, unless it is not kept yet, and these tests are there; and
// no test is named after a promise that is not.
func TestPromises(t *testing.T) {
	tests := testFunctions(t)
	f, err := os.Open("docs/semantics.md")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var (
		title  = regexp.MustCompile(`^### S(\d+) `)
		naming = regexp.MustCompile("`(Test[A-Za-z0-9_]*)(\\*?)`")
		lines  = bufio.NewScanner(f)
		told   int
	)
	for lines.Scan() {
		m := title.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		if told++; m[1] != strconv.Itoa(told) {
			t.Fatalf("%q: want S%d", lines.Text(), told)
		}
		status := ""
		for lines.Scan() && !strings.HasPrefix(lines.Text(), "- ") {
			if status += lines.Text() + " "; status != " " && lines.Text() == "" {
				break
			}
		}
		status = strings.TrimSpace(status)
		named := naming.FindAllStringSubmatch(status, -1)
		switch {
		case strings.HasPrefix(status, "*not yet*"):
			continue
		case !strings.HasPrefix(status, "**kept**") && !strings.HasPrefix(status, "*part*"):
			t.Errorf("S%d: no status in %q", told, status)
		case len(named) == 0:
			t.Errorf("S%d: no test is named in %q", told, status)
		}
		for _, n := range named {
			there := slices.ContainsFunc(tests, func(test string) bool {
				return test == n[1] || n[2] != "" && strings.HasPrefix(test, n[1])
			})
			if !there {
				t.Errorf("S%d: there is no test %s%s", told, n[1], n[2])
			}
		}
	}
	if lines.Err() != nil || told != promises {
		t.Errorf("%d promises, want %d; %v", told, promises, lines.Err())
	}
	of := regexp.MustCompile(`^TestS(\d+)_`)
	for _, test := range tests {
		if m := of.FindStringSubmatch(test); m != nil {
			if n, err := strconv.Atoi(m[1]); err != nil || n < 1 || n > promises {
				t.Errorf("%s: there is no such promise", test)
			}
		}
	}
}

// testFunctions lists the tests of the repository.
func testFunctions(t *testing.T) (names []string) {
	t.Helper()
	function := regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9_]*)\(`)
	err := filepath.WalkDir(".", func(path string, d iofs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != ".":
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read a test: %w", err)
		}
		for _, m := range function.FindAllSubmatch(text, -1) {
			names = append(names, string(m[1]))
		}
		return nil
	})
	if err != nil || len(names) == 0 {
		t.Fatalf("%d tests, %v", len(names), err)
	}
	return names
}
