package core

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"

	"github.com/commy-project/commyfs/model"
)

// OpAdd adds to a number that is text. Numbers without an exponent are added exactly; a whole sum is one that a program can
// have in 64 bits, with a sign or without.

// maxNumber is how many bytes the text of a number has at most.
const maxNumber = 64

var (
	leastWhole = big.NewInt(math.MinInt64)
	mostWhole  = new(big.Int).SetUint64(math.MaxUint64)
)

// added is the value that an OpAdd leads to, and the number in it. What is around the number stays as it is. An empty value
// is 0, and gets the line end that new numbers have, but in the few bytes of a registered text.
func added(c *model.Change, old []byte, l *model.Layout) (value []byte, sum string, err error) {
	text := bytes.TrimSpace(old)
	was, n := string(text), string(c.Data)
	if was == "" {
		was, old, text = "0", []byte("\n"), nil
		if l != nil && l.Type == model.TypeText {
			old = nil
		}
	}
	if len(was) > maxNumber || len(n) > maxNumber {
		return nil, "", notNumber(was, n)
	}
	switch {
	case l == nil || l.Type == model.TypeText:
		sum, err = addDecimals(was, n)
	case l.Type == model.TypeF32 || l.Type == model.TypeF64:
		sum, err = addFloats(was, n, int(8*l.Size))
	case l.Type >= model.TypeU8 && l.Type <= model.TypeI64:
		sum, err = addWhole(was, n, l)
	default:
		err = &model.Error{Code: model.CodeInvalid, Message: fmt.Sprintf("nothing can be added to a variable of type %s", l.Type)}
	}
	if err != nil {
		return nil, "", err
	}
	if c.Whole {
		switch _, err := strconv.ParseInt(sum, 10, 64); {
		case errors.Is(err, strconv.ErrRange):
			return nil, "", outOfRange(sum, "64 bits with a sign")
		case err != nil:
			return nil, "", &model.Error{Code: model.CodeInvalid, Message: fmt.Sprintf("the sum %s is not a whole number", sum)}
		}
	}
	at := bytes.Index(old, text)
	value = append(append(bytes.Clone(old[:at]), sum...), old[at+len(text):]...)
	return value, sum, nil
}

func notNumber(texts ...string) error {
	for _, t := range texts {
		if _, _, ok := parseDecimal(t); !ok {
			return &model.Error{Code: model.CodeInvalid, Message: fmt.Sprintf("not a number: %.40q", t)}
		}
	}
	return model.ErrInvalid
}

func outOfRange(sum, what string) error {
	return &model.Error{Code: model.CodeRange, Message: fmt.Sprintf("the sum %s does not fit into %s", sum, what)}
}

// parseDecimal reads a number without an exponent: digits, which are those of n, the last scale of them behind the point.
func parseDecimal(text string) (n *big.Int, scale int, ok bool) {
	digits := text
	if digits != "" && (digits[0] == '-' || digits[0] == '+') {
		digits = digits[1:]
	}
	whole, fraction, _ := strings.Cut(digits, ".")
	if all := whole + fraction; all == "" || len(text) > maxNumber || strings.Trim(all, "0123456789") != "" {
		return nil, 0, false
	}
	n, ok = new(big.Int).SetString(whole+fraction, 10)
	if ok && text[0] == '-' {
		n.Neg(n)
	}
	return n, len(fraction), ok
}

// addDecimals adds numbers of a variable that has no type. With an exponent they are what programs call a float64.
func addDecimals(was, n string) (string, error) {
	a, as, ok := parseDecimal(was)
	b, bs, bok := parseDecimal(n)
	if !ok || !bok {
		return addFloats(was, n, 64)
	}
	if b.Sign() == 0 {
		return was, nil
	}
	scale := max(as, bs)
	sum := a.Add(shifted(a, scale-as), shifted(b, scale-bs))
	if scale == 0 && (sum.Cmp(leastWhole) < 0 || sum.Cmp(mostWhole) > 0) {
		return "", outOfRange(sum.String(), "64 bits")
	}
	digits := new(big.Int).Abs(sum).String()
	if scale > 0 {
		digits = strings.Repeat("0", max(0, scale+1-len(digits))) + digits
		digits = digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
	}
	if sum.Sign() < 0 {
		digits = "-" + digits
	}
	if len(digits) > maxNumber {
		return "", outOfRange(digits, fmt.Sprintf("%d characters", maxNumber))
	}
	return digits, nil
}

// shifted is n with more zeros behind its digits.
func shifted(n *big.Int, zeros int) *big.Int {
	return new(big.Int).Mul(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(zeros)), nil))
}

// addWhole adds numbers of a type of whole ones.
func addWhole(was, n string, l *model.Layout) (string, error) {
	a, as, ok := parseDecimal(was)
	b, bs, bok := parseDecimal(n)
	if !ok || !bok || as+bs > 0 {
		return "", &model.Error{Code: model.CodeInvalid, Message: fmt.Sprintf("a variable of type %s takes whole numbers, not %.40q", l.Type, n)}
	}
	sum := a.Add(a, b).String()
	bits := int(8 * l.Size)
	var err error
	if l.Type >= model.TypeI8 {
		_, err = strconv.ParseInt(sum, 10, bits)
	} else {
		_, err = strconv.ParseUint(sum, 10, bits)
	}
	if err != nil {
		return "", outOfRange(sum, "type "+l.Type.String())
	}
	return sum, nil
}

// addFloats adds numbers of a floating-point type.
func addFloats(was, n string, bits int) (string, error) {
	a, err := parseFloat(was, bits)
	if err != nil {
		return "", err
	}
	b, err := parseFloat(n, 64)
	if err != nil {
		return "", err
	}
	if b == 0 {
		return was, nil
	}
	sum := a + b
	if bits == 32 {
		sum = float64(float32(sum))
	}
	if math.IsInf(sum, 0) {
		return "", outOfRange(fmt.Sprintf("of %s and %s", was, n), fmt.Sprintf("a number of %d bits", bits))
	}
	return strconv.FormatFloat(sum, 'g', -1, bits), nil
}

// parseFloat reads a decimal number: nothing else that strconv takes for one.
func parseFloat(text string, bits int) (float64, error) {
	f, err := strconv.ParseFloat(text, bits)
	switch {
	case strings.Trim(text, "+-.0123456789eE") != "":
		err = strconv.ErrSyntax
	case errors.Is(err, strconv.ErrRange):
		return 0, &model.Error{Code: model.CodeRange, Message: fmt.Sprintf("%.40s does not fit into a number of %d bits", text, bits)}
	}
	if err != nil {
		return 0, &model.Error{Code: model.CodeInvalid, Message: fmt.Sprintf("not a number: %.40q", text)}
	}
	return f, nil
}
