// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The settings of kong.conf that matter here; those of the plugin server are
// named after it.
const (
	bufferSize    = "nginx_http_client_body_buffer_size"
	defaultPrefix = "/usr/local/kong"
	keptSettings  = ".kong_env" // under the prefix: what a Kong that runs was started with
	maxSettings   = 64 << 20    // bytes of a file with settings, which may hold a whole configuration
	maxSetting    = 1 << 16     // bytes of the settings that matter
	maxScrape     = 16 << 20    // bytes of what a plugin server shows
	localTime     = 5 * time.Second
)

// settingFiles are where Kong looks for kong.conf when nobody names one.
var settingFiles = []string{"/etc/kong/kong.conf", "/etc/kong.conf"}

// here is what a machine shows of the Kong that runs on it.
type here struct {
	root, prefix string
	search       string // the directories in which commands without one are looked for
	// settings are Kong's own; nil when nothing says them. from says what does.
	settings map[string]string
	from     string
	// denied is a file with settings that is there and cannot be read.
	denied string
	server pluginServer
}

// A pluginServer is the plugin's as Kong's settings have it.
type pluginServer struct {
	socket       string
	start, query []string // the words of the commands
}

func (h *here) path(name string) string { return filepath.Join(h.root, name) }

// lookHere reads Kong's settings: from the file in which a Kong that runs keeps
// what it was started with, else from the environment and kong.conf, as the next
// one would.
func lookHere(p *Plugin, at *Node) *here {
	h := &here{root: at.Root, prefix: at.Prefix}
	if h.root == "" {
		h.root = "/"
	}
	h.search, _ = p.Env("PATH")
	if told, ok := p.Env("KONG_PREFIX"); ok && told != "" && (h.prefix == "" || h.prefix == defaultPrefix) {
		h.prefix = told
	}
	if h.prefix == "" {
		h.prefix = defaultPrefix
	}
	if at.Root == "" {
		if whole, err := filepath.Abs(h.prefix); err == nil {
			h.prefix = whole
		}
	}
	words := strings.ReplaceAll(p.Name, "-", "_")
	names := []string{
		"status_listen", "plugins", "pluginserver_names", "database", "role", "declarative_config", bufferSize,
		"pluginserver_" + words + "_socket", "pluginserver_" + words + "_start_cmd", "pluginserver_" + words + "_query_cmd",
	}
	h.readSettings(p, names)
	set := func(name, otherwise string) string {
		if v := h.settings["pluginserver_"+words+"_"+name]; v != "" {
			return v
		}
		return otherwise
	}
	h.server = pluginServer{
		socket: set("socket", filepath.Join(h.prefix, p.Name+".socket")),
		start:  strings.Fields(set("start_cmd", "/usr/local/bin/"+p.Name)),
		query:  strings.Fields(set("query_cmd", "/usr/local/bin/"+p.Name+" -dump")),
	}
	return h
}

func (h *here) readSettings(p *Plugin, names []string) {
	kept := filepath.Join(h.prefix, keptSettings)
	for _, file := range append([]string{kept}, settingFiles...) {
		found, err := readSettings(h.path(file), names)
		if err == nil {
			h.settings, h.from = found, file
			break
		}
		if !errors.Is(err, fs.ErrNotExist) && h.denied == "" {
			h.denied = file
		}
	}
	if h.from == kept {
		return
	}
	for _, name := range names {
		if v, ok := p.Env("KONG_" + strings.ToUpper(name)); ok {
			if h.settings == nil {
				h.settings = map[string]string{}
			}
			h.settings[name] = v
			if !strings.Contains(h.from, "KONG_") {
				h.from = strings.TrimPrefix(h.from+" and the KONG_ variables of this command", " and ")
			}
		}
	}
}

