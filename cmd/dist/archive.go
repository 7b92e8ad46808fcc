// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/buildinfo"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A file is one of an archive's.
type file struct {
	path    string
	mode    int64
	content []byte
}

// pack makes a compressed archive whose bytes depend on its arguments alone.
// The files are in the order of their paths, below a directory with the
// archive's name. All have the same time and no owner.
func pack(name string, files []file, at time.Time) ([]byte, error) {
	files = slices.SortedFunc(slices.Values(files), func(a, b file) int { return strings.Compare(a.path, b.path) })
	var out bytes.Buffer
	compressed := gzip.NewWriter(&out)
	archive := tar.NewWriter(compressed)
	for _, f := range files {
		header := &tar.Header{
			Typeflag: tar.TypeReg, Name: name + "/" + f.path, Mode: f.mode, Size: int64(len(f.content)),
			ModTime: at, Format: tar.FormatPAX,
		}
		if err := archive.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := archive.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	if err := compressed.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// modules lists, for each of these binaries, what it was built of, as the
// binary itself says: Go's version, and each module with its version and
// checksum.
func modules(binaries []file) ([]byte, error) {
	var list strings.Builder
	for _, b := range binaries {
		info, err := buildinfo.Read(bytes.NewReader(b.content))
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&list, "%s (%s)\n", b.path, info.GoVersion)
		for _, m := range info.Deps {
			if m.Replace != nil {
				m = m.Replace
			}
			fmt.Fprintf(&list, "  %s %s %s\n", m.Path, m.Version, m.Sum)
		}
	}
	return []byte(list.String()), nil
}
