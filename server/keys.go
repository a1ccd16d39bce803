package server

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
	"sync"
	"time"

	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

// A key reads commy_<name>_<secret>: 256 random bits in base64url. What is kept is a hash, which needs no salt and no
// slowness: there is nothing to guess.
const (
	keyPrefix  = "commy_"
	secretSize = 32
)

var secretText = base64.RawURLEncoding.EncodedLen(secretSize)

// keys are the API keys, as the engine has them.
type keys struct {
	// mu guards byName.
	mu     sync.RWMutex
	byName map[string]engine.Key
	// damaged are the names of those that cannot be read. It does not change.
	damaged []string
}

// check finds the key that text is.
func (k *keys) check(text string) (engine.Key, bool) {
	name, secret, ok := splitKey(text)
	if !ok {
		return engine.Key{}, false
	}
	k.mu.RLock()
	key, ok := k.byName[name]
	k.mu.RUnlock()
	hash := sha256.Sum256(secret)
	same := subtle.ConstantTimeCompare(hash[:], key.Hash[:]) == 1
	return key, ok && same
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

// holds reports whether k is still one of the keys.
func (k *keys) holds(key *engine.Key) bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	now, ok := k.byName[key.Name]
	return ok && now.Hash == key.Hash
}

// listKeys describes the keys that are the session's to administer.
func (r request) listKeys() []model.KeyInfo {
	k := &r.server.keys
	k.mu.RLock()
	defer k.mu.RUnlock()
	list := make([]model.KeyInfo, 0, len(k.byName))
	for _, e := range k.byName {
		if r.administersKey(&e) {
			list = append(list, model.KeyInfo{Name: e.Name, Tenants: e.Tenants, Rights: model.Rights(e.Rights), Created: e.Created})
		}
	}
	slices.SortFunc(list, func(a, b model.KeyInfo) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

const maxKeyName = 64

// checkKey says whether a key can be made as asked for, by a session that may administer.
func (s *session) checkKey(m *transport.CreateKey) error {
	if m.Name == "" || len(m.Name) > maxKeyName || strings.ContainsFunc(m.Name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
	}) {
		return &model.Error{Code: model.CodeInvalid, Message: "a key's name is letters, digits, '.', '_' and '-', at most 64"}
	}
	if m.Rights == 0 || m.Rights&^allRights != 0 {
		return &model.Error{Code: model.CodeInvalid, Message: "a key needs rights"}
	}
	for _, p := range m.Tenants {
		if _, err := path.Match(p, ""); err != nil {
			return &model.Error{Code: model.CodeInvalid, Message: "bad tenant pattern " + p}
		}
	}
	if s.key == nil {
		return nil
	}
	// A key makes none that opens more than itself.
	if missing := m.Rights &^ model.Rights(s.key.Rights); missing != 0 {
		return &model.Error{Code: model.CodeDenied, Message: "the key would have rights that yours lacks"}
	}
	if !within(m.Tenants, s.key.Tenants) {
		return &model.Error{Code: model.CodeDenied, Message: fmt.Sprintf(
			"the key would open, or could not be seen not to open, other tenants than yours, which opens %q", s.key.Tenants)}
	}
	return nil
}

// createKey makes a key and returns its text, which is nowhere else.
func (s *Server) createKey(m *transport.CreateKey) (string, error) {
	secret := make([]byte, secretSize)
	_, _ = rand.Read(secret) // never fails
	key := engine.Key{Name: m.Name, Hash: sha256.Sum256(secret), Tenants: m.Tenants, Rights: uint32(m.Rights), Created: time.Now().UnixNano()}
	var err error
	werr := s.between(func() {
		s.keys.mu.RLock()
		_, taken := s.keys.byName[m.Name]
		s.keys.mu.RUnlock()
		if taken {
			err = &model.Error{Code: model.CodeExists, Message: "a key of that name exists"}
			return
		}
		if slices.Contains(s.keys.damaged, m.Name) {
			err = &model.Error{Code: model.CodeExists, Message: "a key of that name exists, and its record cannot be read"}
			return
		}
		if _, err = s.engine.Commit(s.ctx, []engine.Op{engine.PutKey(key)}); err != nil {
			err = fromEngine(err)
			return
		}
		s.keys.mu.Lock()
		s.keys.byName[m.Name] = key
		s.keys.mu.Unlock()
	})
	if err = cmp.Or(werr, err); err != nil {
		return "", err
	}
	return keyPrefix + m.Name + "_" + base64.RawURLEncoding.EncodeToString(secret), nil
}

var errRevoked = &model.Error{Code: model.CodeUnauthorized, Message: "the API key was revoked"}

// revokeKey ends a key and the sessions that came with it: nothing that they ask for is carried out any more.
func (r request) revokeKey(name string) error {
	s := r.server
	var err error
	var over []*session
	werr := s.between(func() {
		s.keys.mu.RLock()
		key, known := s.keys.byName[name]
		s.keys.mu.RUnlock()
		if !known || !r.administersKey(&key) {
			err = &model.Error{Code: model.CodeNotFound, Message: "no such key"}
			return
		}
		if _, err = s.engine.CommitFreeing(s.ctx, []engine.Op{engine.DeleteKey(name)}); err != nil {
			err = fromEngine(err)
			return
		}
		s.keys.mu.Lock()
		delete(s.keys.byName, name)
		s.keys.mu.Unlock()
		for _, c := range s.sessions() {
			if c.key != nil && c.key.Name == name {
				c.over.Store(errRevoked)
				s.queue.fence(&c.line)
				over = append(over, c)
			}
		}
	})
	var ends sync.WaitGroup
	for _, c := range over {
		ends.Go(func() { s.end(c, errRevoked) })
	}
	ends.Wait()
	return cmp.Or(werr, err)
}
