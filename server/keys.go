package server

import (
	"cmp"
	"sync"

	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server/access"
)

// createKey makes a key and returns its text. It is the committer that asks whether the session may: no right is taken away
// meanwhile.
func (r request) createKey(m *model.NewKey) (text string, err error) {
	s := r.server
	werr := s.between(func() {
		var k engine.Key
		if k, text, err = s.auth.NewKey(r.principal, m.Name, m.Tenants, m.Rights); err != nil {
			return
		}
		if _, err = s.engine.Commit(s.ctx, []engine.Op{engine.PutKey(k)}); err != nil {
			text, err = "", fromEngine(err)
			return
		}
		s.auth.Add(k)
	})
	return text, cmp.Or(werr, err)
}

// revokeKey takes a key away. Nothing that its holder has asked for is carried out or sent any more; here its sessions end
// at once.
func (r request) revokeKey(name string) error {
	s := r.server
	var k engine.Key
	var err error
	werr := s.between(func() {
		if k, err = s.auth.Key(r.principal, name); err != nil {
			return
		}
		if _, err = s.engine.CommitFreeing(s.ctx, []engine.Op{engine.DeleteKey(name)}); err != nil {
			err = fromEngine(err)
			return
		}
		s.auth.Remove(k)
	})
	if err = cmp.Or(werr, err); err != nil {
		return err
	}
	var ends sync.WaitGroup
	for _, c := range s.sessions() {
		if c.principal == model.KeyHolder(k.Hash) {
			ends.Go(func() { c.end(access.ErrRevoked) })
		}
	}
	ends.Wait()
	return nil
}
