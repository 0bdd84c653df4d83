package pagetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// patience is what a change on the page may take. Nothing should come near it.
const patience = 30 * time.Second

// Tab is a page, open in a browser. What doesn't work, or never comes, fails the test.
type Tab struct {
	T       testing.TB
	Context context.Context // chromedp's
}

// Open shows a page in a browser of its own, as Browser has it.
func Open(t testing.TB, url string, expected ...string) *Tab {
	t.Helper()
	return OpenIn(Browser(t, expected...), t, url)
}

// OpenIn shows a page in a browser that is there.
func OpenIn(ctx context.Context, t testing.TB, url string) *Tab {
	t.Helper()
	p := &Tab{T: t, Context: ctx}
	p.Do(chromedp.Navigate(url))
	return p
}

// Do runs actions of chromedp's.
func (p *Tab) Do(steps ...chromedp.Action[chromedp.Void]) {
	p.T.Helper()
	ctx, cancel := context.WithTimeout(p.Context, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.T.Fatalf("the browser: %v", err)
	}
}

// Eval is what a JavaScript expression gives in the page, or what its promise comes to.
func Eval[T any](p *Tab, expression string) T {
	p.T.Helper()
	ctx, cancel := context.WithTimeout(p.Context, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.T.Fatalf("evaluate %s: %v", expression, err)
	}
	return value
}

// WaitFor asks again and again, since the page's policy forbids the polling that runs in the page.
func (p *Tab) WaitFor(condition string) {
	p.T.Helper()
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if Eval[bool](p, "Boolean("+condition+")") {
			return
		}
		if time.Since(began) > patience {
			p.T.Fatalf("never came true: %s\nthe page:\n%s", condition, Eval[string](p, "document.body.innerText"))
		}
	}
}

// Text is what is in an element.
func (p *Tab) Text(selector string) string {
	p.T.Helper()
	return Eval[string](p, fmt.Sprintf("document.querySelector(%q).textContent", selector))
}

// WaitText waits until that is all that an element holds.
func (p *Tab) WaitText(selector, want string) {
	p.T.Helper()
	p.WaitFor(fmt.Sprintf("document.querySelector(%q)?.textContent === %q", selector, want))
}

// WaitContains waits until an element holds that.
func (p *Tab) WaitContains(selector, want string) {
	p.T.Helper()
	p.WaitFor(fmt.Sprintf("document.querySelector(%q)?.textContent.includes(%q)", selector, want))
}

// Press presses a key, as often as said.
func (p *Tab) Press(key string, times int) {
	p.T.Helper()
	for range times {
		p.Do(chromedp.KeyEvent(key))
	}
}

// TabTo presses Tab until the focus is on what matches.
func (p *Tab) TabTo(selector string) {
	p.T.Helper()
	for range 60 {
		if Eval[bool](p, fmt.Sprintf("document.activeElement.matches(%q)", selector)) {
			return
		}
		p.Press(kb.Tab, 1)
	}
	p.T.Fatalf("Tab never comes to %s", selector)
}

// Click clicks on what a selector finds.
func (p *Tab) Click(selector string) {
	p.T.Helper()
	p.Do(chromedp.Click(chromedp.CSS(selector)))
}

// Screenshot saves what the tab shows.
func (p *Tab) Screenshot(name string) {
	p.T.Helper()
	Screenshot(p.Context, p.T, name)
}
