package page_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"go.uber.org/goleak"

	"github.com/lastcall-go/lastcall/transport/admin/page/pagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func (b *backend) postsNow() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.posts)
}

func TestSessionsArriveAndChangePhaseInPlace(t *testing.T) {
	b := newBackend(t)
	p := open(t, b, "")
	p.WaitText("#state-word", "serving")
	p.WaitText("#nothing", "No sessions are open.")

	b.add(2, nil)
	p.WaitText("#rows tr:nth-child(2) th", "workflow-00001")
	p.WaitText("#count-all", "2")
	if got := p.Text("#rows tr:first-child [data-column=messages]"); got != "3 / 9" {
		t.Errorf("messages: %q", got)
	}
	if got := p.Text("#rows tr:first-child [data-column=bytes]"); got != "2.3 KiB / 18.5 KiB" {
		t.Errorf("bytes: %q", got)
	}

	eval[bool](p, `(window.row = document.querySelector("#rows tr"), window.row.querySelector("button").focus(), true)`)
	b.locked(func() { b.enter(b.sessions[0], "stopping", "agent") })
	p.WaitFor(`window.row.dataset.phase === "stopping" && window.row.cells[10].textContent === "agent"`)
	p.WaitText("#count-stopping", "1")
	if !eval[bool](p, `window.row.isConnected && window.row.contains(document.activeElement)`) {
		t.Error("the row was made anew, or lost the focus")
	}

	b.end(1, "client_gone")
	p.WaitFor(`!window.row.isConnected`)
	p.WaitContains("#ended-list li", "workflow-00000client gone1001 server shutdown")
	if !eval[bool](p, `document.activeElement.id === "table-box"`) {
		t.Error("the focus fell off the page with the session that had it")
	}
}

func TestALeaseStoreThatIsAwayIsSaid(t *testing.T) {
	b := newBackend(t)
	at := func(hour int) time.Time { return time.Date(2026, 5, 4, hour, 3, 2, 0, time.Local) }
	away := func(fields map[string]any) func() {
		fields["reachable"], fields["since"] = false, at(12)
		return func() { b.store = fields }
	}
	b.locked(func() { b.store = map[string]any{"reachable": true, "since": at(11)} })
	p := open(t, b, "")
	p.WaitText("#state-word", "serving")
	if text := p.Text("#lease-store"); text != "" {
		t.Errorf("of a store that is reachable: %q", text)
	}
	b.locked(away(map[string]any{}))
	p.WaitText("#lease-store", "Lease store unreachable since 12:03:02; sessions go on unguarded.")
	b.locked(away(map[string]any{"sessions_end": at(13)}))
	p.WaitText("#lease-store", "Lease store unreachable since 12:03:02; new sessions are refused, and open ones end by 13:03:02.")
	b.locked(func() { b.store = map[string]any{"reachable": true, "since": at(14)} })
	p.WaitFor(`document.getElementById("lease-store").hidden`)
}

func TestRowsMoveAroundTheOneThatHasTheFocus(t *testing.T) {
	b := newBackend(t)
	b.add(5, nil)
	p := open(t, b, "#sort=-messages")
	p.WaitText("#rows tr:first-child th", "workflow-00004")
	eval[bool](p, `(window.button = document.querySelector("#rows tr:nth-child(2) button"), window.button.focus(),
		window.blurred = false, window.button.addEventListener("blur", () => window.blurred = true), true)`)
	b.locked(func() {
		b.sessions[0].Sent.Messages = 9000
		b.sessions[4].Sent.Messages = 0
	})
	p.WaitFor(`[...document.querySelectorAll("#rows th")].map((th) => th.textContent.slice(-1)).join("") === "03214"`)
	if !eval[bool](p, `document.activeElement === window.button && !window.blurred`) {
		t.Error("the focus was lost")
	}
}

// frozen is how long one task may hold the page up, on a machine that is busy with much else: it takes
// a twentieth of that, at most, on one that isn't.
const frozen = 5 * time.Second

// watchTasks begins to measure how long the page is held up, from its loading on.
func (p *tab) watchTasks() {
	eval[bool](p, `(window.longest = 0, new PerformanceObserver((list) => {
		for (const task of list.getEntries()) window.longest = Math.max(window.longest, task.duration);
	}).observe({ type: "longtask", buffered: true }), true)`)
}

func (p *tab) checkTasks() {
	p.T.Helper()
	longest := time.Duration(eval[float64](p, "window.longest") * float64(time.Millisecond))
	p.T.Logf("the longest task took %v", longest)
	if longest > frozen {
		p.T.Errorf("the page was frozen for %v", longest)
	}
}

