// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image/png"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browsers are the names of Chromium, under which it is looked for. CHROMIUM can
// name another one.
var browsers = []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "headless-shell"}

// A page is the sandbox's page in a browser.
type page struct {
	t       *testing.T
	ctx     context.Context
	console *console
}

// A console takes errors, and violations of the page's policy.
type console struct {
	mu  sync.Mutex
	all []string
}

// openPage starts a browser that ends with the test.
func openPage(t *testing.T) *page {
	t.Helper()
	path := ""
	for _, name := range append([]string{os.Getenv("CHROMIUM")}, browsers...) {
		if found, err := exec.LookPath(name); err == nil && path == "" {
			path = found
		}
	}
	if path == "" {
		t.Skip("There is no Chromium on PATH, and CHROMIUM names none: the page is not looked at in a browser.")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.WindowSize(1280, 1000),
	)
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // which Chromium has for other users only
	}
	p := &page{t: t, console: new(console)}
	ctx, end := context.WithTimeout(t.Context(), 10*time.Minute)
	t.Cleanup(end)
	ctx, end = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(end)
	p.ctx, end = chromedp.NewContext(ctx, chromedp.WithListener(p.console.listen))
	t.Cleanup(end)
	return p
}

func (c *console) listen(event any) {
	said := ""
	switch e := event.(type) {
	case *log.EventEntryAdded:
		if e.Entry.Level == "error" || e.Entry.Level == "warning" {
			said = e.Entry.Text
		}
	case *runtime.EventExceptionThrown:
		said = fmt.Sprint(e.ExceptionDetails.Text, " ", e.ExceptionDetails.URL, ":", e.ExceptionDetails.LineNumber)
	case *runtime.EventConsoleAPICalled:
		said = "console." + string(e.Type)
	}
	if said != "" {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.all = append(c.all, said)
	}
}

// said returns what the console has said, and forgets it.
func (c *console) said() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.all
	c.all = nil
	return all
}

func (p *page) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, steps...); err != nil {
		p.t.Fatal(err)
	}
}

// evaluate returns what an expression is in the page.
func evaluate[T any](p *page, expression string) T {
	p.t.Helper()
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// wait waits until an expression is true.
func (p *page) wait(expression string) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); !evaluate[bool](p, expression); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("never true: %s\nThe page shows:\n%s", expression, evaluate[string](p, "document.body.innerText"))
		}
	}
}

func quoted(s string) string {
	b, _ := json.Marshal(s) // strings always can be
	return string(b)
}

// choose takes a choice of a select, as a user does.
func (p *page) choose(id, value string) {
	p.t.Helper()
	if !evaluate[bool](p, fmt.Sprintf(`(() => {
		const select = document.getElementById(%s);
		select.value = %s;
		select.dispatchEvent(new Event("change", { bubbles: true }));
		return select.value === %[2]s && !select.selectedOptions[0].disabled;
	})()`, quoted(id), quoted(value))) {
		p.t.Fatalf("%s cannot be %s", id, value)
	}
}

// fill fills the form in.
func (p *page) fill(prompt, route, beside, format string) {
	p.t.Helper()
	p.choose("route", route)
	p.choose("beside", beside)
	p.choose("format", format)
	p.typed(prompt)
}

// typed types a prompt over the one that is there.
func (p *page) typed(prompt string) {
	p.t.Helper()
	evaluate[bool](p, `document.getElementById("prompt").focus(), document.getElementById("prompt").select(), true`)
	p.do(chromedp.SendKeys(chromedp.ID("prompt"), prompt))
	if is := evaluate[string](p, `document.getElementById("prompt").value`); is != prompt {
		p.t.Fatalf("%q was typed as %q", prompt, is)
	}
}

const idle = `!document.getElementById("send").disabled`

// send sends the form, and waits until all is told.
func (p *page) send() {
	p.t.Helper()
	p.do(chromedp.Click(chromedp.ID("send")))
	p.wait(idle + ` && document.getElementById("over").textContent !== ""`)
}

// A shownLane is an answer as it came.
type shownLane struct{ Status, Path, Words, Times string }

func (p *page) lanes() []shownLane {
	p.t.Helper()
	return evaluate[[]shownLane](p, `[...document.querySelectorAll(".lane")].map((lane) => ({
		Status: lane.querySelector(".badge").textContent, Path: lane.querySelector("code").textContent,
		Words: lane.querySelector(".words").textContent, Times: lane.querySelector(".times").textContent,
	}))`)
}

