package commyfs

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"unsafe"
)

// Float64 returns the value of a variable that is a number, as text: that of a registered variable of type f32 or f64, say. Like
// [Service.Load] it makes the client follow the service. A value that is no number fails with [ErrInvalid].
func (s *Service) Float64(ctx context.Context, name string) (float64, error) {
	return number(ctx, s, name, func(text string) (float64, error) { return strconv.ParseFloat(text, 64) })
}

// Int64 is [Service.Float64] for whole numbers.
func (s *Service) Int64(ctx context.Context, name string) (int64, error) {
	return number(ctx, s, name, func(text string) (int64, error) { return strconv.ParseInt(text, 10, 64) })
}

// Uint64 is [Service.Float64] for whole numbers that are not below 0.
func (s *Service) Uint64(ctx context.Context, name string) (uint64, error) {
	return number(ctx, s, name, func(text string) (uint64, error) { return strconv.ParseUint(text, 10, 64) })
}

// Bool is [Service.Float64] for true and false.
func (s *Service) Bool(ctx context.Context, name string) (bool, error) {
	return number(ctx, s, name, strconv.ParseBool)
}

// PutFloat64 sets a variable to a number, as [Service.Put] does.
func (s *Service) PutFloat64(ctx context.Context, name string, n float64) (version uint64, err error) {
	return s.Put(ctx, name, append(strconv.AppendFloat(nil, n, 'g', -1, 64), '\n'))
}

// PutInt64 sets a variable to a number, as [Service.Put] does.
func (s *Service) PutInt64(ctx context.Context, name string, n int64) (version uint64, err error) {
	return s.Put(ctx, name, append(strconv.AppendInt(nil, n, 10), '\n'))
}

// PutUint64 sets a variable to a number, as [Service.Put] does.
func (s *Service) PutUint64(ctx context.Context, name string, n uint64) (version uint64, err error) {
	return s.Put(ctx, name, append(strconv.AppendUint(nil, n, 10), '\n'))
}

// PutBool sets a variable to true or false, as [Service.Put] does.
func (s *Service) PutBool(ctx context.Context, name string, b bool) (version uint64, err error) {
	return s.Put(ctx, name, append(strconv.AppendBool(nil, b), '\n'))
}

func number[T any](ctx context.Context, s *Service, name string, parse func(string) (T, error)) (T, error) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	if cap(*buf) < numberSize {
		*buf = make([]byte, numberSize)
	}
	var none T
	e, err := s.Load(ctx, name, *buf)
	if err != nil {
		return none, err
	}
	text := bytes.TrimSpace(e.Value)
	n, err := parse(unsafe.String(unsafe.SliceData(text), len(text))) // which nobody keeps
	if err != nil {
		return none, fmt.Errorf("%w: %s: not such a value: %.40q", ErrInvalid, s.path(name), e.Value)
	}
	return n, nil
}

// numberSize has room for every number.
const numberSize = 64
