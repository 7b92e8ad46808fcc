// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/switches"
	"github.com/kong-ai-guard/kong-ai-guard/plugins"
)

const config = "../../kong/kong.yml"

// bin is where the plugins' binaries and the sandbox are.
var bin string

func TestMain(m *testing.M) {
	code := 1
	defer func() { os.Exit(code) }()
	dir, err := os.MkdirTemp("", "sandbox")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	bin = dir
	args := []string{"build", "-o", bin + "/", "."}
	for _, plugin := range plugins.Names() {
		args = append(args, "../"+plugin)
	}
	build := exec.Command("go", args...)
	if out, err := build.CombinedOutput(); err != nil {
		panic(string(out))
	}
	code = m.Run()
}

func TestDemonstration(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"-demo", "-free-ports", "-bin", bin, "-config", config}, &stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d: %s\n%s", code, stderr.String(), stdout.String())
	}
	if !strings.Contains(stdout.String(), "\n17 of 17 steps went as they should.\n") || !strings.Contains(stdout.String(), "NOT Kong") {
		t.Error(stdout.String())
	}
}

func TestDemonstrationFailsWhenAStepDoes(t *testing.T) {
	// A gateway that scans nothing.
	plain := t.TempDir() + "/kong.yml"
	const routes = `
_format_version: "3.0"
services:
  - name: chat
    url: http://127.0.0.1:8003/v1/chat/completions
    routes:
      - paths: [/]
`
	if err := os.WriteFile(plain, []byte(routes), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"-demo", "-free-ports", "-bin", bin, "-config", plain}, &stdout, &stderr); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if !strings.Contains(stdout.String(), "WRONG: the status should be 403") || !strings.Contains(stderr.String(), "steps went wrong") {
		t.Errorf("%s\n%s", stdout.String(), stderr.String())
	}
}

// started starts a sandbox that ends with the test.
func started(t *testing.T) *sandbox {
	t.Helper()
	s, err := start(options{config: config, bin: bin, listen: freeAddresses()}, &logWriter{w: io.Discard})
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func send(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	all, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(all)
}

const chat = `{"model":"gpt-3.5-turbo","messages":[{"role":"user","content":"What is 2+2?"}]}`

func TestSwitches(t *testing.T) {
	s := started(t)
	gateway, control := "http://"+s.at.gateway, "http://"+s.at.control
	for _, test := range []struct {
		fault, route string
		status       int
	}{
		{"airs/fault?down=true", "/your-route", 503},
		{"airs/fault?status=429&retry_after=1", "/your-route", 503},
		{"airs/fault?degraded=timeout", "/your-route", 503},
		{"airs/options?api_key=rotated", "/your-route", 503},
		{"airs/options?profile=other", "/your-route", 503},
		{"airs/options?blocked_topic=2%2B2", "/your-route", 403},
		{"airs/options?alert_only=true&blocked_topic=2%2B2", "/your-route", 200},
		{"noma/fault?status=500", "/noma", 503},
		{"noma/fault?delay=10ms", "/noma", 200},
	} {
		if status, body := send(t, "POST", control+"/"+test.fault, ""); status != 204 {
			t.Fatalf("%s: %d %s", test.fault, status, body)
		}
		if status, body := send(t, "POST", gateway+test.route, chat); status != test.status {
			t.Errorf("%s: %d %s", test.fault, status, body)
		}
		what, _, _ := strings.Cut(test.fault, "?")
		send(t, "DELETE", control+"/"+what, "")
		// The breaker lets one call a second through until one is answered.
		for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
			status, body := send(t, "POST", gateway+test.route, chat)
			if status == 200 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("after %s ended: %d %s", test.fault, status, body)
			}
		}
	}
	for _, wrong := range []string{"airs/fault?dwon=1", "noma/fault?delay=soon", "airs/fault?status=99", "airs/fault?degraded=much", "noma/fault?degraded=error", "airs/options?alert_only=perhaps", "airs/options?x=1", "llm/options?pause=soon", "llm/options?hold=perhaps", "llm/options?x=1"} {
		if status, _ := send(t, "POST", control+"/"+wrong, ""); status != 400 {
			t.Errorf("%s: %d", wrong, status)
		}
	}
	for name, at := range map[string]string{"airs": "body.ai_profile.profile_name", "noma": "body.x-noma-context.applicationId", "llm": "body.model"} {
		_, body := send(t, "GET", control+"/"+name+"/requests", "")
		if !gjson.Get(strings.SplitN(body, "\n", 2)[0], at).Exists() || strings.Contains(body, nomaSecret) {
			t.Errorf("%s saw %s", name, body)
		}
	}
}