func TestTenThousandSessionsArePagedAndSorted(t *testing.T) {
	b := newBackend(t)
	b.add(10_000, nil)
	p := open(t, b, "")
	p.watchTasks()
	p.WaitText("#count-all", "10,000")
	p.WaitText("#range", "1 to 50 of 10,000")
	if n := eval[int](p, `document.querySelectorAll("#rows tr").length`); n != 50 {
		t.Errorf("the table has %d rows", n)
	}

	p.Click("[data-page=next]")
	p.WaitText("#rows th", "workflow-00050")
	p.Click("[data-page=last]")
	p.WaitText("#range", "9,951 to 10,000 of 10,000")
	p.Click("[data-column=workflow] button")
	p.WaitText("#rows th", "workflow-00000")
	p.Click("[data-column=workflow] button")
	p.WaitText("#rows th", "workflow-09999")
	if got := eval[string](p, `document.querySelector("[data-sort=workflow]").getAttribute("aria-sort")`); got != "descending" {
		t.Errorf("aria-sort is %q", got)
	}
	p.Click("[data-page=next]")
	p.WaitText("#range", "51 to 100 of 10,000")
	p.checkTasks()

	p.Do(chromedp.Reload())
	p.WaitText("#rows th", "workflow-09949")
	if got := eval[string](p, "location.hash"); got != "#sort=-workflow&offset=50" {
		t.Errorf("the hash is %s", got)
	}
}

func TestTenThousandSessionsThatEndAtOnceDontFreezeThePage(t *testing.T) {
	b := newBackend(t)
	b.add(10_000, nil)
	p := open(t, b, "")
	p.watchTasks()
	b.locked(func() { b.state = "draining"; b.begin(false, patience, b.sessions) })
	for range 100 {
		b.end(100, "drained")
	}
	p.WaitText("#state-word", "drained")
	p.WaitText("#count-all", "0")
	p.WaitContains(".legend", "10,000drained")
	if n := eval[int](p, `document.querySelectorAll("#ended-list li").length`); n != 20 {
		t.Errorf("%d ended sessions are listed", n)
	}
	p.checkTasks()
}

func (b *backend) readsNow() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reads
}

func TestFiltersNarrowTheTableAndSurviveAReload(t *testing.T) {
	b := newBackend(t)
	b.add(200, func(i int, s *session) {
		if i%50 == 7 {
			s.Phase, s.WaitsFor = "closing", "client"
		}
	})
	p := open(t, b, "#offset=150")
	p.WaitText("#range", "151 to 200 of 200")
	p.Do(chromedp.SendKeys(chromedp.CSS("#filter-q"), "workflow-001"))
	p.WaitText("#range", "1 to 50 of 100")
	p.Do(chromedp.SetValue(chromedp.CSS("#filter-phase"), "closing"))
	eval[bool](p, `document.getElementById("filter-phase").dispatchEvent(new Event("change", {bubbles: true}))`)
	p.WaitText("#range", "1 to 2 of 2")
	p.Do(chromedp.Reload())
	p.WaitText("#range", "1 to 2 of 2")
	if got := eval[string](p, `document.getElementById("filter-q").value + document.getElementById("filter-phase").value`); got != "workflow-001closing" {
		t.Errorf("the filters show %q", got)
	}
	eval[bool](p, `(location.hash = "#q=nobody", true)`)
	p.WaitText("#nothing", "No open session matches.")
	eval[bool](p, `(location.hash = "#phase=nonsense&sort=nonsense&offset=-3", true)`)
	p.WaitText("#range", "1 to 50 of 200")
}

func TestEventsMakeThePageReadFourTimesASecondAtMost(t *testing.T) {
	b := newBackend(t)
	b.add(1, nil)
	p := open(t, b, "")
	before, began := b.readsNow(), time.Now()
	for i := range 200 {
		b.locked(func() { b.enter(b.sessions[0], "serving", fmt.Sprint("change ", i)) })
		time.Sleep(5 * time.Millisecond) // what they are spread over; the bound below holds for any
	}
	p.WaitText("#rows [data-column=waits]", "change 199")
	if n, most := b.readsNow()-before, 2+int(time.Since(began)/(250*time.Millisecond)); n > most {
		t.Errorf("%d reads, where %d are the most", n, most)
	}
}

