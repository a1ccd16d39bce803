package core

import (
	"strings"
	"testing"

	"github.com/commy-project/commyfs/internal/names"
	"github.com/commy-project/commyfs/model"
)

// What a mount can be asked to make has a name that the server takes, and the longest still has one.
func TestNamesOfFiles(t *testing.T) {
	lim := model.Limits{Name: 1024, Component: 255}
	for _, file := range []string{
		"%", "%%", "%2", "%41", "%2e", "%2F", "a%2Fb", "%25", "%empty", "%25empty", "%2E", "%2E%2E", "%00", "%252E", ".x", "50%",
		strings.Repeat("%", 255), strings.Repeat("%00", 85), strings.Repeat("%25", 84) + "%00", strings.Repeat("ü", 127),
	} {
		if err := checkTenant(names.Decode(file, names.Tenant), lim); err != nil {
			t.Errorf("tenant %q: %v", file, err)
		}
		if err := checkService(names.Decode(file, names.Service), lim); err != nil {
			t.Errorf("service %q: %v", file, err)
		}
		variable, nested := names.Decode(file, names.Variable), names.Decode(file, names.Nested)
		for _, path := range []string{variable, variable + "/" + nested, "d/" + nested + "/v"} {
			if err := checkPath(path, lim); err != nil {
				t.Errorf("%q as a variable: %q: %v", file, path, err)
			}
		}
	}
}
