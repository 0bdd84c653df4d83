package page_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/lastcall-go/lastcall/transport/admin/page/pagetest"
)

// patience is what a change on the page may take. Nothing should come near it.
const patience = 30 * time.Second

// tab is the page, open in a browser.
type tab struct {
	t   testing.TB
	ctx context.Context
}

// open shows the backend's page, at a hash or none, and waits until it is connected.
func open(t testing.TB, b *backend, hash string, expected ...string) *tab {
	t.Helper()
	return openIn(pagetest.Browser(t, expected...), t, b, hash)
}

func openIn(ctx context.Context, t testing.TB, b *backend, hash string) *tab {
	t.Helper()
	p := &tab{t, ctx}
	p.do(chromedp.Navigate("http://" + b.address + "/" + hash))
	p.waitFor(`document.getElementById("state").dataset.state !== "connecting" && document.getElementById("count-all").textContent !== "–"`)
	return p
}

func (p *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.t.Fatalf("the browser: %v", err)
	}
}

// eval is what a JavaScript expression gives in the page, or what its promise comes to.
func eval[T any](p *tab, expression string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("evaluate %s: %v", expression, err)
	}
	return value
}

// waitFor asks again and again, since the page's policy forbids the polling that runs in the page.
func (p *tab) waitFor(condition string) {
	p.t.Helper()
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if eval[bool](p, "Boolean("+condition+")") {
			return
		}
		if time.Since(began) > patience {
			p.t.Fatalf("never came true: %s\nthe page:\n%s", condition, eval[string](p, "document.body.innerText"))
		}
	}
}

// text is what is in an element.
func (p *tab) text(selector string) string {
	p.t.Helper()
	return eval[string](p, fmt.Sprintf("document.querySelector(%q).textContent", selector))
}

func (p *tab) waitText(selector, want string) {
	p.t.Helper()
	p.waitFor(fmt.Sprintf("document.querySelector(%q)?.textContent === %q", selector, want))
}

func (p *tab) waitContains(selector, want string) {
	p.t.Helper()
	p.waitFor(fmt.Sprintf("document.querySelector(%q)?.textContent.includes(%q)", selector, want))
}

// press presses a key, as often as said.
func (p *tab) press(key string, times int) {
	p.t.Helper()
	for range times {
		p.do(chromedp.KeyEvent(key))
	}
}

// tabTo presses Tab until the focus is on what matches.
func (p *tab) tabTo(selector string) {
	p.t.Helper()
	for range 60 {
		if eval[bool](p, fmt.Sprintf("document.activeElement.matches(%q)", selector)) {
			return
		}
		p.press(kb.Tab, 1)
	}
	p.t.Fatalf("Tab never comes to %s", selector)
}

func (p *tab) click(selector string) {
	p.t.Helper()
	p.do(chromedp.Click(chromedp.CSS(selector)))
}

func (p *tab) screenshot(name string) {
	p.t.Helper()
	pagetest.Screenshot(p.ctx, p.t, name)
}
