// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

// unpacked makes the archive for this machine as a release would, and unpacks
// it in an empty directory by the commands that its README has for that.
func unpacked(t *testing.T) (root string) {
	t.Helper()
	if runtime.GOOS != "linux" || !slices.Contains(platforms, runtime.GOARCH) {
		t.Skip("An archive has programs for Linux on amd64 or arm64, which do not run on " + runtime.GOOS + "/" + runtime.GOARCH + ".")
	}
	inClone(t)
	all := platforms
	platforms = []string{runtime.GOARCH}
	t.Cleanup(func() { platforms = all })
	dir := t.TempDir()
	if err := release("v1.2.3", dir, time.Unix(1700000000, 0), tracked, func(string, string) ([]file, error) { return built() }, io.Discard); err != nil {
		t.Fatal(err)
	}
	name := "kong-ai-guard_v1.2.3_linux_" + runtime.GOARCH
	if out, err := sh(dir, "tar xzf "+name+".tar.gz"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return filepath.Join(dir, name)
}

// sh runs a command of a page in a directory.
func sh(dir, command string) (string, error) {
	cmd := exec.Command("sh", "-c", command)
	cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// commandsOf are the commands in a page's blocks that name no language.
func commandsOf(page string) (all []string) {
	for _, block := range regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```").FindAllStringSubmatch(page, -1) {
		if block[1] != "" {
			continue
		}
		text := strings.ReplaceAll(block[2], "\\\n", " ")
		for line := range strings.Lines(text) {
			all = append(all, strings.Join(strings.Fields(line), " "))
		}
	}
	return all
}

// elsewhere are the commands that need Kong, Docker or root.
func elsewhere(command string) bool {
	word, _, _ := strings.Cut(command, " ")
	return word == "sudo" || word == "docker"
}

// TestTheArchive unpacks one in an empty directory.
func TestTheArchive(t *testing.T) {
	root := unpacked(t)
	t.Run("runs by its README", func(t *testing.T) { runsByItsReadme(t, root) })
	t.Run("has what its pages lead to", func(t *testing.T) { leadsSomewhere(t, root) })
}

// runsByItsReadme: each command that needs no Kong, no Docker and no root does
// what the README says.
func runsByItsReadme(t *testing.T, root string) {
	b, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	if !strings.HasPrefix(page, "# kong-ai-guard v1.2.3 for linux/"+runtime.GOARCH+"\n") {
		t.Errorf("it begins with %.80q", page)
	}
	want := map[string]string{ // what each command has to say
		"sha256sum -c --ignore-missing SHA256SUMS":         ".tar.gz: OK",
		"./sandbox -demo -free-ports":                      "",
		"bin/prisma-airs-intercept -version":               "prisma-airs-intercept v1.2.3 (go",
		"bin/prisma-airs-intercept -check kong/kong.yml":   "\n0 errors, ",
		"bin/noma-runtime-protection -check kong/kong.yml": "\n0 errors, ",
	}
	var sandbox, ask string
	for _, command := range commandsOf(page) {
		switch {
		case command == "./sandbox":
			sandbox = command
			continue
		case strings.HasPrefix(command, "curl "):
			ask = command
			continue
		case elsewhere(command):
			continue
		}
		said, known := want[command]
		if !known {
			t.Errorf("nobody knows what %q has to say", command)
			continue
		}
		delete(want, command)
		dir := root
		if strings.HasPrefix(command, "sha256sum") {
			dir = filepath.Dir(root)
		}
		if out, err := sh(dir, command); err != nil || !strings.Contains(out, said) {
			t.Errorf("%s: %v: %s", command, err, out)
		}
	}
	for command := range want {
		t.Errorf("it does not have %q", command)
	}

	// What it says is gone from its place is not in the repository's root.
	if sandbox == "" || ask == "" {
		t.Fatal("it does not start the sandbox and ask it")
	}
	gateway := start(t, root, sandbox+" -free-ports")
	path := regexp.MustCompile(`http://localhost:8000(/\S+)`).FindStringSubmatch(ask)
	body := regexp.MustCompile(`-d '(.*)'`).FindStringSubmatch(ask)
	if path == nil || body == nil {
		t.Fatalf("%s asks for nothing", ask)
	}
	answer, err := http.Post(gateway+path[1], "application/json", strings.NewReader(body[1]))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusForbidden || !strings.Contains(string(got), `"code":"policy_violation"`) {
		t.Errorf("%d %s %v", answer.StatusCode, got, err)
	}
}

// start starts the sandbox and returns the URL of its gateway.
func start(t *testing.T, root, command string) string {
	t.Helper()
	words := strings.Fields(command)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir = root
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		for range lines {
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the sandbox ended with %v", err)
		}
	})
	patience := time.After(2 * time.Minute)
	gateway := regexp.MustCompile(`^\s*gateway\s+(http://\S+)`)
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				t.Fatal("the sandbox ended")
			}
			if m := gateway.FindStringSubmatch(line); m != nil {
				go func() {
					for range lines {
					}
				}()
				return m[1]
			}
		case <-patience:
			t.Fatal("the sandbox does not say where it is")
		}
	}
}