func TestWhatOthersDrainAndResumeIsShown(t *testing.T) {
	b := newBackend(t)
	b.add(1, nil)
	p := open(t, b, "")
	b.locked(func() { b.state = "draining"; b.begin(false, patience, b.sessions) })
	p.WaitText("#state-word", "draining")
	p.WaitFor(`!document.getElementById("resume").hidden && document.getElementById("drain-all").hidden`)
	b.end(1, "drained")
	p.WaitText("#state-word", "drained")
	b.locked(b.resume)
	p.WaitText("#state-word", "serving")
	p.WaitFor(`document.getElementById("resume").hidden && !document.getElementById("drain-all").hidden`)
}

func TestAPageThatIsNoMoreTurnsIntoTheLastOne(t *testing.T) {
	b := newBackend(t)
	b.add(120, nil)
	p := open(t, b, "#offset=100")
	p.WaitText("#range", "101 to 120 of 120")
	b.end(60, "completed")
	p.WaitText("#range", "51 to 60 of 60")
}

func TestOneSessionIsDrainedByKeyboardAlone(t *testing.T) {
	b := newBackend(t)
	b.add(3, nil)
	p := open(t, b, "")
	p.TabTo("#rows tr:nth-child(2) button")
	p.Press(kb.Enter, 1)
	p.WaitFor(`document.getElementById("confirm").open`)
	p.WaitText("#confirm-title", "Drain workflow-00001?")
	if !eval[bool](p, `document.activeElement.id === "confirm-cancel"`) {
		t.Error("the dialog doesn't begin with Cancel")
	}
	p.Press(kb.Escape, 1)
	p.WaitFor(`!document.getElementById("confirm").open && document.activeElement.matches("#rows tr:nth-child(2) button")`)

	p.Press(kb.Enter, 1)
	p.WaitFor(`document.getElementById("confirm").open`)
	p.Press(kb.Tab, 1)
	p.Screenshot("confirm-one")
	p.Press(kb.Enter, 1)
	p.WaitText("#rows tr:nth-child(2) [data-column=waits]", "agent")
	p.WaitContains(".drain h3", "Drain of 1 session")
	p.WaitContains("#said", "Drain of 1 session started")
	if got := b.postsNow(); !slices.Equal(got, []string{"/sessions/s00001-7f3a9c41/drain"}) {
		t.Errorf("posted: %q", got)
	}
	if got := p.Text("#state-word"); got != "serving" {
		t.Errorf("the gateway is shown as %s", got)
	}

	p.Press(kb.Enter, 1) // the button still has the focus, and does nothing any more
	if eval[bool](p, `document.getElementById("confirm").open`) {
		t.Error("who was told can be told again")
	}
}

func TestAConfirmationThatIsAskedAgainAtOnceIsHeeded(t *testing.T) {
	b := newBackend(t)
	b.add(1, nil)
	p := open(t, b, "")
	// The browser reports a dialog's end later, here when it is open again.
	eval[bool](p, `(() => {
		const dialog = document.getElementById("confirm");
		const closed = new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.open), { once: true }));
		document.querySelector("#rows button").click();
		dialog.close();
		document.querySelector("#rows button").click();
		return closed;
	})()`)
	p.Click("#confirm-go")
	p.WaitText("#rows [data-column=waits]", "agent")
}

func TestADrainIsSeenFromItsConfirmationToItsEnd(t *testing.T) {
	b := newBackend(t)
	b.add(40, nil)
	p := open(t, b, "")
	p.Screenshot("desktop-light")
	p.drainsAll(b)
	p.seesTheBarMove(b)
	p.seesTheEnd(b)

	p.Click("#resume")
	p.WaitText("#confirm-title", "Resume?")
	p.Click("#confirm-go")
	p.WaitText("#state-word", "serving")
	p.WaitContains("#said", "Serving again")
}

// drainsAll drains 40 sessions, which are then waited for.
func (p *tab) drainsAll(b *backend) {
	p.T.Helper()
	p.Click("#drain-all")
	p.WaitText("#confirm-title", "Drain all 40 sessions?")
	p.Do(chromedp.SendKeys(chromedp.CSS("#confirm-grace"), "2.5"), chromedp.SendKeys(chromedp.CSS("#confirm-deadline"), "119"))
	p.Screenshot("confirm-all")
	p.Click("#confirm-go")
	p.WaitText("#state-word", "draining")
	p.WaitContains("#said", "Drain of 40 sessions started")
	if got := b.postsNow(); !slices.Equal(got, []string{"/drain deadline=119s&grace=2.5s"}) {
		p.T.Errorf("posted: %q", got)
	}
	if !eval[bool](p, `document.activeElement.id === "drains-title"`) {
		p.T.Error("the focus fell off the page with the button")
	}
	p.WaitFor(`document.querySelectorAll("#holding-list li").length === 20`)
	p.WaitText("#holding-list .why", "agent has not ended its stream")
	if got := p.Text("#holding-more"); got != "The 20 oldest of the 40 that were asked to stop and are left." {
		p.T.Errorf("who is not shown: %q", got)
	}
}

