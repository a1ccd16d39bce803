package fs

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"syscall"
)

// Temporaries says which new files live only in the mount that made them, until they are renamed to another name or
// removed: what editors and tools put beside a file. The zero value is what [DefaultTemporaries] lists.
type Temporaries struct {
	rules []temporaryRule
	given bool
}

// temporaryRule is a pattern, and how a file has to be made for it to count.
type temporaryRule struct {
	pattern string
	how     string
}

const (
	madeAnyhow  = ""
	madeExcl    = "excl:"    // with O_EXCL
	madeMkstemp = "mkstemp:" // as mkstemp does: O_EXCL, for reading and writing, and for nobody else
)

// DefaultTemporaries are the patterns that count if no others are given. A name that a person may mean is none unless it
// is made in a way that nobody but the program in question makes it.
var DefaultTemporaries = []string{
	".*.sw[a-p]", ".*.swpx", "*~", "#*#", ".#*", ".goutputstream-*", ".~lock.*#",
	madeExcl + "4913",         // vim tries whether a directory can be written
	madeMkstemp + "sed??????", // sed -i
}

// ParseTemporaries reads patterns as of [path.Match], which "excl:" before one restricts to files that are made with
// O_EXCL, and "mkstemp:" to those made as mkstemp(3) does. "defaults" stands for [DefaultTemporaries], "none" alone for no
// pattern. An element can be a comma list. No element at all is the same as "defaults".
func ParseTemporaries(list []string) (Temporaries, error) {
	t := Temporaries{given: len(list) > 0}
	none := false
	for _, s := range strings.FieldsFunc(strings.Join(list, ","), func(r rune) bool { return r == ',' }) {
		switch s {
		case "none":
			none = true
			continue
		case "defaults":
			t.rules = append(t.rules, defaultRules...)
			continue
		}
		r := parseRule(s)
		if _, err := path.Match(r.pattern, ""); err != nil || r.pattern == "" || strings.Contains(r.pattern, "/") {
			return Temporaries{}, fmt.Errorf("%q is not a pattern: use *, ? and [a-z] as in a shell, defaults, or none", s)
		}
		t.rules = append(t.rules, r)
	}
	if none && len(t.rules) > 0 {
		return Temporaries{}, fmt.Errorf("%q cannot be combined with other patterns", "none")
	}
	return t, nil
}

func parseRule(s string) temporaryRule {
	for _, how := range []string{madeExcl, madeMkstemp} {
		if pattern, ok := strings.CutPrefix(s, how); ok {
			return temporaryRule{pattern, how}
		}
	}
	return temporaryRule{s, madeAnyhow}
}

var defaultRules = func() (rules []temporaryRule) {
	for _, s := range DefaultTemporaries {
		rules = append(rules, parseRule(s))
	}
	return rules
}()

func (t Temporaries) list() []temporaryRule {
	if t.given {
		return t.rules
	}
	return defaultRules
}

// String is what [ParseTemporaries] reads.
func (t Temporaries) String() string {
	var out []string
	for _, r := range t.list() {
		out = append(out, r.how+r.pattern)
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ",")
}

func (t Temporaries) match(name string, how ...string) bool {
	return slices.ContainsFunc(t.list(), func(r temporaryRule) bool {
		ok, _ := path.Match(r.pattern, name)
		return ok && slices.Contains(how, r.how)
	})
}

// keeps reports whether a file that is renamed to the name stays, or becomes, one of the mount alone.
func (t Temporaries) keeps(name string) bool { return t.match(name, madeAnyhow) }

// makes reports whether a new file is one of the mount alone. flags and mode are those of open(2), the mode without what
// the umask takes.
func (t Temporaries) makes(name string, flags, mode uint32) bool {
	how := []string{madeAnyhow}
	if flags&syscall.O_EXCL != 0 {
		how = append(how, madeExcl)
		if flags&syscall.O_ACCMODE == syscall.O_RDWR && mode&0o077 == 0 {
			how = append(how, madeMkstemp)
		}
	}
	return t.match(name, how...)
}
