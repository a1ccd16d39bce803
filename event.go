package commyfs

import (
	"strconv"
	"strings"

	"github.com/commy-project/commyfs/internal/watch"
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
	EventInitial  EventKind = EventKind(watch.Initial) + iota // existed when the watch began
	EventSynced                                               // everything that existed has been reported; changes follow
	EventCreated                                              // is new
	EventModified                                             // has a new value
	EventDeleted                                              // has been deleted
	EventRenamed                                              // has a new name, or has moved to another service
	EventMeta                                                 // has a new mode or time, but the same value
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
type Token struct{ of watch.Token }

// String returns the token as text.
func (t Token) String() string { return t.of.String() }

// MarshalText implements [encoding.TextMarshaler].
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (t *Token) UnmarshalText(text []byte) (err error) {
	t.of, err = watch.ParseToken(string(text))
	return err
}

func eventOf(ev *watch.Event) Event {
	return Event{Kind: EventKind(ev.Kind), Entry: Entry{infoOf(&ev.Entry), ev.Value}, Old: pathOf(ev.Old), Own: ev.Own, Token: Token{ev.Token}}
}

// pathOf is the inverse of [Path.Components].
func pathOf(components []string) (p Path) {
	for i, c := range components {
		switch i {
		case 0:
			p.Tenant = c
		case 1:
			p.Service = c
		default:
			p.Name = strings.Join(components[2:], "/")
			return p
		}
	}
	return p
}
