package commyfs

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/commy-project/commyfs/model"
)

// AddOptions are options of [Service.AddText].
type AddOptions struct {
	// IfExists fails with [ErrNotFound] if there is no such variable, instead of creating it.
	IfExists bool
}

// Sum is what a variable has become to which something was added.
type Sum struct {
	Text    string // the number, without what is around it in the value
	Version uint64
}

// Add adds n, which can be negative, to a variable that is a whole number, and returns the sum. The server adds, so that no change
// is lost however many clients do, and none tries again; that is as fast as [Service.Put]. A variable that does not exist
// is created with the value n, as Put would, and an empty value counts as 0. If the value is no whole number, the error is
// [ErrInvalid]; if the sum does not fit into 64 bits, or into the type of a registered variable, [ErrRange]. The value stays
// as it is then.
func (s *Service) Add(ctx context.Context, name string, n int64) (int64, error) {
	op := s.OpAdd(name, n)
	op.change.Whole = true
	sum, err := s.add(ctx, op)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(sum.Text, 10, 64)
}

// AddFloat64 is [Service.Add] for numbers that need not be whole. It adds decimal fractions exactly, unless one of the numbers
// has an exponent or the variable is registered with a floating-point type.
func (s *Service) AddFloat64(ctx context.Context, name string, n float64) (float64, error) {
	if math.IsNaN(n) || math.IsInf(n, 0) {
		return 0, fmt.Errorf("%w: %v cannot be added", ErrInvalid, n)
	}
	sum, err := s.AddText(ctx, name, strconv.FormatFloat(n, 'g', -1, 64), AddOptions{})
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(sum.Text, 64)
}

// AddText is [Service.Add] for a decimal number as text, such as 1, -2.50 or 1e3. The sum can be any number that the variable can
// have: a whole one is at least -2^63 and at most 2^64-1.
func (s *Service) AddText(ctx context.Context, name, n string, o AddOptions) (Sum, error) {
	op := s.opAdd(name, n)
	op.change.Create = !o.IfExists
	return s.add(ctx, op)
}

// OpAdd is [Service.Add], except that any number can be added to.
func (s *Service) OpAdd(name string, n int64) Op { return s.opAdd(name, strconv.FormatInt(n, 10)) }

func (s *Service) opAdd(name, n string) Op {
	c := s.op(model.OpAdd, name, []byte(n))
	c.Create, c.Parents = true, true
	return Op{c}
}

func (s *Service) add(ctx context.Context, op Op) (Sum, error) {
	res, err := s.c.sync.Change(ctx, op.change)
	if errors.Is(err, model.ErrUnsupported) && err.Error() == model.ErrUnsupported.Message {
		return Sum{}, fmt.Errorf("%w: the server is too old to add to a variable", ErrUnsupported)
	}
	if err != nil {
		return Sum{}, s.c.failed(err)
	}
	return Sum{res.Number, res.Version}, nil
}