// TestFaultAfterFault: what a fault has taught a plugin does not hide the next.
func TestFaultAfterFault(t *testing.T) {
	s := started(t)
	gateway, control := "http://"+s.at.gateway, "http://"+s.at.control
	send(t, "POST", control+"/airs/fault?down=true", "")
	for range 8 { // more failures in a row than it takes for the breaker
		if status, body := send(t, "POST", gateway+"/your-route", chat); status != 503 {
			t.Fatal(status, body)
		}
	}
	if status, _ := send(t, "POST", control+"/airs/fault?dwon=true", ""); status != 400 {
		t.Error(status)
	}
	if status, body := send(t, "POST", gateway+"/your-route", chat); status != 503 {
		t.Error("a fault that there is not has taken the place of the last:", status, body)
	}
	send(t, "POST", control+"/airs/fault?delay=1ms", "")
	if status, body := send(t, "POST", gateway+"/your-route", chat); status != 200 {
		t.Error(status, body)
	}
}

// TestPageNamesTheStandIns: where they are, and whom they know.
func TestPageNamesTheStandIns(t *testing.T) {
	page, err := os.ReadFile("../../docs/sandbox.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, wanted := range []string{
		"model is `http://" + configuredModel + "`", "`http://" + configuredModel + "/mcp`",
		"api_endpoint: http://" + vendors[prisma].listens.service, "api_key: " + airsKey + "\n", "profile_name: " + airsProfile + "\n",
		"api_base: http://" + vendors[noma].listens.service, "client_id: " + nomaID + "\n", "client_secret: " + nomaSecret + "\n",
	} {
		if !strings.Contains(string(page), wanted) {
			t.Errorf("docs/sandbox.md has no %q", wanted)
		}
	}
}

// TestModelOptions: a stream waits behind its first word until it may go on.
func TestModelOptions(t *testing.T) {
	s := started(t)
	control := "http://" + s.at.control
	if status, body := send(t, "POST", control+"/llm/options?hold=true&pause=1ms", ""); status != 204 {
		t.Fatalf("%d %s", status, body)
	}
	over := make(chan string, 1)
	go func() {
		_, body := send(t, "POST", "http://"+s.at.gateway+"/your-route", strings.Replace(chat, "{", `{"stream":true,`, 1))
		over <- body
	}()
	for s.llm.Speaking() == 0 {
		time.Sleep(time.Millisecond)
	}
	if status, _ := send(t, "DELETE", control+"/llm/options", ""); status != 204 {
		t.Errorf("ended with %d", status)
	}
	if body := <-over; !strings.Contains(body, `" 4."`) || !strings.Contains(body, "[DONE]") {
		t.Errorf("answered %s", body)
	}
}

func TestWhatCannotStartSaysWhy(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	const free = "127.0.0.1:0"
	all := []string{"-listen", free, "-control", free, "-llm", free, "-airs", free, "-noma", free, "-airs-metrics", free, "-noma-metrics", free, "-bin", bin, "-config", config}
	for _, test := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"-listen", taken.Addr().String()}, 1, "-listen chooses another address"},
		{[]string{"-noma", taken.Addr().String()}, 1, "-noma chooses another address"},
		{[]string{"-airs-metrics", taken.Addr().String()}, 1, "-airs-metrics chooses another address"},
		{[]string{"-config", "none.yml"}, 1, "none.yml"},
		{[]string{"-bin", "nowhere"}, 1, "make build"},
		{[]string{"-log-level", "loud"}, 2, "must be debug"},
		{[]string{"more"}, 2, "unexpected argument"},
	} {
		var stderr bytes.Buffer
		stopped, cancel := context.WithCancel(t.Context())
		cancel()
		if code := run(stopped, append(all[:len(all):len(all)], test.args...), io.Discard, &stderr); code != test.code || !strings.Contains(stderr.String(), test.says) {
			t.Errorf("%v: code %d, said %q", test.args, code, stderr.String())
		}
	}
}

