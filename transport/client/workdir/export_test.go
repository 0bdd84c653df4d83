package workdir

import (
	"context"

	"github.com/lastcall-go/lastcall/proto/dap"
)

var (
	Bounded = bounded
	Matches = matches
	Split   = split
)

// Grep searches with ctx itself, where Handle derives one with a timeout.
func (w *Workdir) Grep(ctx context.Context, action *dap.Grep) (string, error) {
	return w.grep(ctx, action)
}
