package pagetest

import (
	"fmt"
	"os"
	"strings"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// Axe fails the test for each violation that axe-core finds in the page, and where the page is wider than the screen: at
// three widths, in light and in dark. name says what the page shows. What is in the scrollable elements may be wider.
//
// LASTCALL_AXE names axe-core's axe.min.js. Without it the test is skipped.
func (p *Tab) Axe(name, scrollable string) {
	p.T.Helper()
	path := os.Getenv("LASTCALL_AXE")
	if path == "" {
		p.T.Skip("LASTCALL_AXE does not name axe-core's axe.min.js")
	}
	source, err := os.ReadFile(path)
	if err != nil {
		p.T.Fatal(err)
	}
	Eval[bool](p, string(source)+"; true")
	for _, width := range []int64{390, 820, 1440} {
		for _, scheme := range []string{"light", "dark"} {
			p.look(width, scheme)
			where := fmt.Sprintf("%s at %d, %s", name, width, scheme)
			if found := Eval[string](p, violations); found != "" {
				p.T.Errorf("%s:\n%s", where, found)
			}
			if wide := Eval[string](p, fmt.Sprintf(tooWide, scrollable)); wide != "" {
				p.T.Errorf("%s: the page is wider than the screen, for: %s", where, wide)
			}
			p.Screenshot(strings.NewReplacer(" ", "-", ",", "").Replace(where))
		}
	}
}

const violations = `axe.run(document, {resultTypes: ["violations"]}).then((r) => r.violations.map((v) =>
	v.id + ": " + v.nodes.slice(0, 3).map((n) => n.target.join(" ") + " " + (n.any[0]?.message ?? n.all[0]?.message ?? "")).join("; ")).join("\n"))`

const tooWide = `document.documentElement.scrollWidth <= document.documentElement.clientWidth ? "" :
	[...document.querySelectorAll("body *")].filter((n) => n.getBoundingClientRect().right > document.documentElement.clientWidth && !n.closest(%q))
		.map((n) => n.id || n.className || n.tagName).slice(0, 5).join(" ") || "what is not positioned in its box"`

// look gives the page a width and a scheme.
func (p *Tab) look(width int64, scheme string) {
	p.T.Helper()
	p.Do(chromedp.EmulateViewport(width, 900))
	_, err := chromedp.Call(p.Context, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	if err != nil {
		p.T.Fatal(err)
	}
}
