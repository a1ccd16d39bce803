package names

import (
	"strings"
	"testing"
)

func TestEncode(t *testing.T) {
	for _, tt := range []struct {
		name  string
		level Level
		want  string
	}{
		{"temp", Variable, "temp"},
		{"50%", Variable, "50%"},
		{"50%25", Variable, "50%25"},
		{"a%00b", Variable, "a%2500b"},
		{"", Variable, "%"},
		{"%", Variable, "%25"},
		{".", Variable, "%2E"},
		{"..", Variable, "%2E%2E"},
		{"...", Variable, "..."},
		{"%2E", Variable, "%252E"},
		{"a\x00b", Variable, "a%00b"},
		{"a/b", Tenant, "a%2Fb"},
		{"a%2Fb", Tenant, "a%252Fb"},
		{"a%2Fb", Variable, "a%2Fb"}, // there is no component a/b that this could be the file of
		{"a%252Fb", Nested, "a%252Fb"},
		{".commy", Tenant, "%2Ecommy"},
		{".commy", Variable, ".commy"},
		{".service.mem", Variable, "%2Eservice.mem"},
		{".service.mem", Nested, ".service.mem"},
		{"Übung", Service, "Übung"},
	} {
		if got := Encode(tt.name, tt.level); got != tt.want {
			t.Errorf("Encode(%q, %d) = %q, want %q", tt.name, tt.level, got, tt.want)
		}
		if got := Decode(tt.want, tt.level); got != tt.name {
			t.Errorf("Decode(%q, %d) = %q, want %q", tt.want, tt.level, got, tt.name)
		}
	}
}

func seeds() []string {
	return []string{"", ".", "..", "%", "%2E", "%25", "%252E", "%%", "%2", "a%", "%00", "\x00", "a/b", ".commy",
		"%2Ecommy", "%252Ecommy", ".service.mem", "%2Eservice.mem", "50%25", "%2e", strings.Repeat("%25", 50) + "2E"}
}

// Both ways are exact: a component comes back from its file name, and a file name from its component.
func FuzzBijection(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for l := Tenant; l <= Nested; l++ {
			if l >= Variable && strings.Contains(s, "/") {
				continue // no component
			}
			file := Encode(s, l)
			if file == "" || file == "." || file == ".." || reserved(file, l) || strings.ContainsAny(file, "\x00/") {
				t.Fatalf("Encode(%q, %d) = %q is no file name", s, l, file)
			}
			if back := Decode(file, l); back != s {
				t.Fatalf("Decode(Encode(%q)) = %q, by way of %q", s, back, file)
			}
			if s == "" || s == "." || s == ".." || reserved(s, l) || strings.ContainsAny(s, "\x00/") {
				continue
			}
			if again := Encode(Decode(s, l), l); again != s {
				t.Fatalf("Encode(Decode(%q)) = %q", s, again)
			}
		}
	})
}
