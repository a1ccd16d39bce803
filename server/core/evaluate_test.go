package core

import (
	"context"
	"strings"
	"testing"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server/access"
)

// TestPanicIsRefused: a panic while a report is carried out is that report's refusal.
func TestPanicIsRefused(t *testing.T) {
	b := newBatch(newView(), 1)
	e := &evaluator{batch: b, limits: model.Limits{Name: 100, Component: 100}, Origin: model.Origin{Principal: model.Itself}, auth: access.New(), nextID: func(context.Context) (uint64, error) { panic("boom") }}
	_, _, err := e.report(&model.Report{Changes: []model.Change{at(model.OpMkdir, "t", "", "")}})
	if model.CodeOf(err) != model.CodeInternal || !strings.Contains(err.Error(), "boom") || !b.empty() {
		t.Errorf("error %v", err)
	}
}
