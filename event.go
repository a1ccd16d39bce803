package commyfs

import (
	"fmt"
	"strconv"
	"strings"
)

// Event is what a watch reports.
type Event struct {
	Kind EventKind
	// Entry is what it is about. The Value is the one that the event led to, or a later one, and must not be modified; a
	// variable that is gone by now has none: it is nil, not empty. What happens to a directory happens to all below it.
	Entry
	Old   Path // of EventRenamed: where it was
	Own   bool // this client made the change
	Token Token
}

// EventKind says what has happened.
type EventKind uint8

// The kinds of events.
const (
	EventInitial  EventKind = iota + 1 // it was there when the watch began
	EventSynced                        // all that was there has been reported: what follows are changes
	EventCreated                       // it is new
	EventModified                      // a variable has a new value
	EventDeleted                       // it is gone
	EventRenamed                       // it has another name, or is in another service
	EventMeta                          // it has another mode or time, and the same value
)

func (k EventKind) String() string {
	names := [...]string{"", "initial", "synced", "created", "modified", "deleted", "renamed", "meta"}
	if int(k) < len(names) {
		return names[k]
	}
	return strconv.Itoa(int(k))
}

// Token is a place in the changes of a service: [WatchOptions] begin after it. It can be stored as text. The zero Token
// means none: so have events of tenants and services, and EventInitial.
type Token struct {
	store string
	rev   int64
}

// String is the token as text.
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
