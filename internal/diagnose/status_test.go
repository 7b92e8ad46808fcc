// SPDX-License-Identifier: Apache-2.0

package diagnose_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kong-ai-guard/kong-ai-guard/internal/diagnose"
	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/fakeairs"
)

// A statusAPI is one as a Kong 3.9.1 has it: it knows nothing of plugins.
type statusAPI struct {
	version string
	ready   int // the status of /status/ready
	hash    string
}

func (s *statusAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.version != "" {
		w.Header().Set("Server", "kong/"+s.version)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	switch r.URL.Path {
	case "/status":
		_, _ = fmt.Fprintf(w, `{"server":{"total_requests":3},"configuration_hash":%q,"memory":{"workers_lua_vms":[]}}`, s.hash)
	case "/status/ready":
		w.WriteHeader(s.ready)
		_, _ = io.WriteString(w, `{"message":"no configuration available"}`)
	default:
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"message":"Not found"}`)
	}
}

// A machine is what a node's file system holds.
type machine struct {
	t    *testing.T
	root string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	// A socket's path is short.
	root, err := os.MkdirTemp("", "node")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	return &machine{t, root}
}

func (m *machine) put(path, content string, mode os.FileMode) *machine {
	m.t.Helper()
	path = filepath.Join(m.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		m.t.Fatal(err)
	}
	return m
}

// self puts this very binary there.
func (m *machine) self(path string) *machine {
	m.t.Helper()
	own, err := os.Executable()
	if err != nil {
		m.t.Fatal(err)
	}
	b, err := os.ReadFile(own)
	if err != nil {
		m.t.Fatal(err)
	}
	return m.put(path, string(b), 0o755)
}

// listens has somebody listen at a socket. With ended, he has gone and left it.
func (m *machine) listens(path string, ended bool) *machine {
	m.t.Helper()
	path = filepath.Join(m.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { l.Close() })
	if ended {
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		l.Close()
	}
	return m
}

// process has a process be there, whose binary was perhaps replaced.
func (m *machine) process(pid int, comm, exe string) *machine {
	m.t.Helper()
	dir := fmt.Sprintf("proc/%d", pid)
	m.put(dir+"/comm", comm+"\n", 0o644)
	if err := os.Symlink(exe, filepath.Join(m.root, dir, "exe")); err != nil {
		m.t.Fatal(err)
	}
	return m
}

func TestCheckOfANodeWithoutAnAdminAPI(t *testing.T) {
	const (
		name   = "prisma-airs-intercept"
		binary = "/usr/local/bin/" + name
		socket = "/usr/local/kong/" + name + ".socket"
		kept   = "/usr/local/kong/.kong_env"
		secret = "s3cret"
	)
	service := httptest.NewServer(fakeairs.New(fakeairs.Options{Keys: []string{"good"}, Profiles: []string{"p"}}))
	defer service.Close()
	metrics := func(text string, ready int) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/readyz" {
				w.WriteHeader(ready)
			} else {
				_, _ = io.WriteString(w, text)
			}
		}))
		t.Cleanup(s.Close)
		return strings.TrimPrefix(s.URL, "http://")
	}
	shown := func(answered, failed, held, open int) string {
		return fmt.Sprintf(`# HELP ai_guard_build_info Always 1; the labels say what runs.
ai_guard_build_info{goversion="go1.26.8",plugin="prisma-airs-intercept",version="0.1.0"} 1
ai_guard_instances{plugin="prisma-airs-intercept"} 2
ai_guard_breakers_open{plugin="prisma-airs-intercept"} %d
ai_guard_service_calls_total{plugin="prisma-airs-intercept",result="answered"} %d
ai_guard_service_calls_total{plugin="prisma-airs-intercept",result="refused"} %d
ai_guard_service_calls_total{plugin="prisma-airs-intercept",result="held_back"} %d
`, open, answered, failed, held)
	}
	settings := func(more ...string) string {
		return strings.Join(append([]string{
			"# what Kong was started with", "plugins = bundled," + name, "pluginserver_names = " + name, "database = off", "role = traditional",
			"pg_password = " + secret, "nginx_http_client_body_buffer_size = 1m # enough",
			"pluginserver_prisma_airs_intercept_socket = " + socket, "pluginserver_prisma_airs_intercept_start_cmd = " + binary,
			"pluginserver_prisma_airs_intercept_query_cmd = " + binary + " -dump",
		}, more...), "\n") + "\n"
	}
	start := func(cmd string) string { return "pluginserver_prisma_airs_intercept_start_cmd = " + cmd }
	config := "_format_version: '3.0'\nservices:\n- name: llm\n  url: http://llm.example\n  routes:\n  - name: chat\n    paths: [/chat]\n    plugins:\n" +
		"    - name: " + name + "\n      config: {api_key: '{vault://env/airs-key}', profile_name: p, api_endpoint: '" + service.URL + "'}\n"
	up := &statusAPI{version: "3.9.1", ready: 200, hash: "b3d9b3c9c08ea0a0f57ef71dd2ddddcb"}
	// runs is a machine where all is well.
	runs := func(t *testing.T, more ...string) *machine {
		return newMachine(t).put(kept, settings(more...), 0o640).self(binary).listens(socket, false).
			process(41, "prisma-airs-int", binary).process(42, "prisma-airs-int", binary).process(7, "nginx", "/usr/bin/nginx")
	}
	good := map[string]string{"AIRS_KEY": "good"}
	sound := []string{
		"it is ready for exchanges", "its settings are read from " + kept, binary + " is this binary, version 9.9.9",
		"a plugin server listens at " + socket, "2 processes of " + name,
	}
	for _, c := range []struct {
		name      string
		status    http.Handler
		machine   func(t *testing.T) *machine
		config    string // of -check FILE
		prefix    string
		env       map[string]string
		code      int
		want, not []string
	}{
		{
			name: "its own configuration", env: good,
			machine: func(t *testing.T) *machine {
				return runs(t, "declarative_config = /etc/kong/kong.yml").put("/etc/kong/kong.yml", config, 0o644)
			},
			want: append([]string{
				name + " on route chat", "the scan service answers from here in", "Kong 3.9.1 ends an exchange", "client_body_buffer_size is 1m", "0 errors",
				"it shows no metrics",
			}, sound...),
			not: []string{"cannot be seen", "not to be seen from here", "warning  " + binary},
		},
		{
			name: "a data plane", machine: func(t *testing.T) *machine {
				return runs(t, "role = data_plane", "declarative_config = /etc/kong/kong.yml")
			},
			want: append([]string{"it is a data plane", "its configuration cannot be seen from here: -check FILE", "0 errors, 0 warnings"}, sound...),
			not:  []string{"nothing is scanned"},
		},
		{
			name: "a data plane and a file", machine: func(t *testing.T) *machine { return runs(t, "role = data_plane") }, config: config, env: good,
			want: append([]string{"the scan service answers from here in"}, sound...), not: []string{"cannot be seen"},
		},
		{
			name: "a file, a wrong key", machine: func(t *testing.T) *machine { return runs(t) }, config: config, env: map[string]string{"AIRS_KEY": "wrong-secret"}, code: 2,
			want: append([]string{"gives no verdict from here: misconfigured", "look at config.api_key"}, sound...), not: []string{"wrong-secret"},
		},
		{
			name: "a file with an error", machine: func(t *testing.T) *machine { return runs(t) }, config: strings.ReplaceAll(config, "profile_name", "profile_nme"), env: good, code: 2,
			want: []string{"did you mean profile_name?"},
		},
		{
			name: "a file without the plugin", machine: func(t *testing.T) *machine { return runs(t) }, config: "_format_version: '3.0'\n", code: 2,
			want: []string{"its configuration cannot be read: ", "without a plugin"},
		},
		{
			name: "not ready", status: &statusAPI{version: "3.9.1", ready: 503, hash: strings.Repeat("0", 32)}, machine: func(t *testing.T) *machine { return runs(t) }, code: 2,
			want: []string{"it is not ready (status 503)", "it has no configuration"},
		},
		{
			name: "an old one", status: &statusAPI{version: "3.2.2", ready: 404}, machine: func(t *testing.T) *machine { return runs(t) },
			want: []string{"does not say whether it is ready", "Kong 3.2.2 sends requests on when a plugin server fails", "HTTP/2"},
		},
		{
			name: "no Status API", status: http.NotFoundHandler(), machine: func(t *testing.T) *machine { return runs(t) }, code: 2,
			want: append([]string{"/status answers with status 404: is this Kong's Status API?"}, sound[1:]...),
		},
		{
			name: "another API", status: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{}`) }), machine: func(t *testing.T) *machine { return runs(t) }, code: 2,
			want: []string{"is this Kong's Status API?"},
		},
		{
			name: "elsewhere", machine: newMachine, code: 2,
			want: []string{"no Kong with the prefix /usr/local/kong runs on this machine", "1 error, 0 warnings"}, not: []string{"start_cmd", "has not loaded"},
		},
		{
			name: "beside another Kong", machine: func(t *testing.T) *machine { return runs(t, "status_listen = 127.0.0.1:1, 0.0.0.0:2 ssl") }, code: 2,
			want: []string{"the Kong with the prefix /usr/local/kong is another one: its status_listen is 127.0.0.1:1, 0.0.0.0:2 ssl"},
		},
		{
			name: "a whole configuration in the settings", code: 2, machine: func(t *testing.T) *machine {
				m := runs(t, "declarative_config_string = "+strings.Repeat("x", 3<<20), "pluginserver_names = other")
				return m.put("/etc/kong/kong.conf", settings(), 0o644)
			},
			want: []string{"its settings are read from " + kept, "pluginserver_names does not name"}, not: []string{"cannot read"},
		},
		{
			name: "a plugin server and no settings", machine: func(t *testing.T) *machine { return newMachine(t).self(binary).listens(socket, false) },
			want: []string{"its settings are not to be found under the prefix /usr/local/kong: whether it loads " + name + " is not known"},
		},
		{
			name: "a command without a directory", env: map[string]string{"PATH": "/usr/bin:/usr/local/bin"}, machine: func(t *testing.T) *machine { return runs(t, start(name+" -log-level debug")) },
			want: append([]string{"0 errors"}, sound...),
		},
		{
			name: "a command that is nowhere", env: map[string]string{"PATH": "relative:/usr/bin"}, machine: func(t *testing.T) *machine { return runs(t, start(name)) },
			want: []string{"the start_cmd names " + name + " without a directory, and it is in none of this command's PATH", "0 errors"},
		},
		{
			name: "a pipe in the binary's place", code: 2, machine: func(t *testing.T) *machine {
				m := runs(t, start("/opt/"+name))
				if err := os.MkdirAll(m.root+"/opt", 0o755); err != nil {
					t.Fatal(err)
				}
				if err := syscall.Mkfifo(m.root+"/opt/"+name, 0o777); err != nil {
					t.Fatal(err)
				}
				return m
			},
			want: []string{"/opt/" + name + ", which is not executable"},
		},
		{
			name: "another prefix", prefix: "/opt/kong", machine: func(t *testing.T) *machine {
				m := newMachine(t).self(binary).listens("/opt/kong/"+name+".socket", false)
				return m.put("/opt/kong/.kong_env", settings("pluginserver_prisma_airs_intercept_socket = /opt/kong/"+name+".socket", start(binary+" -kong-prefix /opt/kong")), 0o640)
			},
			want: []string{"a plugin server listens at /opt/kong/", "0 errors"},
		},
		{
			name: "a prefix of the environment", env: map[string]string{"KONG_PREFIX": "/kong_prefix"}, machine: func(t *testing.T) *machine {
				return newMachine(t).self(binary).listens("/kong_prefix/"+name+".socket", false).put("/kong_prefix/.kong_env", "plugins = "+name+"\npluginserver_names = "+name+"\n"+start(binary+" --kong-prefix=/kong_prefix")+"\n", 0o640)
			},
			want: []string{"read from /kong_prefix/.kong_env", "listens at /kong_prefix/", "0 errors"},
		},
		{
			name: "sockets that differ", machine: func(t *testing.T) *machine { return runs(t, start(binary+" -kong-prefix /elsewhere")) }, code: 2,
			want: []string{"makes its socket at /elsewhere/" + name + ".socket, and Kong looks for it at " + socket},
		},
		{
			name: "settings to come", machine: func(t *testing.T) *machine {
				return newMachine(t).put("/etc/kong/kong.conf", "plugins=bundled\n#pluginserver_names = "+name+"\n", 0o644).self(binary)
			},
			env: map[string]string{"KONG_PLUGINS": "bundled," + name}, code: 2,
			want: []string{"read from /etc/kong/kong.conf and the KONG_ variables", "pluginserver_names does not name", "there is no socket at"}, not: []string{"has not loaded"},
		},
		{
			name: "settings that cannot be read", machine: func(t *testing.T) *machine {
				return newMachine(t).put(kept+"/x", "", 0o600).put("/etc/kong/kong.conf", settings(), 0o644).self(binary).listens(socket, false)
			},
			want: []string{"this user cannot read " + kept, "read from /etc/kong/kong.conf", "0 errors"},
		},
		{
			name: "not loaded", machine: func(t *testing.T) *machine { return runs(t, "plugins = bundled") }, code: 2, want: []string{"this Kong has not loaded " + name},
		},
		{
			name: "no binary", machine: func(t *testing.T) *machine { return runs(t, start("/no/such/"+name)) }, code: 2,
			want: []string{"the start_cmd names /no/such/" + name + ": no such file or directory"},
		},
		{
			name: "not executable", machine: func(t *testing.T) *machine { return runs(t, start("/opt/"+name)).put("/opt/"+name, "x", 0o644) }, code: 2,
			want: []string{"/opt/" + name + ", which is not executable"},
		},
		{
			name: "another name", machine: func(t *testing.T) *machine { return runs(t, start("/opt/airs")) }, code: 2,
			want: []string{"the start_cmd starts no executable of the name " + name},
		},
		{
			name: "behind env", machine: func(t *testing.T) *machine { return runs(t, start("/usr/bin/env A=b "+binary)) }, want: sound,
		},
		{
			name: "another build", machine: func(t *testing.T) *machine { return runs(t).put(binary, "older", 0o755) },
			want: []string{binary + " is another build than this binary, which is version 9.9.9"},
		},
		{
			name: "it ended", code: 2, machine: func(t *testing.T) *machine {
				return newMachine(t).put(kept, settings(), 0o640).self(binary).listens(socket, true).process(7, "nginx", "/usr/bin/nginx")
			},
			want: []string{"nobody listens at " + socket, "no process of " + name},
		},
		{
			name: "replaced", machine: func(t *testing.T) *machine { return runs(t).process(43, "prisma-airs-int", binary+" (deleted)") },
			want: []string{"runs a binary that was replaced"},
		},
		{
			name: "moved where it does nothing", machine: func(t *testing.T) *machine { return runs(t, start(binary+" -priority 760")) },
			want: []string{"-priority stands in the start_cmd"},
		},
		{
			name: "its metrics", machine: func(t *testing.T) *machine {
				return runs(t, start(binary+" -metrics "+metrics(shown(7, 1, 90, 0), 200)))
			},
			want: []string{"runs version 0.1.0, with 2 configurations in use", "warning  this binary is version 9.9.9", "note     its scan service answered 7 of 8 calls"}, not: []string{"breaker", "not ready"},
		},
		{
			name: "its metrics are of the same version", machine: func(t *testing.T) *machine {
				return runs(t, start(binary+" -metrics "+metrics(strings.ReplaceAll(shown(7, 1, 90, 0), "0.1.0", "9.9.9"), 200)))
			},
			want: []string{"runs version 9.9.9", "0 errors, 0 warnings"},
		},
		{
			name: "another plugin's metrics", code: 2, machine: func(t *testing.T) *machine {
				return runs(t, start(binary+" -metrics "+metrics(strings.ReplaceAll(shown(7, 1, 90, 0), "prisma-airs-intercept", "noma-runtime-protection"), 200)))
			},
			want: []string{"is the plugin server of noma-runtime-protection: this one cannot show its metrics"}, not: []string{"answered 7"},
		},
		{
			name: "its metrics are bad", machine: func(t *testing.T) *machine {
				return runs(t, start(binary+" -metrics="+metrics(shown(0, 5, 90, 1), 503)))
			},
			want: []string{"warning  its scan service answered 0 of 5 calls", "a circuit breaker is open", "it is not ready: it starts or drains"},
		},
		{
			name: "no metrics", machine: func(t *testing.T) *machine { return runs(t, start(binary+" -metrics 127.0.0.1:1")) },
			want: []string{"nobody shows metrics at 127.0.0.1:1: "},
		},
		{
			name: "somebody else's", machine: func(t *testing.T) *machine { return runs(t, start(binary+" -metrics "+metrics("up 1\n", 200))) },
			want: []string{"is no plugin server of ours"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			status := c.status
			if status == nil {
				status = up
			}
			api := httptest.NewServer(status)
			defer api.Close()
			at := diagnose.Node{Status: api.URL, Prefix: c.prefix, Root: c.machine(t).root}
			if c.config != "" {
				at.Config = write(t, c.config)
			}
			p := plugin(t, "airs", c.env)
			p.Version = "9.9.9"
			var out bytes.Buffer
			if code := diagnose.CheckNode(t.Context(), p, at, &out, &out); code != c.code {
				t.Errorf("code %d, want %d", code, c.code)
			}
			for _, want := range c.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("does not say %q", want)
				}
			}
			for _, not := range append(c.not, secret) {
				if strings.Contains(out.String(), not) {
					t.Errorf("says %q", not)
				}
			}
			if t.Failed() {
				t.Log(out.String())
			}
		})
	}
}