// readSettings reads some settings of a file in kong.conf's form, which holds
// secrets besides.
func readSettings(path string, names []string) (map[string]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("no file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	found := map[string]string{}
	lines := bufio.NewReaderSize(io.LimitReader(f, maxSettings), maxSetting)
	for {
		line, more, err := lines.ReadLine()
		for more && err == nil { // a longer one is none of those that matter
			line = nil
			_, more, err = lines.ReadLine()
		}
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		name, value, ok := strings.Cut(string(line), "=")
		if name = strings.TrimSpace(name); !ok || !slices.Contains(names, name) {
			continue
		}
		// A comment begins with a # that no backslash stands before.
		for i := 0; i < len(value); i++ {
			if value[i] == '#' && (i == 0 || value[i-1] != '\\') {
				value = value[:i]
				break
			}
		}
		found[name] = strings.TrimSpace(strings.ReplaceAll(value, `\#`, "#"))
	}
}

// answersAt says when the Kong whose settings these are is not the one of a
// Status API.
func (h *here) answersAt(status *url.URL) (noted remarks) {
	listen := h.settings["status_listen"]
	if listen == "" || h.from != filepath.Join(h.prefix, keptSettings) {
		return nil
	}
	port := status.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[status.Scheme]
	}
	for _, one := range listed(listen, "") {
		address, _, _ := strings.Cut(one, " ")
		if _, own, err := net.SplitHostPort(address); err == nil && own == port {
			return nil
		}
	}
	noted.add(levelError, "the Kong with the prefix %s is another one: its status_listen is %s. -kong-prefix says where this one runs", clean(h.prefix), clean(listen))
	return noted
}

// plugins lists what Kong loads, nil when its settings are not known.
func (h *here) plugins() []string {
	if h.settings == nil {
		return nil
	}
	return listed(h.settings["plugins"], "bundled")
}

// listed reads a setting with several values.
func listed(setting, otherwise string) []string {
	if setting == "" {
		setting = otherwise
	}
	var all []string
	for one := range strings.SplitSeq(setting, ",") {
		all = append(all, strings.TrimSpace(one))
	}
	return all
}

// remarks says what there is of the plugin server, and whether it runs.
func (h *here) remarks(ctx context.Context, p *Plugin) (noted remarks) {
	if h.denied != "" {
		noted.add(levelWarning, "this user cannot read %s, which has Kong's settings: run this as the user that Kong runs as", clean(h.denied))
	}
	_, err := os.Stat(h.path(h.server.socket))
	if h.settings == nil && errors.Is(err, fs.ErrNotExist) {
		noted.add(levelError, "no Kong with the prefix %s runs on this machine: run this where Kong runs, in its container, and give -kong-prefix if it has another", clean(h.prefix))
		return noted
	}
	if h.settings == nil {
		noted.add(levelWarning, "its settings are not to be found under the prefix %s: whether it loads %s is not known", clean(h.prefix), p.Name)
	} else {
		noted.add(levelNote, "its settings are read from %s", clean(h.from))
		if !slices.Contains(listed(h.settings["pluginserver_names"], ""), p.Name) {
			noted.add(levelError, "pluginserver_names does not name %s: Kong starts no plugin server for it", p.Name)
		}
		if role := h.settings["role"]; role == "data_plane" {
			noted.add(levelNote, "it is a data plane: its configuration comes from the control plane")
		}
	}
	noted = append(noted, h.binaries(p)...)
	noted = append(noted, h.listens()...)
	noted = append(noted, h.processes(p)...)
	return append(noted, h.shows(ctx, p)...)
}

// binaries says whether the commands lead to binaries of the plugin, and agree.
func (h *here) binaries(p *Plugin) (noted remarks) {
	seen := ""
	for _, c := range []struct {
		name  string
		words []string
	}{{"start_cmd", h.server.start}, {"query_cmd", h.server.query}} {
		// The command may begin with another program, such as env.
		i := slices.IndexFunc(c.words, func(w string) bool { return filepath.Base(w) == p.Name })
		if i < 0 {
			noted.add(levelError, "the %s starts no executable of the name %s, by which Kong knows the plugin", c.name, p.Name)
			continue
		}
		binary := c.words[i]
		if binary == seen {
			continue
		}
		seen = binary
		if !strings.Contains(binary, "/") {
			if binary = h.lookUp(binary); binary == "" {
				noted.add(levelWarning, "the %s names %s without a directory, and it is in none of this command's PATH: Kong may have another one", c.name, p.Name)
				continue
			}
		}
		info, err := os.Stat(h.path(binary))
		switch {
		case err != nil:
			noted.add(levelError, "the %s names %s: %s", c.name, clean(binary), clean(pathProblem(err)))
		case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
			noted.add(levelError, "the %s names %s, which is not executable", c.name, clean(binary))
		default:
			switch same, err := isThisBinary(h.path(binary)); {
			case err != nil:
				noted.add(levelNote, "%s is there, and this user may not read it", clean(binary))
			case same:
				noted.add(levelNote, "%s is this binary, version %s", clean(binary), clean(p.Version))
			default:
				noted.add(levelWarning, "%s is another build than this binary, which is version %s", clean(binary), clean(p.Version))
			}
		}
	}
	if prefix, ok := flagOf(h.server.start, "kong-prefix"); h.settings != nil {
		if !ok {
			prefix = defaultPrefix
		}
		if own := filepath.Join(prefix, p.Name+".socket"); own != filepath.Clean(h.server.socket) {
			noted.add(levelError, "the plugin server makes its socket at %s, and Kong looks for it at %s: -kong-prefix in the start_cmd has to fit the setting", clean(own), clean(h.server.socket))
		}
	}
	if at, ok := flagOf(h.server.start, "priority"); ok {
		if dumped, _ := flagOf(h.server.query, "priority"); dumped != at {
			noted.add(levelWarning, "-priority stands in the start_cmd, where it does nothing: Kong takes it from the query_cmd")
		}
	}
	return noted
}

