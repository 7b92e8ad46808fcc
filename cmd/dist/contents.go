// SPDX-License-Identifier: Apache-2.0

package main

import (
	_ "embed"
	"fmt"
	"regexp"
	"strings"
)

// readme is the archives' own: they have no sources to make anything of.
//
//go:embed archive/README.md
var readme string

// readmeOf is what an archive's README says.
func readmeOf(version, arch string) file {
	text := strings.Replace(readme, "VERSION for linux/ARCH", version+" for linux/"+arch, 1)
	return file{"README.md", 0o644, []byte(text)}
}

// dockerfile and ignored are where an image is described, here and there.
const (
	dockerfile = "docker/Dockerfile"
	ignored    = "docker/Dockerfile.dockerignore"
)

// inContext are the files of an archive that an image is built of.
const inContext = "*\n!bin\n!docker/fakes\n"

// fromBuild is an instruction that copies what the first stage has built.
var fromBuild = regexp.MustCompile(`(?m)^COPY --from=build (.*)$`)

// imageOf turns the repository's Dockerfile into an archive's: without the stage
// that builds, and with the archive's binaries in the place of what it builds.
func imageOf(repository string) (string, error) {
	head, rest, found := strings.Cut(repository, "ARG GO_IMAGE=")
	_, rest, ends := strings.Cut(rest, " ${GO_IMAGE} AS build\n")
	// The stage goes up to the comment of the next one.
	_, rest, next := strings.Cut(rest, "\n\n")
	if !found || !ends || !next {
		return "", fmt.Errorf("%s does not begin with the stage that builds", dockerfile)
	}
	text := strings.Replace(head, "From the repository's root:", "From the archive's root:", 1) + "\n" + rest
	more := false
	text = fromBuild.ReplaceAllStringFunc(text, func(line string) string {
		line = strings.Replace(line, " --from=build", "", 1)
		words := strings.Fields(line)
		for _, word := range words[1 : len(words)-1] {
			name, binary := strings.CutPrefix(word, "/out/")
			if binary {
				line = strings.Replace(line, word, placeOf(name), 1)
			}
			more = more || !binary && !strings.HasPrefix(word, "--")
		}
		return line
	})
	if more || strings.Contains(text, "/out/") || strings.Contains(text, "FROM build") || strings.Contains(text, "GO_IMAGE") || strings.Contains(text, "go build") {
		return "", fmt.Errorf("%s uses more of the stage that builds than its binaries", dockerfile)
	}
	return text, nil
}