// TestCheckOfANodeHere: a prefix is where the command was typed.
func TestCheckOfANodeHere(t *testing.T) {
	api := httptest.NewServer(&statusAPI{version: "3.9.1", ready: 200, hash: "1"})
	defer api.Close()
	m := newMachine(t).put("kong/.kong_env", "plugins = bundled\n", 0o600)
	t.Chdir(m.root)
	var out bytes.Buffer
	code := diagnose.CheckNode(t.Context(), plugin(t, "airs", nil), diagnose.Node{Status: api.URL, Prefix: "kong"}, &out, &out)
	if code != 2 || !strings.Contains(out.String(), "its settings are read from "+m.root+"/kong/.kong_env") || !strings.Contains(out.String(), "there is no socket at "+m.root+"/kong/") {
		t.Errorf("code %d: %s", code, out.String())
	}
}

func TestCheckOfANodeThatIsNotThere(t *testing.T) {
	var out bytes.Buffer
	at := diagnose.Node{Status: "http://127.0.0.1:1", Root: newMachine(t).root}
	if code := diagnose.CheckNode(t.Context(), plugin(t, "noma", nil), at, &out, &out); code != 2 || !strings.Contains(out.String(), "the Status API does not answer") {
		t.Errorf("code %d: %s", code, out.String())
	}
	for _, address := range []string{"127.0.0.1:8100", "http://", "kong.yml", "http://user:secret@127.0.0.1:1"} {
		out.Reset()
		at.Status = address
		if code := diagnose.CheckNode(t.Context(), plugin(t, "noma", nil), at, &out, &out); code != 2 || !strings.Contains(out.String(), "-status takes the URL") || strings.Contains(out.String(), "user:secret") {
			t.Errorf("%s: code %d: %s", address, code, out.String())
		}
	}
}
