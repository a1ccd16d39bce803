package names

import (
	"math/rand/v2"
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
		{"%", Tenant, "%"},
		{"%", Service, "%"},
		{"%", Variable, "%"},
		{"%", Nested, "%"},
		{"%41", Variable, "%41"},
		{"%2e", Variable, "%2e"},
		{"a%00b", Variable, "a%2500b"},
		{"", Nested, "%empty"},
		{"%empty", Nested, "%25empty"},
		{"%empty", Variable, "%empty"}, // there is no empty component that this could be the file of
		{".", Variable, "%2E"},
		{"..", Variable, "%2E%2E"},
		{"...", Variable, "..."},
		{"%2E", Variable, "%252E"},
		{"a\x00b", Variable, "a%00b"},
		{"%2F", Tenant, "%2F"}, // nor one with a slash
		{"%2F", Nested, "%2F"},
		{"a%252Fb", Service, "a%252Fb"},
		{".commy", Tenant, "%2Ecommy"},
		{"%2Ecommy", Tenant, "%252Ecommy"},
		{".commy", Variable, ".commy"},
		{"%2Ecommy", Variable, "%2Ecommy"},
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

// isComponent says what a server accepts; isFile what a kernel does, and the mount does not keep for itself.
func isComponent(s string, l Level) bool {
	return !strings.Contains(s, "/") && (s != "" || l == Nested)
}

func isFile(s string, l Level) bool {
	return s != "" && s != "." && s != ".." && !Reserved(s, l) && !strings.ContainsAny(s, "\x00/")
}

// checkBijection checks one string as a component and as a file name, at each level.
func checkBijection(t *testing.T, s string) {
	t.Helper()
	for l := Tenant; l <= Nested; l++ {
		if isComponent(s, l) {
			file := Encode(s, l)
			if !isFile(file, l) {
				t.Fatalf("Encode(%q, %d) = %q is no file name", s, l, file)
			}
			if back := Decode(file, l); back != s {
				t.Fatalf("Decode(Encode(%q, %d)) = %q, by way of %q", s, l, back, file)
			}
		}
		if isFile(s, l) {
			c := Decode(s, l)
			if !isComponent(c, l) {
				t.Fatalf("Decode(%q, %d) = %q is no component", s, l, c)
			}
			if again := Encode(c, l); again != s {
				t.Fatalf("Encode(Decode(%q, %d)) = %q, by way of %q", s, l, again, c)
			}
		}
	}
}

func seeds() []string {
	return []string{"", ".", "..", "%", "%2E", "%25", "%252E", "%%", "%2", "a%", "%00", "\x00", "a/b", "%2F", ".commy", "%empty",
		"%25empty", "%2Ecommy", "%252Ecommy", ".service.mem", "%2Eservice.mem", "50%25", "%2e", strings.Repeat("%25", 50) + "2E"}
}

// Random strings of the pieces that mean something, so that nearly each is an escape, nearly one, or one of one.
func TestBijection(t *testing.T) {
	pieces := []string{"%", "2", "5", "25", "2E", "2F", "00", "e", "empty", ".", "commy", "service.mem", "\x00", "a", "ü", "\xff"}
	escaped := 0
	for range 200_000 {
		var b strings.Builder
		for range rand.IntN(7) {
			b.WriteString(pieces[rand.IntN(len(pieces))])
		}
		checkBijection(t, b.String())
		if Encode(b.String(), Variable) != b.String() {
			escaped++
		}
	}
	if escaped < 1000 {
		t.Errorf("only %d of the names were escaped", escaped)
	}
	for _, s := range seeds() {
		checkBijection(t, s)
	}
}

// Both ways are exact: a component comes back from its file name, and a file name from its component.
func FuzzBijection(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	f.Fuzz(checkBijection)
}
