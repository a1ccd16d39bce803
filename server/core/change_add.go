package core

import "github.com/commy-project/commyfs/model"

// add carries out OpAdd. The result is decided here, in the order of all changes, and stored with the answer: whoever sends the
// report again gets the same sum.
func (e *evaluator) add(c *model.Change) (model.Result, error) {
	if int64(len(c.Data)) > e.limits.Value {
		return model.Result{}, model.ErrTooLarge
	}
	if !validMode(c.Mode) || !validMode(c.NewMode) {
		return model.Result{}, model.ErrInvalid
	}
	t, err := e.find(c)
	switch {
	case err == model.ErrNotFound && c.ID == 0 && c.Create:
		first := *c
		var sum string
		if first.Data, sum, err = added(c, nil, nil); err != nil {
			return model.Result{}, err
		}
		r, err := e.create(&first)
		r.Number = sum
		return r, err
	case err != nil:
		return model.Result{}, err
	case t.d != nil:
		return model.Result{}, model.ErrIsDirectory
	}
	if err := e.auth.Need(e.Principal, t.key.tenant, model.RightWrite); err != nil {
		return model.Result{}, err
	}
	if t.conflicts(c) {
		return model.Result{}, model.ErrConflict
	}
	l := e.layouts.get(layoutKey{t.service, t.v.id})
	e.work += len(t.v.data()) + maxNumber
	data, sum, err := added(c, t.v.data(), l)
	if err != nil {
		return model.Result{}, err
	}
	if int64(len(data)) > e.limits.Value {
		return model.Result{}, model.ErrTooLarge
	}
	if l != nil {
		if data, err = fit(l, data, t.v.data()); err != nil {
			return model.Result{}, err
		}
	}
	r := e.set(t.v, data, nil, c, false)
	r.Number = sum
	return r, nil
}
