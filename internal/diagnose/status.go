// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
)

// A Node is a Kong that shows no Admin API: a data plane, or one that
// Kubernetes' controller runs. It is checked from its own machine or container.
type Node struct {
	// Status is the URL of its Status API (status_listen).
	Status string
	// Config is a file with its configuration, as Check takes it; "" for the one
	// that Kong itself has been given, if it has.
	Config string
	// Prefix is Kong's.
	Prefix string
	// Root is where the file system begins, "" for /.
	Root string
}

// noConfiguration is the hash that Kong shows while it has no configuration.
const noConfiguration = "00000000000000000000000000000000"

// CheckNode prints what a Kong's Status API says, what its machine shows of it
// and of the plugin server, and what Check says of its configuration, if that
// can be read; then it has the scan service judge a harmless text under each
// configuration. It returns ExitOK when there are no errors.
//
// What the Status API has: https://developer.konghq.com/api/gateway/status/.
func CheckNode(ctx context.Context, p *Plugin, at Node, stdout, stderr io.Writer) int {
	base, err := url.Parse(at.Status)
	if err != nil || !IsURL(at.Status) || base.Host == "" || base.User != nil {
		fmt.Fprintf(stderr, "-status takes the URL of a Status API, such as http://127.0.0.1:8100\n")
		return ExitUsage
	}
	schema, err := p.schema()
	if err != nil {
		fmt.Fprintln(stderr, err)
		return ExitUsage
	}
	n := &node{}
	about := n.askStatus(ctx, base)
	h := lookHere(p, &at)
	about = append(about, h.answersAt(base)...)
	about = append(about, h.remarks(ctx, p)...)
	n.enabled, n.buffer = h.plugins(), h.settings[bufferSize]

	file := at.Config
	if file == "" {
		file = h.declared()
	}
	doc := &document{kind: "a running Kong", node: n}
	var ours []*instance
	if file == "" {
		n.hidden = true
		about.add(levelNote, "its configuration cannot be seen from here: -check FILE beside -status has one judged, and the scan service asked")
	} else if read, found, err := p.load(ctx, file); err != nil {
		n.hidden = true
		about.add(levelError, "its configuration cannot be read: %s", err)
	} else {
		read.node = n
		doc, ours = read, found
	}
	fmt.Fprintf(stdout, "%s: a running Kong, by its Status API\n\nthe node\n", at.Status)
	about.print(stdout)
	if !n.hidden {
		fmt.Fprintf(stdout, "\n%s: %s, %s\n", clean(file), doc.kind, number(len(ours), "configuration of ", "configurations of ")+p.Name)
	}
	return p.report(ctx, schema, doc, ours, about, stdout)
}

// askStatus asks a Status API, which says little: whether there is a
// configuration, and, by a header, the version.
func (n *node) askStatus(ctx context.Context, base *url.URL) (noted remarks) {
	api := &kongAPI{base: base, name: "Status API"}
	var status struct {
		Server *struct{} `json:"server"`
		Hash   string    `json:"configuration_hash"`
	}
	switch code, err := api.get(ctx, "/status", &status); {
	case err != nil:
		noted.add(levelError, "the Status API does not answer: %s", clean(reasonOf(err)))
		return noted
	case code != http.StatusOK || status.Server == nil:
		noted.add(levelError, "/status answers with status %d: is this Kong's Status API?", code)
		return noted
	}
	n.version = strings.TrimPrefix(api.server, "kong/")
	var ready struct{}
	switch code, err := api.get(ctx, "/status/ready", &ready); {
	case err != nil:
		noted.add(levelError, "/status/ready does not answer: %s", clean(reasonOf(err)))
	case code == http.StatusOK:
		noted.add(levelNote, "it is ready for exchanges")
	case code == http.StatusNotFound: // before 3.3
		noted.add(levelNote, "it does not say whether it is ready")
	default:
		noted.add(levelError, "it is not ready (status %d): it has no configuration yet, still builds it, or drains", code)
	}
	if status.Hash == noConfiguration {
		noted.add(levelError, "it has no configuration: none was loaded, or none has come from the control plane")
	}
	return noted
}

// reasonOf is an error of a call without its URL.
func reasonOf(err error) string {
	var of *url.Error
	if errors.As(err, &of) {
		return of.Err.Error()
	}
	return err.Error()
}

// declared is the file that Kong has its configuration from, "" for none.
func (h *here) declared() string {
	if h.settings["database"] != "off" || h.settings["role"] == "data_plane" {
		return ""
	}
	file := h.settings["declarative_config"]
	if !filepath.IsAbs(file) {
		return ""
	}
	return h.path(file)
}