// seesTheBarMove lets 24 of the 40 end, and the others come to different points.
func (p *tab) seesTheBarMove(b *backend) {
	p.T.Helper()
	b.end(7, "completed")
	b.end(15, "drained")
	b.end(2, "client_gone")
	b.locked(func() {
		b.enter(b.sessions[0], "closing", "client")
		b.enter(b.sessions[1], "closing", "lease and tools")
		b.drains[0].Untold = 4
		b.progress(b.drains[0])
	})
	p.WaitText("#holding-list .why", "client has not answered the close frame")
	p.WaitFor(progressIs(24))
	p.WaitContains(".legend", "7completed")
	p.WaitContains(".legend", "4left, not asked yet")
	p.WaitContains("#said", "Drain: half of the sessions are gone")
	const grown = `document.querySelector("[data-what=drained]").getBoundingClientRect().width / document.querySelector(".bar").clientWidth`
	p.WaitFor(grown + " > 0.2") // it grows for a while
	if share := eval[float64](p, grown); share > 0.5 {
		p.T.Errorf("15 of 40 take %.2f of the bar", share)
	}
	p.WaitFor(`/^1m [0-9]{2}s to the deadline$/.test(document.querySelector(".clock").textContent)`)
	before := p.Text(".clock")
	p.WaitFor(fmt.Sprintf("document.querySelector('.clock').textContent !== %q", before))
	p.Screenshot("drain-midway")
}

// seesTheEnd lets the last 16 end, 3 of them killed.
func (p *tab) seesTheEnd(b *backend) {
	p.T.Helper()
	b.end(13, "drained")
	b.end(3, "killed")
	p.WaitText("#state-word", "drained")
	p.WaitContains("#said", "Drain finished in")
	p.WaitContains(".clock", "finished in")
	p.WaitContains(".killed-ids", "s00037-7f3a9c41, s00038-7f3a9c41, s00039-7f3a9c41")
	p.WaitFor(`document.getElementById("holding").hidden`)
	p.WaitText("#count-all", "0")
	eval[bool](p, `Promise.allSettled(document.getAnimations().map((one) => one.finished)).then(() => true)`)
	p.Screenshot("drain-over")
}

func progressIs(ended int) string {
	return fmt.Sprintf(`document.querySelector(".bar").getAttribute("aria-valuenow") === "%d"`, ended)
}

func TestWhatClientsAndAgentsSendStaysText(t *testing.T) {
	const hostile = `<img src=x onerror=alert(1)>`
	b := newBackend(t)
	b.add(2, func(i int, s *session) {
		s.Workflow, s.Remote, s.Agent = hostile, hostile, hostile
		s.Kind = []string{"dap", hostile}[i]
	})
	p := open(t, b, "")
	p.WaitText("#rows tr:first-child th", hostile)
	p.WaitText("#rows tr:last-child th", hostile+":"+hostile)
	p.Click("#rows button")
	p.WaitText("#confirm-title", "Drain "+hostile+"?")
	p.Click("#confirm-go")
	p.WaitText("#holding-list .who", hostile)
	b.end(1, hostile)
	p.WaitText("#ended-list .who", hostile)
	if n := eval[int](p, `document.images.length`); n != 0 {
		t.Errorf("%d images were made of text", n)
	}
}

func TestAPhoneShowsCardsAndScrollsOneWay(t *testing.T) {
	b := newBackend(t)
	b.add(60, func(i int, s *session) {
		if i == 1 {
			s.Workflow = strings.Repeat("a-very-long-workflow-id", 8)
		}
	})
	ctx := pagetest.Browser(t)
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile, chromedp.EmulateScale(2))); err != nil {
		t.Fatal(err)
	}
	p := openIn(ctx, t, b, "")
	p.WaitText("#range", "1 to 50 of 60")
	fits := `document.documentElement.scrollWidth <= document.documentElement.clientWidth`
	if !eval[bool](p, fits) {
		t.Error("the page scrolls sideways")
	}
	outside := `[...document.querySelectorAll("button, input, select")].filter((node) => {
		const box = node.getBoundingClientRect();
		return box.width && !node.closest("thead") && (box.left < 0 || box.right > innerWidth || box.height < 38);
	}).map((node) => node.outerHTML)`
	if got := eval[[]string](p, outside); len(got) > 0 {
		t.Errorf("out of reach, or too small: %q", got)
	}
	p.Screenshot("phone")
	p.Do(chromedp.ScrollIntoView(chromedp.CSS("#rows tr:nth-child(3) button")), chromedp.Click(chromedp.CSS("#rows tr:nth-child(3) button")))
	p.WaitText("#confirm-title", "Drain workflow-00002?")
	p.Screenshot("phone-confirm")
	p.Click("#confirm-go")
	p.WaitText("#holding-list .who", "workflow-00002")
	eval[bool](p, `(scrollTo(0, 0), true)`)
	p.Screenshot("phone-drain")
	if !eval[bool](p, fits) {
		t.Error("the page scrolls sideways during a drain")
	}
}

