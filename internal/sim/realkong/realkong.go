// SPDX-License-Identifier: Apache-2.0

// Package realkong runs a real Kong, where there is one, DB-less, with plugin
// servers, in a prefix and on loopback ports of its own.
package realkong

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/procfs"
)

// Find returns the command of the Kong that KONG_BIN names, or that PATH has;
// "" for none.
func Find() string {
	if bin := os.Getenv("KONG_BIN"); bin != "" {
		return bin
	}
	bin, err := exec.LookPath("kong")
	if err != nil {
		return ""
	}
	return bin
}

// A Server is a plugin server: the base name of its executable is the plugin's
// name.
type Server struct {
	Path  string
	Flags []string
}

// Options are what a Kong is started with.
type Options struct {
	// Bin is Kong's command.
	Bin string
	// Config is a declarative configuration, to be written as JSON.
	Config  any
	Servers []Server
	// Workers is how many worker processes there are, 1 when 0.
	Workers int
	// Settings are more of kong.conf's settings.
	Settings map[string]string
}

// A Kong is one that runs.
type Kong struct {
	// URL is where it takes HTTP/1.1, TLS where it takes HTTP/2 over TLS, with a
	// certificate that it made itself.
	URL, TLS string
	// Admin is where its Admin API is, Status its Status API.
	Admin, Status string
	// Prefix is its directory.
	Prefix string

	bin  string
	conf string
}

// startTime is how long a Kong has to start, and its workers to be ready.
const startTime = 2 * time.Minute

// Version asks a Kong's command for its version.
func Version(ctx context.Context, bin string) (string, error) {
	out, err := exec.CommandContext(ctx, bin, "version").Output()
	return strings.TrimSpace(string(out)), err
}

// Start starts a Kong in dir, which is short (sockets have short paths) and
// empty. It returns when Kong answers.
func Start(ctx context.Context, dir string, o Options) (*Kong, error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	ports, err := freePorts(4)
	if err != nil {
		return nil, err
	}
	at := func(i int) string { return "127.0.0.1:" + strconv.Itoa(ports[i]) }
	k := &Kong{
		URL: "http://" + at(0), TLS: "https://" + at(1), Admin: "http://" + at(2), Status: "http://" + at(3),
		Prefix: filepath.Join(dir, "p"), bin: o.Bin, conf: filepath.Join(dir, "kong.conf"),
	}
	declarative := filepath.Join(dir, "kong.json")
	b, err := json.MarshalIndent(o.Config, "", " ")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(declarative, b, 0o600); err != nil {
		return nil, err
	}
	settings := map[string]string{
		"prefix": k.Prefix, "database": "off", "declarative_config": declarative,
		"proxy_listen": at(0) + ", " + at(1) + " http2 ssl", "admin_listen": at(2), "status_listen": at(3),
		"admin_gui_listen": "off", "nginx_worker_processes": strconv.Itoa(max(o.Workers, 1)),
		"anonymous_reports": "off", "log_level": "notice",
	}
	if os.Getuid() == 0 {
		settings["nginx_user"] = "root root" // else the plugin servers cannot make their sockets
	}
	names := make([]string, len(o.Servers))
	for i, s := range o.Servers {
		name := filepath.Base(s.Path)
		names[i] = name
		key := "pluginserver_" + strings.ReplaceAll(name, "-", "_")
		settings[key+"_socket"] = filepath.Join(k.Prefix, name+".socket")
		command := strings.Join(append([]string{s.Path, "-kong-prefix", k.Prefix}, s.Flags...), " ")
		settings[key+"_start_cmd"], settings[key+"_query_cmd"] = command, command+" -dump"
	}
	settings["plugins"], settings["pluginserver_names"] = strings.Join(append([]string{"bundled"}, names...), ","), strings.Join(names, ",")
	for name, value := range o.Settings {
		settings[name] = value
	}
	var conf bytes.Buffer
	for name, value := range settings {
		fmt.Fprintf(&conf, "%s = %s\n", name, value)
	}
	if err := os.WriteFile(k.conf, conf.Bytes(), 0o600); err != nil {
		return nil, err
	}
	if err := k.command(ctx, "start", "-c", k.conf); err != nil {
		// Who is interrupted may have left an nginx behind, as may a failing start.
		if _, missing := os.Stat(filepath.Join(k.Prefix, "pids", "nginx.pid")); missing == nil {
			err = errors.Join(err, k.Stop())
		}
		return nil, err
	}
	if err := k.ready(ctx); err != nil {
		return nil, errors.Join(err, k.Stop())
	}
	return k, nil
}

func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

// command runs one of Kong's commands. Its environment has no KONG_ variables,
// which would win over the configuration.
func (k *Kong) command(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, k.bin, args...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "KONG_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("kong %s: %w\n%s", args[0], err, out)
	}
	return nil
}

// ready waits until Kong answers requests.
func (k *Kong) ready(ctx context.Context) error {
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, k.URL+"/no-such-route", nil)
		if err != nil {
			return err
		}
		if res, err := http.DefaultClient.Do(r); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusNotFound {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("kong does not answer: %s", k.Log())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Reload has new workers and new plugin servers take over.
func (k *Kong) Reload(ctx context.Context) error { return k.command(ctx, "reload", "-c", k.conf) }

// Stop ends it.
func (k *Kong) Stop() error {
	return k.command(context.Background(), "stop", "-p", k.Prefix)
}

// Log is its error log so far.
func (k *Kong) Log() string {
	b, err := os.ReadFile(filepath.Join(k.Prefix, "logs", "error.log"))
	if err != nil {
		return ""
	}
	return string(b)
}

// Workers returns the process ids of nginx's workers.
func (k *Kong) Workers() ([]int, error) {
	b, err := os.ReadFile(filepath.Join(k.Prefix, "pids", "nginx.pid"))
	if err != nil {
		return nil, err
	}
	master := strings.TrimSpace(string(b))
	children, err := os.ReadFile(filepath.Join("/proc", master, "task", master, "children"))
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, child := range strings.Fields(string(children)) {
		line, err := os.ReadFile(filepath.Join("/proc", child, "cmdline"))
		if err != nil || !strings.HasPrefix(string(line), "nginx: worker process") {
			continue // it has ended, or is another of nginx's processes
		}
		pid, err := strconv.Atoi(child)
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	if len(pids) == 0 {
		return nil, errors.New("kong has no worker")
	}
	return pids, nil
}

// PluginServers returns the process ids of a plugin's server: the keeper that
// Kong has started, and what runs under it.
func (k *Kong) PluginServers(name string) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil {
			continue // it has ended
		}
		args := strings.Split(string(line), "\x00")
		if filepath.Base(args[0]) == name && strings.Contains(string(line), k.Prefix) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// Signal sends a signal to every process of a plugin's server. After SIGSTOP it
// returns when all of them stand still.
func (k *Kong) Signal(name string, s syscall.Signal) error {
	pids, err := k.PluginServers(name)
	if err != nil {
		return err
	}
	if len(pids) == 0 {
		return fmt.Errorf("no plugin server %s", name)
	}
	return procfs.Signal(s, pids...)
}