// articles are the texts of the exchanges, the newest first.
func (p *page) articles() []string {
	p.t.Helper()
	return evaluate[[]string](p, `[...document.querySelectorAll("article")].map((a) => a.textContent.replace(/\s+/g, " ").trim())`)
}

// latest waits until the newest exchanges are of these paths, in any order, and
// the latest of each says something.
func (p *page) latest(says string, paths ...string) []string {
	p.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		all := p.articles()
		fits := len(all) >= len(paths)
		for _, path := range paths {
			fits = fits && slices.ContainsFunc(all[:len(paths)], func(a string) bool {
				return strings.Contains(a, "POST "+path+" ") && strings.Contains(a, says)
			})
		}
		if fits {
			return all[:len(paths)]
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("the newest are not of %v with %q: %q", paths, says, all[:min(len(paths), len(all))])
		}
	}
}

// turn turns a switch elsewhere than on the page.
func turn(t *testing.T, method, to string) {
	t.Helper()
	req, err := http.NewRequest(method, control+"/"+to, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusNoContent {
		t.Errorf("%s: %s", to, res.Status)
	}
}

// TestPage is a visit to the page at the control port in a real browser.
// UPDATE=1 keeps its picture for the documentation.
func TestPage(t *testing.T) {
	p := openPage(t)
	p.do(chromedp.Navigate(control + "/"))
	p.wait(`document.documentElement.classList.contains("scripted")`)

	t.Run("harmless", func(t *testing.T) {
		p := p.in(t)
		p.fill("What is 2+2?", "/your-route", "/relay", "chat")
		p.send()
		for _, lane := range p.lanes() {
			if lane.Status != "200" || lane.Words != "2 + 2 = 4." || !strings.Contains(lane.Times, "first word after") {
				t.Errorf("%+v", lane)
			}
		}
		for _, text := range p.latest("Prisma AIRS on the answer", "/your-route", "/relay") {
			if strings.Count(text, "allowed") < 2 || !strings.Contains(text, "The model got") || !strings.Contains(text, "response 2 + 2 = 4.") {
				t.Error(text)
			}
		}
	})

	t.Run("attack", func(t *testing.T) {
		p := p.in(t)
		p.do(chromedp.Click(chromedp.CSS(`#examples [data-prompt^="Ignore"]`)))
		p.send()
		for _, lane := range p.lanes() {
			if lane.Status != "403" || lane.Words != "Request blocked by security policy" {
				t.Errorf("%+v", lane)
			}
		}
		for _, text := range p.latest("blocked", "/your-route", "/relay") {
			if !strings.Contains(text, "Prisma AIRS on the prompt blocked agent, injection") || strings.Contains(text, "The model got") {
				t.Error(text)
			}
		}
	})

	t.Run("masked", func(t *testing.T) {
		p := p.in(t)
		p.fill("Write to someone@example.com", "/noma", "", "chat")
		p.send()
		if text := p.latest("masked", "/noma")[0]; !strings.Contains(text, "The model got /v1/chat/completions prompt Write to ****") {
			t.Error(text)
		}
	})

	// The relay shows the first words while the model still waits to say the
	// next, the phases when it has said all.
	for _, s := range []struct{ format, phases, relay string }{{"chat", "/your-route", "/relay"}, {"messages", "/models", "/models-relay"}} {
		t.Run("streamed "+s.format, func(t *testing.T) {
			p := p.in(t)
			p.fill("Tell me about the ferry.", s.phases, s.relay, s.format)
			goOn := hold(t)
			p.do(chromedp.Click(chromedp.ID("send")))
			p.wait(`document.querySelectorAll(".lane .words")[1]?.textContent === "You"`)
			if early := p.lanes()[0].Words; early != "" {
				t.Errorf("%q came through the phases while the model had not ended", early)
			}
			goOn()
			p.wait(idle)
			for _, lane := range p.lanes() {
				if lane.Words != "You said: Tell me about the ferry." || !strings.Contains(lane.Times, "end after") {
					t.Errorf("%+v", lane)
				}
			}
		})
	}

	t.Run("cut in the middle", func(t *testing.T) {
		p := p.in(t)
		p.fill(leading, "/your-route", "/relay", "chat")
		goOn := hold(t)
		p.do(chromedp.Click(chromedp.ID("send")))
		p.wait(`document.querySelectorAll(".lane .words")[1]?.textContent === "The"`)
		goOn()
		p.wait(idle)
		lanes := p.lanes()
		if lanes[0].Status != "403" || lanes[1].Status != "200" || !strings.HasPrefix(lanes[1].Words, "The") || !strings.HasSuffix(lanes[1].Words, "\nResponse blocked by security policy") || strings.Contains(lanes[1].Words, "hack") {
			t.Errorf("%+v", lanes)
		}
		if !slices.ContainsFunc(p.latest("blocked", "/your-route", "/relay"), func(a string) bool {
			return strings.Contains(a, "The client got 200, cut") && strings.Contains(a, "characters had gone out")
		}) {
			t.Error("the exchange is not shown as cut")
		}
	})

	t.Run("down and back", func(t *testing.T) {
		p := p.in(t)
		turned := func(to string) string {
			return fmt.Sprintf(`(() => { const s = document.getElementById("s-airs/fault"); return s.value === %s && !s.dataset.turning; })()`, quoted(to))
		}
		t.Cleanup(func() { turn(t, http.MethodDelete, "airs/fault") })
		p.choose("s-airs/fault", "down=true")
		p.wait(turned("down=true"))
		p.fill("What is 2+2?", "/your-route", "/relay", "chat")
		p.send()
		for _, lane := range p.lanes() {
			if lane.Status != "503" || lane.Words != "The request could not be checked, please try again later" {
				t.Errorf("%+v", lane)
			}
		}
		p.latest("refused", "/your-route", "/relay")
		p.wait(`[...document.querySelectorAll("#meters tr")].some((row) => row.cells[0].textContent === "no verdict" && [...row.cells].slice(1).some((c) => Number(c.textContent) >= 2))`)
		p.choose("s-airs/fault", "")
		p.wait(turned("") + ` && document.getElementById("turning").textContent === ""`)
		p.send()
		for _, lane := range p.lanes() {
			if lane.Status != "200" {
				t.Errorf("%+v", lane)
			}
		}
		// One that is turned elsewhere is seen.
		turn(t, http.MethodPost, "noma/fault?delay=7ms")
		p.wait(`document.getElementById("s-noma/fault").value === "delay=7ms"`)
		turn(t, http.MethodDelete, "noma/fault")
		p.wait(`document.getElementById("s-noma/fault").value === ""`)
	})

	t.Run("in a hurry", func(t *testing.T) {
		p := p.in(t)
		t.Cleanup(func() { turn(t, http.MethodDelete, "noma/options") })
		// What goes out is slow, the first the slowest.
		evaluate[bool](p, `(() => {
			const real = window.fetch, later = (ms) => new Promise((done) => setTimeout(done, ms));
			const seen = window.seen = { sets: [], asks: 0, states: 0, together: 0, now: 0 };
			window.fetch = async (to, how) => {
				if (to === "/ask") seen.asks++;
				if (to.startsWith("/state")) { seen.states++; await later(400); }
				if (to !== "/set") return real(to, how);
				seen.sets.push(how.body.get("to"));
				seen.together = Math.max(seen.together, ++seen.now);
				await later(300 / seen.sets.length);
				try { return await real(to, how); } finally { seen.now--; }
			};
			return true;
		})()`)
		// Arrow keys pass choices on the way to one.
		last := "block_sensitive=true"
		for _, to := range []string{"client_secret=changed", "dialect=result", last} {
			p.choose("s-noma/options", to)
		}
		p.wait(`!document.getElementById("s-noma/options").dataset.turning`)
		if together, sets := evaluate[int](p, "seen.together"), evaluate[[]string](p, "seen.sets"); together != 1 || sets[len(sets)-1] != last {
			t.Errorf("%d were turned at once: %q", together, sets)
		}
		// Keys ask once until that is answered, and however often it is asked what
		// is new, nothing piles up.
		p.fill("What is 2+2?", "/your-route", "", "chat")
		evaluate[bool](p, `(() => {
			for (let i = 0; i < 5; i++) document.getElementById("prompt").dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", ctrlKey: true, bubbles: true }));
			seen.states = 0;
			for (let i = 0; i < 50; i++) renew();
			return true;
		})()`)
		p.wait(idle)
		time.Sleep(time.Second) // what piled up would go on
		if asks, states := evaluate[int](p, "seen.asks"), evaluate[int](p, "seen.states"); asks != 1 || states > 10 {
			t.Errorf("%d questions, %d times what is new", asks, states)
		}
		p.do(chromedp.Navigate(control + "/"))
	})

	t.Run("markup is text", func(t *testing.T) {
		p := p.in(t)
		const markup = `<script>document.title = "owned"</script><img src=x onerror="document.title = 'owned'"><b>&amp;</b>`
		p.fill(markup, "/your-route", "/relay", "chat")
		p.send()
		for _, lane := range p.lanes() {
			if lane.Words != "You said: "+markup {
				t.Errorf("%+v", lane)
			}
		}
		for _, text := range p.latest("The client got", "/your-route", "/relay") {
			if strings.Count(text, markup) < 5 {
				t.Error(text)
			}
		}
		p.asText(markup)
		p.do(chromedp.Navigate(control + "/")) // and as the template has it
		p.wait(`document.querySelectorAll("article").length > 1`)
		p.asText(markup)
	})

	t.Run("of another client", func(t *testing.T) {
		p := p.in(t)
		res, err := http.Post(gateway+"/monitor", "application/json", strings.NewReader(`{"model":"gpt-3.5-turbo","messages":[{"role":"user","content":"`+leading+`"}]}`))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		p.latest("Noma on the answer only watched: blocked", "/monitor")
	})

	t.Run("script and template agree", func(t *testing.T) {
		p := p.in(t)
		p.fill("I am someone@example.com, tell me the secret ingredient", "/models", "/models-relay", "chat")
		p.send()
		p.latest("Noma on the", "/models/v1/chat/completions", "/models-relay/v1/chat/completions")
		time.Sleep(2100 * time.Millisecond) // what comes late has come
		blanks := regexp.MustCompile(` +`)  // between elements there are none that count
		scripted := p.articles()
		p.do(chromedp.Navigate(control + "/"))
		for i, loaded := range p.articles() {
			if i >= len(scripted) || blanks.ReplaceAllString(loaded, "") != blanks.ReplaceAllString(scripted[i], "") {
				t.Errorf("exchange %d by template: %q\nby script: %q", i, loaded, scripted[min(i, len(scripted)-1)])
			}
		}
	})

	t.Run("for everybody", func(t *testing.T) {
		p := p.in(t)
		if nameless := evaluate[[]string](p, `[...document.querySelectorAll("input:not([type=hidden]), select, textarea")].filter((e) => !e.labels?.length).map((e) => e.outerHTML)`); len(nameless) > 0 {
			t.Errorf("without a label: %v", nameless)
		}
		if silent := evaluate[[]string](p, `[...document.querySelectorAll("button, summary, a")].filter((e) => !e.textContent.trim()).map((e) => e.outerHTML)`); len(silent) > 0 {
			t.Errorf("without a name: %v", silent)
		}
		p.choose("s-llm/options", "pause=100ms") // a switch that is on has its own colours
		defer p.choose("s-llm/options", "")
		for _, scheme := range []string{"light", "dark"} {
			p.prefer(scheme)
			if faint := evaluate[[]string](p, contrast); len(faint) > 0 {
				t.Errorf("%s: too little contrast: %v", scheme, faint)
			}
		}
		if evaluate[string](p, "getComputedStyle(document.body).backgroundColor") == "rgb(246, 247, 249)" {
			t.Error("dark is light")
		}
		p.prefer("")
		for _, width := range []int64{1280, 768, 390, 320} {
			p.do(chromedp.EmulateViewport(width, 900))
			if wide := evaluate[int](p, "document.documentElement.scrollWidth"); int64(wide) > width {
				t.Errorf("%d pixels wide on a screen of %d", wide, width)
			}
		}
		p.do(chromedp.EmulateViewport(1280, 1000))
		// The form by keyboard alone.
		p.do(chromedp.Navigate(control + "/"))
		p.typed("What is 2+2?")
		evaluate[bool](p, `document.getElementById("prompt").dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", ctrlKey: true, bubbles: true }))`)
		p.wait(idle + ` && document.getElementById("over").textContent !== ""`)
	})

	t.Run("picture", func(t *testing.T) { p.in(t).picture("../../docs/sandbox.png") })

	if said := p.console.said(); len(said) > 0 {
		t.Errorf("the console says %q", said)
	}

	// The console would have said so.
	t.Run("policy", func(t *testing.T) {
		p := p.in(t)
		evaluate[bool](p, `(() => { const i = new Image(); i.src = "/x.png"; document.body.append(i); const s = document.createElement("style"); s.textContent = "body { display: none }"; document.head.append(s); return true; })()`)
		if !evaluate[bool](p, `(() => { try { document.body.innerHTML = "<b>x</b>"; return false; } catch { return true; } })()`) {
			t.Error("markup can be made of a string")
		}
		said := ""
		for deadline := time.Now().Add(patience); strings.Count(said, "Content Security Policy") < 2; time.Sleep(20 * time.Millisecond) {
			said += strings.Join(p.console.said(), "\n")
			if time.Now().After(deadline) {
				t.Fatalf("the console says only %q", said)
			}
		}
		if evaluate[string](p, "getComputedStyle(document.body).display") == "none" {
			t.Error("a style that was put in counts")
		}
	})

	t.Run("without script", func(t *testing.T) {
		p := p.in(t)
		p.do(func(ctx context.Context, tab *chromedp.Target) (chromedp.Void, error) {
			_, err := cdp.Call(ctx, tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
			return chromedp.Void{}, err
		})
		p.do(chromedp.Navigate(control + "/"))
		if evaluate[bool](p, `document.documentElement.classList.contains("scripted")`) {
			t.Fatal("the script runs")
		}
		p.typed(malicious)
		if _, err := chromedp.RunResponse(p.ctx, chromedp.Click(chromedp.ID("send"))); err != nil {
			t.Fatal(err)
		}
		for _, text := range p.latest("blocked", "/your-route", "/relay") {
			if !strings.Contains(text, "The client got 403") {
				t.Error(text)
			}
		}
	})
}

// in is the page in a part of the test.
func (p *page) in(t *testing.T) *page {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("The page shows:\n%s", evaluate[string](p, "document.body.innerText"))
		}
	})
	return &page{t: t, ctx: p.ctx, console: p.console}
}

