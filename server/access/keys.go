package access

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/model"
)

// A key reads commy_<name>_<secret>: 256 random bits in base64url. What is kept is a hash, which needs no salt and no
// slowness: there is nothing to guess.
const (
	keyPrefix  = "commy_"
	secretSize = 32
	maxKeyName = 64
	// The patterns of a key are gone through at each use.
	maxPatterns = 256
	maxPattern  = 1024 // bytes
)

var secretText = base64.RawURLEncoding.EncodedLen(secretSize)

// Add has the authorizer know a key.
func (a *Authorizer) Add(k engine.Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keys[k.Name] = k
	a.grants[model.KeyHolder(k.Hash)] = grant{k.Tenants, model.Rights(k.Rights)}
}

// Remove takes a key away.
func (a *Authorizer) Remove(k engine.Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.keys, k.Name)
	delete(a.grants, model.KeyHolder(k.Hash))
}

// Lose keeps the name of a key whose record cannot be read from being given to another.
func (a *Authorizer) Lose(name string) { a.lost[name] = true }

// KeyHolder finds the key that text is: who has it, and what the key is called.
func (a *Authorizer) KeyHolder(text string) (p model.Principal, name string, ok bool) {
	name, secret, ok := splitKey(text)
	if !ok {
		return "", "", false
	}
	a.mu.RLock()
	key, ok := a.keys[name]
	a.mu.RUnlock()
	hash := sha256.Sum256(secret)
	same := subtle.ConstantTimeCompare(hash[:], key.Hash[:]) == 1
	return model.KeyHolder(hash), name, ok && same
}

func splitKey(text string) (name string, secret []byte, ok bool) {
	rest, ok := strings.CutPrefix(text, keyPrefix)
	at := len(rest) - secretText - 1
	if !ok || at < 1 || rest[at] != '_' {
		return "", nil, false
	}
	secret, err := base64.RawURLEncoding.Strict().DecodeString(rest[at+1:])
	return rest[:at], secret, err == nil
}

// Keys describes the keys that are the principal's to administer.
func (a *Authorizer) Keys(p model.Principal) []model.KeyInfo {
	a.mu.RLock()
	defer a.mu.RUnlock()
	mine := a.grants[p]
	list := make([]model.KeyInfo, 0, len(a.keys))
	for _, k := range a.keys {
		if mine.oversees(a.grants[model.KeyHolder(k.Hash)]) {
			list = append(list, model.KeyInfo{Name: k.Name, Tenants: k.Tenants, Rights: model.Rights(k.Rights), Created: k.Created})
		}
	}
	slices.SortFunc(list, func(a, b model.KeyInfo) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Key finds a key that is the principal's to administer.
func (a *Authorizer) Key(p model.Principal, name string) (engine.Key, error) {
	a.mu.RLock()
	k, ok := a.keys[name]
	a.mu.RUnlock()
	if !ok || !a.Oversees(p, model.KeyHolder(k.Hash)) {
		return engine.Key{}, &model.Error{Code: model.CodeNotFound, Message: "no such key"}
	}
	return k, nil
}

// NewKey makes a key for a principal that administers, which is no key until it is added. The text is nowhere else.
func (a *Authorizer) NewKey(p model.Principal, name string, tenants []string, rights model.Rights) (k engine.Key, text string, err error) {
	if name == "" || len(name) > maxKeyName || strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
	}) {
		return k, "", &model.Error{Code: model.CodeInvalid, Message: "a key's name is letters, digits, '.', '_' and '-', at most 64"}
	}
	if rights == 0 || rights&^AllRights != 0 {
		return k, "", &model.Error{Code: model.CodeInvalid, Message: "a key needs rights"}
	}
	if len(tenants) > maxPatterns {
		return k, "", &model.Error{Code: model.CodeInvalid, Message: fmt.Sprintf("a key has at most %d tenant patterns", maxPatterns)}
	}
	for _, t := range tenants {
		if len(t) > maxPattern {
			return k, "", &model.Error{Code: model.CodeInvalid, Message: fmt.Sprintf("a tenant pattern has at most %d bytes", maxPattern)}
		}
		if _, err := path.Match(t, ""); err != nil {
			return k, "", &model.Error{Code: model.CodeInvalid, Message: "bad tenant pattern " + t}
		}
	}
	a.mu.RLock()
	mine := a.grants[p]
	_, taken := a.keys[name]
	a.mu.RUnlock()
	switch {
	case mine.rights&model.RightAdmin == 0:
		return k, "", model.ErrDenied
	case rights&^mine.rights != 0: // a key makes none that opens more than itself
		return k, "", &model.Error{Code: model.CodeDenied, Message: "the key would have rights that yours lacks"}
	case !within(tenants, mine.tenants):
		return k, "", &model.Error{Code: model.CodeDenied, Message: fmt.Sprintf(
			"the key would open, or could not be seen not to open, other tenants than yours, which opens %q", mine.tenants)}
	case taken:
		return k, "", &model.Error{Code: model.CodeExists, Message: "a key of that name exists"}
	case a.lost[name]:
		return k, "", &model.Error{Code: model.CodeExists, Message: "a key of that name exists, and its record cannot be read"}
	}
	secret := make([]byte, secretSize)
	_, _ = rand.Read(secret) // never fails
	k = engine.Key{Name: name, Hash: sha256.Sum256(secret), Tenants: tenants, Rights: uint32(rights), Created: time.Now().UnixNano()}
	return k, keyPrefix + name + "_" + base64.RawURLEncoding.EncodeToString(secret), nil
}