// TestInterruptLeavesNothing presses Ctrl-C: the signal goes to all processes
// of the terminal.
func TestInterruptLeavesNothing(t *testing.T) {
	cmd := exec.Command(bin+"/sandbox", "-free-ports", "-log-level", "info", "-bin", bin, "-config", config)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var log bytes.Buffer
	cmd.Stderr = &log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	guard := time.AfterFunc(5*time.Minute, func() { _ = cmd.Process.Kill() })
	defer guard.Stop()
	lines := bufio.NewScanner(stdout)
	for lines.Scan() && !strings.Contains(lines.Text(), "Ctrl-C") {
	}
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("ended with %v: %s", err, &log)
	}
	pids := regexp.MustCompile(`\[(?:noma-runtime-protection|prisma-airs-intercept):(\d+)\]`).FindAllStringSubmatch(log.String(), -1)
	seen := map[string]bool{}
	for _, m := range pids {
		seen[m[1]] = true
		pid, _ := strconv.Atoi(m[1])
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d is left: %v", pid, err)
		}
	}
	if len(seen) != 2 || strings.Count(log.String(), "exit status 0") != 2 {
		t.Errorf("not two plugin servers that ended well: %s", &log)
	}
	if prefix := regexp.MustCompile(`"socket":"([^"]+)/`).FindStringSubmatch(log.String()); prefix == nil {
		t.Error("no socket in the log")
	} else if _, err := os.Stat(prefix[1]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", prefix[1], err)
	}
}

func TestLogShowsWhatKongShows(t *testing.T) {
	var wanted level
	if err := wanted.set("warn"); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		level level
		line  string
		shown bool
	}{{"", "info", false}, {"", "notice", true}, {wanted, "notice", false}, {wanted, "err", true}, {"debug", "debug", true}} {
		if got := test.level.shows(test.line); got != test.shown {
			t.Errorf("level %q shows %s: %v", test.level, test.line, got)
		}
	}
}

// TestDocumentedGreps finds what operators are told to search the log for.
func TestDocumentedGreps(t *testing.T) {
	var log bytes.Buffer
	out := &logWriter{w: &log, raw: true}
	s, err := start(options{config: config, bin: bin, listen: freeAddresses()}, out)
	if err != nil {
		t.Fatal(err, s.close())
	}
	send(t, "POST", "http://"+s.at.gateway+"/your-route", strings.Replace(chat, "What is 2+2?", malicious, 1))
	send(t, "POST", "http://"+s.at.gateway+"/noma", strings.Replace(chat, "What is 2+2?", leading, 1))
	if err := s.of(prisma).Fail(switches.Fault{Down: true}); err != nil {
		t.Fatal(err)
	}
	send(t, "POST", "http://"+s.at.gateway+"/your-route", chat)
	if err := s.close(); err != nil {
		t.Error(err)
	}
	for _, wanted := range []string{
		`\[warn\].*SecurePrismaAIRS request blocked: outcome="policy_block" scan_id="`,
		`\[warn\].*\[noma-runtime-protection\] response blocked: outcome="policy_block"`,
		`(?i)error.*SecurePrismaAIRS request refused: outcome="no_verdict"`,
		`(?m)^\{"ai":\{"guard":\{"prisma-airs-intercept":\{"request":\{"action":"block","latency_ms":[0-9.]+,"reason":"policy_block","scan_id":"`,
		`(?m)^\{"ai":.*"noma-runtime-protection":\{"request":\{"action":"allow",.*"response":\{"action":"block"`,
	} {
		if !regexp.MustCompile(wanted).MatchString(log.String()) {
			t.Errorf("nothing fits %s in\n%s", wanted, &log)
		}
	}
	for _, content := range []string{malicious, leading, "how to hack"} {
		if strings.Contains(log.String(), content) {
			t.Errorf("the log holds %q", content)
		}
	}
}

