package core

import (
	"cmp"

	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server/access"
)

// Keys lists the API keys that the session may administer.
func (s *Session) Keys() ([]model.KeyInfo, error) {
	if !s.auth.Administers(s.Principal) {
		return nil, model.ErrDenied
	}
	return s.auth.Keys(s.Principal), nil
}

// CreateKey makes a key and returns its text. It is the committer that asks whether the session may: no right is taken away
// meanwhile.
func (s *Session) CreateKey(m *model.NewKey) (text string, err error) {
	c := s.core
	werr := c.between(func() {
		var k engine.Key
		if k, text, err = s.auth.NewKey(s.Principal, m.Name, m.Tenants, m.Rights); err != nil {
			return
		}
		if _, err = c.engine.Commit(c.ctx, []engine.Op{engine.PutKey(k)}); err != nil {
			text, err = "", fromEngine(err)
			return
		}
		s.auth.Add(k)
	})
	return text, cmp.Or(werr, err)
}

// RevokeKey takes a key away. Nothing that its holder has asked for is carried out or told any more; here its sessions end
// at once.
func (s *Session) RevokeKey(name string) error {
	if !s.auth.Administers(s.Principal) {
		return model.ErrDenied
	}
	c := s.core
	var k engine.Key
	var err error
	werr := c.between(func() {
		if k, err = s.auth.Key(s.Principal, name); err != nil {
			return
		}
		if _, err = c.engine.CommitFreeing(c.ctx, []engine.Op{engine.DeleteKey(name)}); err != nil {
			err = fromEngine(err)
			return
		}
		s.auth.Remove(k)
	})
	if err = cmp.Or(werr, err); err != nil {
		return err
	}
	c.endSessions(access.ErrRevoked, func(o *Session) bool { return o.Principal == model.KeyHolder(k.Hash) })
	return nil
}