// lookUp finds a command as a shell would, "" if it is nowhere.
func (h *here) lookUp(name string) string {
	for _, dir := range filepath.SplitList(h.search) {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(h.path(file)); filepath.IsAbs(dir) && err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file
		}
	}
	return ""
}

// isThisBinary reports whether a file holds what this process runs.
func isThisBinary(path string) (bool, error) {
	self, err := os.Executable()
	if err != nil {
		return false, err
	}
	var sums [2][sha256.Size]byte
	for i, name := range []string{self, path} {
		f, err := os.Open(name)
		if err != nil {
			return false, err
		}
		sum := sha256.New()
		_, err = io.Copy(sum, f)
		f.Close()
		if err != nil {
			return false, err
		}
		sum.Sum(sums[i][:0])
	}
	return sums[0] == sums[1], nil
}

// pathProblem is an error about a file without its path.
func pathProblem(err error) string {
	var of *fs.PathError
	if errors.As(err, &of) {
		return of.Err.Error()
	}
	return err.Error()
}

// flagOf returns the value of a flag in a command's words.
func flagOf(words []string, name string) (value string, ok bool) {
	for i, w := range words {
		w, dashed := strings.CutPrefix(w, "-")
		w = strings.TrimPrefix(w, "-")
		if !dashed {
			continue
		}
		if v, found := strings.CutPrefix(w, name+"="); found {
			value, ok = v, true
		} else if w == name && i+1 < len(words) {
			value, ok = words[i+1], true
		}
	}
	return value, ok
}

// listens says whether somebody takes events at the socket.
func (h *here) listens() (noted remarks) {
	path := clean(h.server.socket)
	conn, err := net.DialTimeout("unix", h.path(h.server.socket), localTime)
	switch {
	case err == nil:
		conn.Close()
		noted.add(levelNote, "a plugin server listens at %s", path)
	case errors.Is(err, fs.ErrNotExist):
		noted.add(levelError, "there is no socket at %s: no plugin server has been started, or none could start (Kong's log at level info has what it said)", path)
	case errors.Is(err, fs.ErrPermission):
		noted.add(levelWarning, "this user may not open %s: run this as the user that Kong runs as", path)
	case errors.Is(err, syscall.ECONNREFUSED):
		noted.add(levelError, "nobody listens at %s: the plugin server has ended", path)
	default:
		noted.add(levelError, "%s cannot be opened", path)
	}
	return noted
}

// commLength is how much of a process's name Linux shows.
const commLength = 15

// processes looks for those that run the plugin, where the system shows them as
// Linux does.
func (h *here) processes(p *Plugin) (noted remarks) {
	entries, err := os.ReadDir(h.path("/proc"))
	if err != nil {
		return nil
	}
	short := p.Name[:min(len(p.Name), commLength)]
	running, replaced := 0, false
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		comm, err := os.ReadFile(h.path(filepath.Join("/proc", e.Name(), "comm")))
		if err != nil || string(bytes.TrimSpace(comm)) != short {
			continue
		}
		running++
		// Of another user's the link cannot be read.
		if exe, err := os.Readlink(h.path(filepath.Join("/proc", e.Name(), "exe"))); err == nil && strings.HasSuffix(exe, " (deleted)") {
			replaced = true
		}
	}
	switch {
	case running == 0:
		noted.add(levelWarning, "no process of %s is to be seen from here", p.Name)
	case replaced:
		noted.add(levelWarning, "a process of %s runs a binary that was replaced since: `kong reload` starts the new one", p.Name)
	default:
		noted.add(levelNote, "%s of %s (each plugin server has two)", number(running, "process", "processes"), p.Name)
	}
	return noted
}