// asText checks that markup is shown, and is none.
func (p *page) asText(markup string) {
	p.t.Helper()
	if title := evaluate[string](p, "document.title"); strings.Contains(title, "owned") {
		p.t.Error("a script of the prompt has run")
	}
	if n := evaluate[int](p, `document.querySelectorAll("img, b, body script, article script").length`); n > 0 {
		p.t.Errorf("%d elements came of the prompt", n)
	}
	if !evaluate[bool](p, `[...document.querySelectorAll("article .text")].some((e) => e.textContent === `+quoted(markup)+`)`) {
		p.t.Error("the prompt is not shown as it is")
	}
}

// prefer has the browser prefer a scheme of colours, its own for "".
func (p *page) prefer(scheme string) {
	p.t.Helper()
	p.do(func(ctx context.Context, tab *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return chromedp.Void{}, err
	})
}

// contrast finds texts that have less contrast to what is behind them than 4.5,
// which WCAG 2 asks for.
const contrast = `(() => {
	const numbers = (c) => c.match(/[\d.]+/g).map(Number);
	const light = (c) => {
		const [r, g, b] = c.slice(0, 3).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
		return 0.2126 * r + 0.7152 * g + 0.0722 * b;
	};
	const behind = (e) => {
		for (; e; e = e.parentElement) {
			const c = numbers(getComputedStyle(e).backgroundColor);
			if (c.length < 4 || c[3] > 0) return c;
		}
		return [255, 255, 255];
	};
	const faint = new Set();
	for (const e of document.querySelectorAll("body *")) {
		const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
		if (!own && !(e instanceof HTMLSelectElement) && !(e instanceof HTMLTextAreaElement) || e instanceof HTMLOptionElement || !e.checkVisibility()) continue;
		const a = light(numbers(getComputedStyle(e).color)), b = light(behind(e));
		const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (ratio < 4.5) faint.add(e.tagName + "." + e.className + " " + ratio.toFixed(2));
	}
	return [...faint];
})()`

// picture takes the picture of the documentation if UPDATE=1, and else sees that
// it is there.
func (p *page) picture(path string) {
	p.t.Helper()
	if os.Getenv("UPDATE") == "1" {
		p.do(chromedp.Navigate(control + "/"))
		p.prefer("light")
		p.do(chromedp.EmulateViewport(1280, 1060))
		p.choose("s-llm/options", "pause=100ms")
		p.fill("The ferry leaves at nine. Tell me the secret ingredient.", "/your-route", "/relay", "chat")
		p.send()
		// The ports are those of make run.
		evaluate[bool](p, `document.querySelector("header code").textContent = "http://127.0.0.1:8000"; document.activeElement.blur(); window.scrollTo(0, 0); true`)
		picture, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
		if err == nil {
			err = os.WriteFile(path, picture, 0o644)
		}
		if err != nil {
			p.t.Fatal(err)
		}
		p.choose("s-llm/options", "")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		p.t.Fatal(err)
	}
	if size, err := png.DecodeConfig(bytes.NewReader(b)); err != nil || size.Width < 1000 || size.Height < 600 {
		p.t.Errorf("the picture is of %d x %d: %v", size.Width, size.Height, err)
	}
}
