// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

func TestFakesServeUntilStopped(t *testing.T) {
	stop, end := context.WithCancel(context.Background())
	defer end()
	out, in := io.Pipe()
	var stderr bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- run(stop, []string{"-llm", "127.0.0.1:0", "-airs", "127.0.0.1:0", "-noma", "127.0.0.1:0", "-control", "127.0.0.1:0", "-pause", "1ms"}, in, &stderr)
		in.Close()
	}()
	at := map[string]string{}
	for lines := bufio.NewScanner(out); len(at) < 4 && lines.Scan(); {
		m := regexp.MustCompile(`^(.*) \(stand-in\) at http://(\S+)$`).FindStringSubmatch(lines.Text())
		if m == nil {
			t.Fatalf("unexpected line %q", lines.Text())
		}
		at[m[1]] = m[2]
	}
	if len(at) < 4 {
		t.Fatalf("only %v started: %s", at, &stderr)
	}
	post := func(url, key, body string) int {
		t.Helper()
		req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("x-pan-token", key)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	scan := `{"ai_profile":{"profile_name":"demo-profile"},"contents":[{"prompt":"hello"}]}`
	for _, c := range []struct {
		name, url, key, body string
		status               int
	}{
		{"model", "http://" + at["model"] + "/v1/chat/completions", "", `{"model":"m","messages":[{"role":"user","content":"hello"}]}`, 200},
		{"scan", "http://" + at["Prisma AIRS"] + "/v1/scan/sync/request", "sandbox-airs-key", scan, 200},
		{"scan with another key", "http://" + at["Prisma AIRS"] + "/v1/scan/sync/request", "other", scan, 403},
	} {
		if got := post(c.url, c.key, c.body); got != c.status {
			t.Errorf("%s: status %d, want %d", c.name, got, c.status)
		}
	}
	turn := func(method, path, host string) int {
		t.Helper()
		req, err := http.NewRequest(method, "http://"+at["switches"]+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	for _, c := range []struct {
		method, path, host string
		status, scan       int // what the switch answers, and then a scan
	}{
		{"POST", "/airs/fault?status=500", "", 204, 500},
		{"POST", "/airs/fault?status=500", "evil.example", 421, 500},
		{"DELETE", "/airs/fault", "localhost", 204, 200},
		{"POST", "/airs/options?api_key=rotated", "", 204, 403},
		{"DELETE", "/airs/options", "", 204, 200},
		{"POST", "/noma/fault?down=true", "", 204, 200},
		{"POST", "/llm/options?pause=2ms", "", 204, 200},
		{"GET", "/llm/requests", "", 200, 200},
		{"GET", "/", "", 404, 200},
	} {
		if got := turn(c.method, c.path, c.host); got != c.status {
			t.Errorf("%s %s: status %d, want %d", c.method, c.path, got, c.status)
		}
		if got := post("http://"+at["Prisma AIRS"]+"/v1/scan/sync/request", "sandbox-airs-key", scan); got != c.scan {
			t.Errorf("a scan after %s %s: status %d, want %d", c.method, c.path, got, c.scan)
		}
	}
	probe := []string{"-probe", "-llm", at["model"], "-airs", at["Prisma AIRS"], "-noma", at["Noma"], "-control", at["switches"]}
	if got := run(stop, probe, io.Discard, &stderr); got != 0 {
		t.Errorf("the probe ended with %d: %s", got, &stderr)
	}
	end()
	if got := <-code; got != 0 {
		t.Errorf("ended with %d: %s", got, &stderr)
	}
	if got := run(context.Background(), probe, io.Discard, io.Discard); got != 1 {
		t.Errorf("the probe of what has ended gave %d", got)
	}
}

func TestFakesRefuseWhatTheyCannotDo(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"-llm", "127.0.0.1:0", "-airs", taken.Addr().String()}, 1},
		{[]string{"-llm", "127.0.0.1:0", "-airs", "127.0.0.1:0", "-noma", "127.0.0.1:0", "-control", taken.Addr().String()}, 1},
		{[]string{"-pause", "-1s"}, 2},
		{[]string{"-nonsense"}, 2},
		{[]string{"-pause", "long"}, 2},
		{[]string{"more"}, 2},
		{[]string{"-h"}, 0},
	} {
		if got := run(context.Background(), c.args, io.Discard, io.Discard); got != c.code {
			t.Errorf("%v gave %d, want %d", c.args, got, c.code)
		}
	}
}
