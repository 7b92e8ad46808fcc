// SPDX-License-Identifier: Apache-2.0

// Command dist makes the archives of a release: for each platform the binaries,
// the schemas, the examples and the documentation, with a list of the modules
// that the binaries are built of, and the archives' checksums. The same commit
// and the same Go make the same bytes. It runs in the repository's root.
package main

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/plugins"
)

// platforms are the ones that Kong runs on.
var platforms = []string{"amd64", "arm64"}

// commands are the binaries that a release holds.
var commands = append(plugins.Names(), "konnect-schema")

// shipped are the files and directories of the repository that go with them.
var shipped = []string{"LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docker/Dockerfile", "docs", "kong", "schema"}

func main() {
	version := flag.String("version", "", "`version` of the release")
	out := flag.String("out", "dist", "`directory` for the archives")
	seconds := flag.Int64("time", 0, "time of all files in the archives, in `seconds` since 1970")
	show := flag.Bool("notes", false, "Only print what CHANGELOG.md says of the version")
	flag.Parse()
	if *show {
		if err := printNotes(*version); err != nil {
			fmt.Fprintln(os.Stderr, "dist:", err)
			os.Exit(1)
		}
		return
	}
	if err := release(*version, *out, time.Unix(*seconds, 0), tracked, build); err != nil {
		fmt.Fprintln(os.Stderr, "dist:", err)
		os.Exit(1)
	}
}

func printNotes(version string) error {
	changelog, err := os.ReadFile("CHANGELOG.md")
	if err != nil {
		return err
	}
	text, err := notes(string(changelog), version)
	fmt.Print(text)
	return err
}

// validVersion has no character that means something in a path or a flag.
var validVersion = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+_-]*$`)

// release makes the archives of one version in out. files lists what is
// shipped. binaries makes what is built for a platform.
func release(version, out string, at time.Time, files func() ([]string, error), binaries func(arch, version string) ([]file, error)) error {
	if !validVersion.MatchString(version) {
		return fmt.Errorf("%q is no version", version)
	}
	paths, err := files()
	if err != nil {
		return err
	}
	var common []file
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		common = append(common, file{path, 0o644, b})
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	var sums strings.Builder
	for _, arch := range platforms {
		name := "kong-ai-guard_" + version + "_linux_" + arch
		built, err := binaries(arch, version)
		if err != nil {
			return err
		}
		archive, err := pack(name, slices.Concat(built, common), at)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(out, name+".tar.gz"), archive, 0o644); err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s.tar.gz\n", sha256.Sum256(archive), name)
	}
	return os.WriteFile(filepath.Join(out, "SHA256SUMS"), []byte(sums.String()), 0o644)
}

// tracked lists the shipped files that git knows. Other files that lie about,
// such as the key of a data plane, must not be shipped.
func tracked() ([]string, error) {
	out, err := exec.Command("git", append([]string{"ls-files", "-z", "--"}, shipped...)...).Output()
	if err != nil {
		return nil, fmt.Errorf("git ls-files: %w", err)
	}
	var paths []string
	for path := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		if !strings.HasSuffix(path, "_test.go") && filepath.Base(path) != ".gitignore" {
			paths = append(paths, path)
		}
	}
	return paths, nil
}

// build makes the commands for a platform, as the Makefile does, and the list
// of what they are built of.
func build(arch, version string) ([]file, error) {
	dir, err := os.MkdirTemp("", "dist")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil, errors.New("built without modules")
	}
	args := []string{
		"build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -X " + info.Main.Path + "/internal/program.stamp=" + version,
		"-o", dir + string(filepath.Separator),
	}
	for _, command := range commands {
		args = append(args, "./cmd/"+command)
	}
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("go build for %s: %w", arch, err)
	}
	var files []file
	for _, command := range commands {
		b, err := os.ReadFile(filepath.Join(dir, command))
		if err != nil {
			return nil, err
		}
		files = append(files, file{"bin/" + command, 0o755, b})
	}
	list, err := modules(files)
	return append(files, file{"MODULES.txt", 0o644, list}), err
}
