package commyfs

import (
	"fmt"
	"strconv"
	"strings"
)

// Event is what a watch reports.
type Event struct {
	Kind EventKind
	// Entry is the variable, directory, service or tenant. Value is its value, and nil (not empty) if there is none or if
	// the variable has been deleted since. An event of a directory concerns everything in it.
	Entry
	Old   Path // the path before EventRenamed
	Own   bool // this client made the change
	Token Token
}

// EventKind is the kind of an [Event].
type EventKind uint8

// The kinds of events.
const (
	EventInitial  EventKind = iota + 1 // existed when the watch began
	EventSynced                        // everything that existed has been reported; changes follow
	EventCreated                       // is new
	EventModified                      // has a new value
	EventDeleted                       // has been deleted
	EventRenamed                       // has a new name, or has moved to another service
	EventMeta                          // has a new mode or time, but the same value
)

func (k EventKind) String() string {
	names := [...]string{"", "initial", "synced", "created", "modified", "deleted", "renamed", "meta"}
	if int(k) < len(names) {
		return names[k]
	}
	return strconv.Itoa(int(k))
}

// Token is a position in the changes of a service, from which a watch can resume (see [WatchOptions]). It can be stored as
// text. Events of tenants and services, and EventInitial, have the zero Token.
type Token struct {
	store string
	rev   int64
}

// String returns the token as text.
func (t Token) String() string {
	if t == (Token{}) {
		return ""
	}
	return fmt.Sprintf("%s:%d", t.store, t.rev)
}

// MarshalText implements [encoding.TextMarshaler].
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (t *Token) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*t = Token{}
		return nil
	}
	store, rev, _ := strings.Cut(string(text), ":")
	n, err := strconv.ParseInt(rev, 10, 64)
	if err != nil || store == "" || n < 0 {
		return fmt.Errorf("%w: not a token: %q", ErrInvalid, text)
	}
	*t = Token{store, n}
	return nil
}
