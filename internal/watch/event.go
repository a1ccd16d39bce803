package watch

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// Event is what a watch reports.
type Event struct {
	Kind        Kind
	model.Entry          // of the variable, directory, service or tenant, as far as it is known
	Value       []byte   // nil, not empty: there is none, or the variable has been deleted since
	Old         []string // components of the path before Renamed
	Own         bool     // this client made the change
	Token       Token
}

// Kind is the kind of an [Event].
type Kind uint8

// The kinds of events.
const (
	Initial  Kind = iota + 1 // existed when the watch began
	Synced                   // everything that existed has been reported; changes follow
	Created                  // is new
	Modified                 // has a new value
	Deleted                  // has been deleted
	Renamed                  // has a new name, or has moved to another service
	Meta                     // has a new mode or time, but the same value
)

// Path returns the components of the path.
func (e *Event) Path() []string {
	switch {
	case e.Tenant == "":
		return nil
	case e.Service == "":
		return []string{e.Tenant}
	case e.Name == "":
		return []string{e.Tenant, e.Service}
	}
	return append([]string{e.Tenant, e.Service}, strings.Split(e.Name, "/")...)
}

func (e *Event) setPath(components []string) {
	var p [3]string
	copy(p[:], components)
	if len(components) > 3 {
		p[2] = strings.Join(components[2:], "/")
	}
	e.Tenant, e.Service, e.Name = p[0], p[1], p[2]
}

// Token is a position in the changes of a service. Events of tenants and services, and Initial, have the zero Token.
type Token struct {
	Store string
	Rev   int64
}

// String returns the token as text.
func (t Token) String() string {
	if t == (Token{}) {
		return ""
	}
	return t.Store + ":" + strconv.FormatInt(t.Rev, 10)
}

// ParseToken is the inverse of String.
func ParseToken(text string) (Token, error) {
	if text == "" {
		return Token{}, nil
	}
	store, rev, _ := strings.Cut(text, ":")
	n, err := strconv.ParseInt(rev, 10, 64)
	if err != nil || store == "" || n < 0 {
		return Token{}, fmt.Errorf("%w: not a token: %q", model.ErrInvalid, text)
	}
	return Token{store, n}, nil
}

var kinds = [...]Kind{
	varsync.Modified: Modified, varsync.Created: Created, varsync.Deleted: Deleted, varsync.Renamed: Renamed, varsync.MetaChanged: Meta,
}

// load loads the current value of a variable, and what is known of it but its path.
func load(v *varsync.Variable) (e model.Entry, value []byte, err error) {
	v = v.Now() // it can have moved to another service, which is told later
	value = make([]byte, 0, v.Meta().Size)
	data, meta, err := v.LoadStored(value)
	if err != nil {
		return e, nil, err
	}
	if len(data) > 0 && (cap(value) == 0 || &data[0] != &value[:1][0]) { // it is memory that others share
		data = append(value, data...)
	}
	if data == nil {
		data = []byte{}
	}
	known := v.Known()
	e = model.Entry{ID: v.ID(), Version: meta.Version, MTime: meta.MTime, Size: meta.Size, Mode: known.Mode}
	if known.Version == meta.Version {
		e.Writer = known.Writer
	}
	return e, data, nil
}