// shows asks the plugin server itself, if it shows its metrics.
func (h *here) shows(ctx context.Context, p *Plugin) (noted remarks) {
	address, ok := flagOf(h.server.start, "metrics")
	if !ok {
		if h.settings != nil {
			noted.add(levelNote, "it shows no metrics: the start_cmd has no -metrics")
		}
		return noted
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		noted.add(levelError, "-metrics in the start_cmd is no host:port")
		return noted
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	base := "http://" + net.JoinHostPort(host, port)
	ready, _, err := fetch(ctx, base+"/readyz")
	if err != nil {
		noted.add(levelWarning, "nobody shows metrics at %s: %s", clean(address), clean(reasonOf(err)))
		return noted
	}
	if ready != http.StatusOK {
		noted.add(levelWarning, "the plugin server says that it is not ready: it starts or drains")
	}
	code, body, err := fetch(ctx, base+"/metrics")
	if err != nil || code != http.StatusOK {
		noted.add(levelWarning, "the metrics at %s cannot be read", clean(address))
		return noted
	}
	m := readMetrics(body)
	if m.version == "" {
		noted.add(levelWarning, "what answers at %s is no plugin server of ours", clean(address))
		return noted
	}
	if m.plugin != p.Vendor.Plugin { // whatever name the binary has
		noted.add(levelError, "what answers at %s is the plugin server of %s: this one cannot show its metrics at the same address", clean(address), clean(m.plugin))
		return noted
	}
	noted.add(levelNote, "the plugin server runs version %s, with %s in use", clean(m.version), number(int(m.instances), "configuration", "configurations"))
	if m.version != p.Version {
		noted.add(levelWarning, "this binary is version %s: `kong reload` starts what is installed now", clean(p.Version))
	}
	if calls := m.answered + m.failed; calls > 0 {
		l := levelNote
		if m.answered == 0 {
			l = levelWarning
		}
		noted.add(l, "its scan service answered %.0f of %.0f calls since it started", m.answered, calls)
	}
	if m.open > 0 {
		noted.add(levelWarning, "it keeps away from a scan service that does not answer: a circuit breaker is open")
	}
	return noted
}

// fetch gets an address of this machine.
func fetch(ctx context.Context, address string) (status int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, localTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, nil, err
	}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true}, // and no proxy
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	body, err = io.ReadAll(io.LimitReader(res.Body, maxScrape))
	return res.StatusCode, body, err
}

// A scrape is what matters here of a plugin server's metrics.
type scrape struct {
	version, plugin                   string
	instances, answered, failed, open float64
}

// label returns the value of a label, among those of a series.
func label(labels, name string) string {
	_, value, _ := strings.Cut(","+labels, ","+name+`="`)
	value, _, _ = strings.Cut(value, `"`)
	return value
}

// readMetrics reads the lines of ours in what a plugin server shows. Lines that
// are not as we write them are passed over.
func readMetrics(body []byte) (m scrape) {
	for line := range bytes.Lines(body) {
		name, rest, _ := strings.Cut(strings.TrimSpace(string(line)), "{")
		labels, value, ok := strings.Cut(rest, "} ")
		v, err := strconv.ParseFloat(value, 64)
		if !ok || err != nil {
			continue
		}
		switch name {
		case "ai_guard_build_info":
			m.version, m.plugin = label(labels, "version"), label(labels, "plugin")
		case "ai_guard_instances":
			m.instances = v
		case "ai_guard_breakers_open":
			m.open = v
		case "ai_guard_service_calls_total":
			switch {
			case strings.Contains(labels, `result="answered"`):
				m.answered = v
			case !strings.Contains(labels, `result="held_back"`): // those were not made
				m.failed += v
			}
		}
	}
	return m
}