// TestBrief is what the terminal shows: a line for each exchange, whoever judged
// it, and what Kong's log has besides.
func TestBrief(t *testing.T) {
	var log bytes.Buffer
	out := &logWriter{w: &log}
	s, err := start(options{config: config, bin: bin, listen: freeAddresses()}, out)
	if err != nil {
		t.Fatal(err, s.close())
	}
	ask := func(path, prompt string) {
		t.Helper()
		send(t, "POST", "http://"+s.at.gateway+path, strings.Replace(chat, "What is 2+2?", prompt, 1))
	}
	ask("/your-route", malicious)
	ask("/your-route", leading)
	ask("/your-route", "What is 2+2?")
	ask("/models/v1/chat/completions", "What is 2+2?")
	ask("/monitor", leading)
	for range 2 { // the first one takes the phases
		ask("/relay", leading)
	}
	ask("/relay", malicious)
	send(t, "POST", "http://"+s.at.gateway+"/your-route", "{bad")
	for range 6 { // more failures in a row than it takes for the breaker
		if err := s.of(prisma).Fail(switches.Fault{Status: 500}); err != nil {
			t.Fatal(err)
		}
		ask("/your-route", "What is 2+2?")
	}
	send(t, "DELETE", "http://"+s.at.control+"/airs/fault", "")
	ask("/your-route", "Is it used again?")
	send(t, "GET", "http://"+s.at.gateway+"/nowhere", "")
	var shown string
	for end := time.Now().Add(time.Minute); strings.Count(shown, "POST /relay ") < 3 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		out.mu.Lock()
		shown = log.String()
		out.mu.Unlock()
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	for _, unwanted := range []string{"of an earlier exchange", "Is it back"} {
		if strings.Contains(shown, unwanted) {
			t.Errorf("a line has %q", unwanted)
		}
	}
	if n := strings.Count(shown, "POST /your-route 503"); n != 6 {
		t.Errorf("%d lines of refused prompts, want 6: those of the sandbox's own are not shown", n)
	}
	for _, wanted := range []string{
		`POST /your-route 403 Prisma AIRS blocked the prompt: agent,injection [0-9.]+ ms`,
		`POST /your-route 403 Prisma AIRS allowed the prompt [0-9.]+ ms; Prisma AIRS blocked the answer: toxic_content [0-9.]+ ms`,
		`POST /your-route 200 Prisma AIRS allowed the prompt [0-9.]+ ms; Prisma AIRS allowed the answer [0-9.]+ ms`,
		`POST /models/v1/chat/completions 200 Noma allowed the prompt [0-9.]+ ms; Noma allowed the answer [0-9.]+ ms; Prisma AIRS allowed .*`,
		`POST /monitor 200 Noma would have allowed the prompt [0-9.]+ ms; Noma would have blocked the answer: [a-zA-Z]+ [0-9.]+ ms`,
		`POST /relay 403 relayed, Prisma AIRS allowed the prompt [0-9.]+ ms; Prisma AIRS blocked the answer: toxic_content [0-9.]+ ms`,
		`POST /relay 403 relayed, Prisma AIRS blocked the prompt: agent,injection [0-9.]+ ms`,
		`POST /your-route 400 Prisma AIRS refused the prompt: not valid JSON [0-9.]+ ms`,
		`POST /your-route 503 Prisma AIRS refused the prompt: .*`,
		`Prisma AIRS: api_endpoint is an http URL: .* unencrypted`,
		`GET /nowhere 404 no plugin`,
	} {
		if !regexp.MustCompile(`(?m)^[0-9:]{8} ` + wanted + `$`).MatchString(shown) {
			t.Errorf("no line is %s", wanted)
		}
	}
	if lines := strings.Split(strings.TrimSpace(shown), "\n"); !strings.Contains(lines[len(lines)-2], "POST /your-route 200") {
		t.Error("the service is not used again once the fault is gone")
	}
	if t.Failed() {
		t.Log(shown)
	}
}