// leadsSomewhere: what the pages link to, what the image is built of and what the
// compose file mounts is in the archive.
func leadsSomewhere(t *testing.T, root string) {
	exists := func(path string) bool {
		_, err := os.Stat(filepath.Join(root, path))
		return err == nil
	}
	read := func(path string) string {
		b, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	link := regexp.MustCompile(`\]\(([^)\s#:]+)(?:#[^)]*)?\)`)
	pages, links := 0, 0
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".md" {
			return err
		}
		pages++
		page, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		for _, m := range link.FindAllStringSubmatch(read(page), -1) {
			links++
			if target := filepath.Join(filepath.Dir(page), m[1]); !exists(target) {
				t.Errorf("%s leads to %s, which is not there", page, target)
			}
		}
		return nil
	})
	if err != nil || pages < 10 || links < 50 {
		t.Errorf("%d pages, %d links, %v", pages, links, err)
	}

	image := read("docker/Dockerfile")
	for _, gone := range []string{"go build", "/out/", "--from", "GO_IMAGE", "COPY cmd"} {
		if strings.Contains(image, gone) {
			t.Errorf("the image still needs %q:\n%s", gone, image)
		}
	}
	allowed := read("docker/Dockerfile.dockerignore")
	copied := 0
	for _, m := range regexp.MustCompile(`(?m)^COPY (.*)$`).FindAllStringSubmatch(image, -1) {
		words := slices.DeleteFunc(strings.Fields(m[1]), func(w string) bool { return strings.HasPrefix(w, "--") })
		for _, source := range words[:len(words)-1] {
			copied++
			dir, _, _ := strings.Cut(source, "/")
			if !exists(source) || !strings.Contains(allowed, "\n!"+source+"\n") && !strings.Contains(allowed, "\n!"+dir+"\n") {
				t.Errorf("the image is built of %s, which is not there or not in its context", source)
			}
		}
	}
	if stages := strings.Count(image, "\nFROM "); copied != 3 || stages != 2 || !strings.Contains(image, "\nARG KONG_IMAGE=") || !strings.Contains(image, "\nENV KONG_PLUGINS=") {
		t.Errorf("%d files in %d stages:\n%s", copied, stages, image)
	}
	var compose struct {
		Services map[string]struct {
			Build   struct{ Context, Dockerfile, Target string }
			Volumes []string
		}
	}
	if err := yaml.Unmarshal([]byte(read("docker/compose.yaml")), &compose); err != nil || len(compose.Services) < 2 {
		t.Fatalf("%v, %d services", err, len(compose.Services))
	}
	for name, s := range compose.Services {
		if s.Build.Context != ".." || !exists(s.Build.Dockerfile) || s.Build.Target != "" && !strings.Contains(image, " AS "+s.Build.Target+"\n") {
			t.Errorf("%s is built of %+v", name, s.Build)
		}
		for _, v := range s.Volumes {
			if from, _, _ := strings.Cut(v, ":"); !exists(filepath.Join("docker", from)) {
				t.Errorf("%s mounts %s, which is not there", name, from)
			}
		}
	}
}

// TestImageOfRefuses: what the archives would not have is not passed over.
func TestImageOfRefuses(t *testing.T) {
	const head = "ARG KONG_IMAGE=kong\nARG GO_IMAGE=golang\n\nFROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build\nRUN go build\n\n"
	if got, err := imageOf(head + "FROM scratch\nCOPY --from=build --chmod=0755 /out/prisma-airs-intercept /out/fakes /x/\n"); err != nil || !strings.Contains(got, "COPY --chmod=0755 bin/prisma-airs-intercept docker/fakes /x/") {
		t.Errorf("%v: %s", err, got)
	}
	for _, text := range []string{
		"", "FROM scratch\n", head + "FROM scratch\nCOPY --from=build /etc/ssl /etc/ssl\n", head + "FROM build\nCMD /out/x\n",
	} {
		if got, err := imageOf(text); err == nil {
			t.Errorf("%q became %q", text, got)
		}
	}
}
