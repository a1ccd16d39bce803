package integration

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestDocs_Promises: each promise says whether it is kept, and which tests prove it. That they are there is for
// TestDocs_NamedTests.
func TestDocs_Promises(t *testing.T) {
	const promises = 24
	text, err := os.ReadFile("../docs/semantics.md")
	if err != nil {
		t.Fatal(err)
	}
	title, test := regexp.MustCompile(`^S(\d+) `), regexp.MustCompile("`Test\\w+\\*?`")
	for i, section := range strings.Split(string(text), "\n### ")[1:] {
		parts := strings.SplitN(section, "\n\n", 3) // the title, the status, and what is promised
		m := title.FindStringSubmatch(parts[0])
		if m == nil || m[1] != strconv.Itoa(i+1) || i >= promises {
			t.Fatalf("title %q: want S%d of %d", parts[0], i+1, promises)
		}
		kept := strings.HasPrefix(parts[1], "**kept**") || strings.HasPrefix(parts[1], "*part*")
		switch {
		case !kept && !strings.HasPrefix(parts[1], "*not yet*"):
			t.Errorf("S%d: no status in %q", i+1, parts[1])
		case kept && !test.MatchString(parts[1]):
			t.Errorf("S%d: no test is named in %q", i+1, parts[1])
		case i+1 == promises:
			return
		}
	}
	t.Errorf("fewer than %d promises", promises)
}