// contrasts is, of each selector, the contrast of its text to the ground that it stands on.
const contrasts = `(selectors) => {
	const channels = (colour) => colour.match(/[\d.]+/g).map(Number);
	const luminance = (colour) => channels(colour).slice(0, 3).map((c) => c / 255)
		.map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
		.reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
	const ground = (node) => {
		for (; node; node = node.parentElement) {
			const colour = getComputedStyle(node).backgroundColor;
			if ((channels(colour)[3] ?? 1) === 1) return colour;
		}
		return "rgb(255, 255, 255)";
	};
	return Object.fromEntries(selectors.map((selector) => {
		const node = document.querySelector(selector);
		const [low, high] = [luminance(getComputedStyle(node).color), luminance(ground(node))].sort((a, b) => a - b);
		return [selector, (high + 0.05) / (low + 0.05)];
	}));
}`

func TestTextContrastsWithItsGround(t *testing.T) {
	for _, scheme := range []string{"light", "dark"} {
		t.Run(scheme, func(t *testing.T) {
			b := newBackend(t)
			b.add(30, nil)
			b.locked(func() { b.state = "draining"; b.begin(false, patience, b.sessions[:20]) })
			b.end(12, "drained")
			ctx := pagetest.Browser(t)
			_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
			})
			if err != nil {
				t.Fatal(err)
			}
			p := openIn(ctx, t, b, "")
			p.WaitFor(`document.querySelectorAll("#holding-list li").length === 8`)
			p.Screenshot("scheme-" + scheme)
			for _, state := range []string{"serving", "draining", "drained", "lost"} {
				eval[bool](p, fmt.Sprintf(`(document.getElementById("state").dataset.state = %q, true)`, state))
				p.contrast(4.5, "#state-word", "#state-more")
			}
			p.contrast(4.5, "body", "h1", "#counts dt", "#said", "#rows th", "#rows td", "#rows .since", "#rows [data-column=id]",
				"thead button", "#rows button", "#rows button[aria-disabled]", "#resume", "#range", ".reason", ".clock", ".legend li",
				"#holding-list .why", "#holding-list .long", "#filters label", "#filter-q", "#ended .muted")
		})
	}
}

func (p *tab) contrast(least float64, selectors ...string) {
	p.T.Helper()
	for selector, got := range eval[map[string]float64](p, fmt.Sprintf("(%s)([%s])", contrasts, quoted(selectors))) {
		if got < least {
			p.T.Errorf("%s: a contrast of %.2f", selector, got)
		}
	}
}

func quoted(texts []string) string {
	out := make([]string, len(texts))
	for i, text := range texts {
		out[i] = fmt.Sprintf("%q", text)
	}
	return strings.Join(out, ", ")
}

func TestALostGatewayIsToldAndFoundAgain(t *testing.T) {
	b := newBackend(t)
	b.add(3, nil)
	p := open(t, b, "", "Failed to load resource")
	p.WaitText("#count-all", "3")
	b.stop()
	p.WaitText("#state-word", "connection lost")
	p.WaitContains("#said", "Connection lost")
	p.Screenshot("lost")

	b.start(b.address)
	b.add(1, func(_ int, s *session) { s.Workflow = "of the new process" })
	p.WaitText("#state-word", "serving")
	p.WaitText("#rows th", "of the new process")
	p.WaitText("#count-all", "1")
	p.WaitContains("#said", "Connected again")

	p.Click("#rows button")
	p.Click("#confirm-go")
	p.WaitText("#rows [data-column=waits]", "agent")
}

func TestWhatTheGatewayRefusesIsToldInItsWords(t *testing.T) {
	b := newBackend(t)
	b.add(1, nil)
	p := open(t, b, "", "Failed to load resource")
	p.WaitText("#count-all", "1")
	p.Click("#rows button")
	b.end(1, "completed")
	p.WaitText("#count-all", "0")
	p.Click("#confirm-go")
	p.WaitContains("#problem", "Draining workflow-00000 failed: no such session")
	p.Click("#problem button")
	p.WaitText("#problem", "")
}