// TestNomaOptions: the stand-in for Noma can be each kind of service that the
// plugin must get along with.
func TestNomaOptions(t *testing.T) {
	s := started(t)
	gateway, control := "http://"+s.at.gateway, "http://"+s.at.control
	const sensitive = `{"model":"gpt-3.5-turbo","messages":[{"role":"user","content":"I am a@b.example"}]}`
	for _, c := range []struct {
		options, body string
		status        int
	}{
		{"client_secret=changed", chat, 503},
		{"tokens=oauth-json&snake_case=true", chat, 200},
		{"tokens=oauth-form", chat, 200},
		{"tokens=auth-json,oauth-form&lifetime=1s", chat, 200},
		{"dialect=action", sensitive, 200},
		{"block_sensitive=true", sensitive, 400},
		{"dialect=result", sensitive, 400},
		{"dialect=verdict", chat, 200},
	} {
		send(t, "DELETE", control+"/noma/options", "")
		if status, body := send(t, "POST", control+"/noma/options?"+c.options, ""); status != 204 {
			t.Fatalf("%s: %d %s", c.options, status, body)
		}
		var status int
		var body string
		for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
			// A refusal of the credentials is remembered for a moment.
			if status, body = send(t, "POST", gateway+"/noma", c.body); status == c.status || time.Now().After(end) {
				break
			}
		}
		if status != c.status {
			t.Errorf("%s: %d %s, want %d", c.options, status, body, c.status)
		}
	}
	for _, wrong := range []string{"dialect=x", "tokens=auth-json,x", "lifetime=soon", "x=y", "snake_case=maybe"} {
		if status, _ := send(t, "POST", control+"/noma/options?"+wrong, ""); status != 400 {
			t.Errorf("%s: %d", wrong, status)
		}
	}
}

// TestTroubleshooting reproduces the cases of noma-runtime-protection's
// documentation as docs/sandbox.md says, where verdicts are waited for and
// where not: by the second request the gateway's log names the setting.
func TestTroubleshooting(t *testing.T) {
	for _, c := range []struct{ name, cause, says string }{
		{"wrong credentials", "noma/options?client_secret=changed", `reason="token endpoint: status 401" check="client_ID and client_secret"`},
		{"no egress", "noma/fault?down=true", `connection closed by the service" check="API_base or http_proxy"`},
		{"timeout", "noma/fault?hang=true", `reason="timeout" check="timeout_ms"`},
		{"a portal", "noma/fault?garbage=true", `reason="answer is not JSON" check="API_base"`},
		{"generic application", "noma/options?dialect=action", "reported under the application kong: set application_ID"},
	} {
		for _, route := range []string{"/noma", "/monitor"} {
			t.Run(c.name+route, func(t *testing.T) {
				t.Parallel()
				s := started(t)
				gateway, control := "http://"+s.at.gateway, "http://"+s.at.control
				if status, body := send(t, "POST", control+"/"+c.cause, ""); status != 204 {
					t.Fatalf("%d %s", status, body)
				}
				lines := func(shown bool) (n int) {
					for _, line := range s.gateway.Logs() {
						if line.Output != shown && strings.Contains(strings.ReplaceAll(line.Text, `\"`, `"`), c.says) && strings.Contains(line.Text, "[noma-runtime-protection]") {
							n++
						}
					}
					return n
				}
				send(t, "POST", gateway+route, chat)
				if lines(true) == 0 { // nobody waited: it is known a moment later
					for end := time.Now().Add(2 * time.Minute); lines(false) == 0; time.Sleep(20 * time.Millisecond) {
						if time.Now().After(end) {
							t.Fatal("no line on stderr")
						}
					}
				}
				send(t, "POST", gateway+route, chat)
				if n := lines(true); n == 0 || route == "/monitor" && n != 1 {
					t.Errorf("%d lines after the second request", n)
				}
			})
		}
	}
}
