package page_test

import (
	"context"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/transport/admin/page/pagetest"
)

// patience is the deadline of a drain that a test watches, and ends by itself.
const patience = 30 * time.Second

// tab is the backend's page, open in a browser.
type tab struct{ *pagetest.Tab }

// open shows the backend's page, at a hash or none, and waits until it is connected.
func open(t testing.TB, b *backend, hash string, expected ...string) *tab {
	t.Helper()
	return openIn(pagetest.Browser(t, expected...), t, b, hash)
}

func openIn(ctx context.Context, t testing.TB, b *backend, hash string) *tab {
	t.Helper()
	p := &tab{pagetest.OpenIn(ctx, t, "http://"+b.address+"/"+hash)}
	p.WaitFor(`document.getElementById("state").dataset.state !== "connecting" && document.getElementById("count-all").textContent !== "–"`)
	return p
}

// eval is what a JavaScript expression gives in the page.
func eval[T any](p *tab, expression string) T {
	p.T.Helper()
	return pagetest.Eval[T](p.Tab, expression)
}
