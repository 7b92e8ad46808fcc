// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/realkong"
	"github.com/kong-ai-guard/kong-ai-guard/plugins"
)

const (
	prisma = "prisma-airs-intercept"
	noma   = "noma-runtime-protection"
	// plain is the row without a plugin, phases the one that others are compared
	// with where there is no plugin in Lua.
	plain  = "none"
	phases = "prisma"
)

const (
	// patience is how long something may take that happens by itself.
	patience = time.Minute
	// warmTime is how long each cell runs before it is measured, in seconds:
	// LuaJIT compiles what runs often, and connections are opened.
	warmTime = 2
	// idleTime is how long a plugin server that is done has done nothing.
	idleTime = 300 * time.Millisecond
)

// entity is one of a declarative configuration's.
type entity = map[string]any

// A row is a route and its plugins.
type row struct {
	name    string
	plugins []entity
	lua     bool
}

// A cell is a row under a load.
type cell struct {
	row
	load
	kong    *realkong.Kong // of this round
	samples []sample
	invalid string
}

// measure runs all that o asks for and writes the tables. It reports whether
// each row is valid.
func measure(ctx context.Context, o options, stdout, stderr io.Writer) (sound bool, err error) {
	version, err := realkong.Version(ctx, o.kong)
	if err != nil {
		return false, fmt.Errorf("kong version: %w", err)
	}
	all := loads()
	services, err := startStandins(all)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, services.close()) }()
	rows, err := ourRows(ctx, o, services, stdout)
	if err != nil {
		return false, err
	}
	reference := phases
	luaNames, luaRows, err := rowsInLua(o.lua, services)
	if err != nil {
		return false, err
	}
	if len(luaRows) > 0 {
		reference = luaRows[0].name
	}
	rows = append(rows, luaRows...)
	var cells []*cell
	for _, l := range all {
		for _, r := range rows {
			if o.only.MatchString(r.name + "/" + l.name()) {
				cells = append(cells, &cell{row: r, load: l})
			}
		}
	}
	if len(cells) == 0 {
		return false, errors.New("-only leaves nothing to measure")
	}

	dir, err := os.MkdirTemp("", "k")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	fmt.Fprintf(stdout, "Kong %s, 1 worker; %d cores, load average %s; %d connections, %d x %d s for each row, each time in a Kong just started. Means, and the lowest and the highest of the rounds.\n",
		version, runtime.NumCPU(), loadAverage(), o.connections, o.rounds, o.seconds)
	for round := range o.rounds {
		dir := filepath.Join(dir, strconv.Itoa(round))
		if err := os.Mkdir(dir, 0o700); err != nil {
			return false, err
		}
		if err := measureRound(ctx, o, dir, services, rows, luaNames, cells, stderr); err != nil {
			return false, err
		}
	}
	sound = true
	for _, l := range all {
		var results []result
		for _, c := range cells {
			if c.load.name() == l.name() {
				results = append(results, result{c.row.name, c.samples, c.invalid})
				sound = sound && c.invalid == ""
			}
		}
		if len(results) == 0 {
			continue
		}
		if err := writeTable(stdout, l.title(), results, reference); err != nil {
			return false, err
		}
	}
	fmt.Fprintf(stdout, legend, reference)
	return sound, nil
}

// measureRound takes one sample of each cell. Its Kongs are started for it: what
// LuaJIT compiles, and so what Lua costs, differs from start to start, by a factor
// of three at times, and stays so for as long as the process lives.
func measureRound(ctx context.Context, o options, dir string, services *standins, rows []row, luaNames []string, cells []*cell, progress io.Writer) (failed error) {
	// Plugins in Lua have a Kong of their own: one with the name of ours would
	// take its place.
	for _, inLua := range []bool{false, true} {
		if len(luaNames) == 0 && inLua {
			continue
		}
		k, err := startKong(ctx, o, filepath.Join(dir, map[bool]string{false: "go", true: "lua"}[inLua]), services.model, rows, inLua, luaNames)
		if err != nil {
			return err
		}
		defer func() { failed = errors.Join(failed, k.Stop()) }()
		for _, c := range cells {
			if c.lua == inLua {
				c.kong = k
			}
		}
	}
	return sampleAll(ctx, o, dir, services, cells, progress)
}

// sampleAll warms all cells and then takes a sample of each.
func sampleAll(ctx context.Context, o options, dir string, services *standins, cells []*cell, progress io.Writer) error {
	warm := o
	warm.seconds = warmTime
	for _, c := range cells {
		if c.invalid != "" {
			continue
		}
		err := c.proves(ctx)
		if err == nil {
			_, err = c.run(ctx, warm, dir, services)
		}
		if ctx.Err() != nil { // no row is to blame
			return ctx.Err()
		}
		if err != nil {
			c.invalid = err.Error()
		}
	}
	for _, c := range cells {
		if c.invalid != "" {
			continue
		}
		s, err := c.run(ctx, o, dir, services)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			c.invalid = err.Error()
			continue
		}
		c.samples = append(c.samples, s)
		fmt.Fprintf(progress, "round %d: %s/%s: worker %.0f us, plugin %.0f us\n", len(c.samples), c.row.name, c.load.name(), workerCPU(s), pluginCPU(s))
	}
	return nil
}

const legend = `
CPU, switches and calls are per exchange. plugin: the plugin servers, all of them. switches: threads that waited + threads that were made to. r+w: reads and
writes, those that found nothing included. scans: those that the services were asked for; the two legs of one plugin are 2. /none, /ref: the ratio of the means
to the row none and to the row %s, and the lowest and the highest of a round.
`

func (l load) title() string {
	return fmt.Sprintf("%s of text in the prompt and in the answer, %s (request %d bytes, answer %d)", l.size,
		map[string]string{whole: "answers as JSON", stream: "answers as event streams"}[l.form], len(l.request), len(l.answer))
}

func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Fields(string(b))[0]
}

// ourRows are those of our plugins. It writes what is left out.
func ourRows(ctx context.Context, o options, s *standins, out io.Writer) ([]row, error) {
	config := map[string]entity{
		prisma: {"api_key": "key", "profile_name": "profile", "api_endpoint": s.airs},
		noma:   {"api_base": s.noma, "client_id": "id", "client_secret": "secret"},
	}
	plugin := func(name string, more ...entity) entity {
		c := maps.Clone(config[name])
		for _, m := range more {
			maps.Copy(c, m)
		}
		return entity{"name": name, "config": c}
	}
	monitor, relay := entity{"monitor_mode": true}, entity{"relay": "on"}
	rows := []row{{name: plain}}
	add := func(suffix string, more ...entity) {
		rows = append(
			rows,
			row{name: phases + suffix, plugins: []entity{plugin(prisma, more...)}},
			row{name: "prisma-monitor" + suffix, plugins: []entity{plugin(prisma, append(more, monitor)...)}},
			row{name: "noma" + suffix, plugins: []entity{plugin(noma, more...)}},
			row{name: "noma-monitor" + suffix, plugins: []entity{plugin(noma, append(more, monitor)...)}},
			row{name: "both" + suffix, plugins: []entity{plugin(prisma, more...), plugin(noma, more...)}},
		)
	}
	add("")
	for _, name := range plugins.Names() {
		dump, err := exec.CommandContext(ctx, filepath.Join(o.plugins, name), "-dump").Output()
		if err != nil {
			return nil, fmt.Errorf("%s -dump: %w (make build makes it; -plugins names its directory)", name, err)
		}
		if has, err := hasField(dump, "relay"); err != nil {
			return nil, fmt.Errorf("%s -dump: %w", name, err)
		} else if !has {
			fmt.Fprintf(out, "%s has no field relay: the rows with the relay are left out.\n", name)
			return rows, nil
		}
	}
	add("-relay", relay)
	return rows, nil
}

// hasField reports whether the configuration of a dumped plugin has a field.
func hasField(dump []byte, name string) (bool, error) {
	type field = map[string]json.RawMessage
	var d struct {
		Plugins []struct {
			Schema struct{ Fields []field }
		}
	}
	if err := json.Unmarshal(dump, &d); err != nil {
		return false, err
	}
	for _, p := range d.Plugins {
		for _, f := range p.Schema.Fields {
			var config struct{ Fields []field }
			if f["config"] == nil {
				continue
			}
			if err := json.Unmarshal(f["config"], &config); err != nil {
				return false, err
			}
			for _, f := range config.Fields {
				if f[name] != nil {
					return true, nil
				}
			}
		}
	}
	return false, nil
}

// rowsInLua are those of the plugins in a directory.
func rowsInLua(dir string, s *standins) (names []string, rows []row, err error) {
	if dir == "" {
		return nil, nil, nil
	}
	handlers, err := filepath.Glob(filepath.Join(dir, "kong", "plugins", "*", "handler.lua"))
	if err != nil {
		return nil, nil, err
	}
	if len(handlers) == 0 {
		return nil, nil, fmt.Errorf("-lua: no kong/plugins/NAME/handler.lua in %s", dir)
	}
	for _, handler := range handlers {
		name := filepath.Base(filepath.Dir(handler))
		b, err := os.ReadFile(filepath.Join(dir, name+".json"))
		if err != nil {
			return nil, nil, fmt.Errorf("-lua: the configuration of %s: %w", name, err)
		}
		var config entity
		urls := strings.NewReplacer("{airs}", s.airs, "{noma}", s.noma, "{model}", s.model)
		if err := json.Unmarshal([]byte(urls.Replace(string(b))), &config); err != nil {
			return nil, nil, fmt.Errorf("-lua: %s.json: %w", name, err)
		}
		names = append(names, name)
		rows = append(rows, row{name: "lua:" + name, plugins: []entity{{"name": name, "config": config}}, lua: true})
	}
	return names, rows, nil
}

// startKong starts a Kong with the rows of one kind.
func startKong(ctx context.Context, o options, dir, model string, rows []row, inLua bool, luaNames []string) (*realkong.Kong, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	var routes []entity
	for i, r := range rows {
		if r.lua == inLua {
			route := entity{"name": fmt.Sprint("row-", i), "paths": []string{"/" + r.name}}
			if len(r.plugins) > 0 {
				route["plugins"] = r.plugins
			}
			routes = append(routes, route)
		}
	}
	start := realkong.Options{
		Bin: o.kong,
		Config: entity{
			"_format_version": "3.0",
			"services":        []entity{{"name": "model", "url": model, "routes": routes}},
		},
		Settings: map[string]string{
			"proxy_access_log": "off", "admin_access_log": "off",
			// Kong keeps 8 KB of a body in memory and the rest in a file. That costs
			// more than all that is to be measured, and some plugins in Lua refuse such
			// bodies.
			"nginx_http_client_body_buffer_size": "1m",
		},
	}
	if inLua {
		lua, err := filepath.Abs(o.lua)
		if err != nil {
			return nil, err
		}
		start.Settings["lua_package_path"] = lua + "/?.lua;" + lua + "/?/init.lua;;"
		start.Settings["plugins"] = strings.Join(append([]string{"bundled"}, luaNames...), ",")
	} else {
		for _, name := range plugins.Names() {
			path, err := filepath.Abs(filepath.Join(o.plugins, name))
			if err != nil {
				return nil, err
			}
			start.Servers = append(start.Servers, realkong.Server{Path: path, Flags: o.pluginFlags})
		}
	}
	k, err := realkong.Start(ctx, dir, start)
	if err != nil {
		return nil, err
	}
	for _, s := range start.Servers {
		if err := awaitServer(ctx, k, filepath.Base(s.Path)); err != nil {
			return nil, errors.Join(err, k.Stop())
		}
	}
	return k, nil
}

// awaitServer waits for a plugin server's two processes, the keeper and the one
// that serves: Kong answers before it has them.
func awaitServer(ctx context.Context, k *realkong.Kong, name string) error {
	for end := time.Now().Add(patience); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		if pids, err := k.PluginServers(name); err != nil || len(pids) >= 2 {
			return err
		}
	}
	return errors.Join(fmt.Errorf("the plugin server %s does not start: %s", name, k.Log()), ctx.Err())
}

func (c *cell) url() string { return c.kong.URL + "/" + c.row.name + "/v1/chat/completions" }

// proves asks once, until the answer is the model's: Kong answers before each
// worker knows its plugin servers.
func (c *cell) proves(ctx context.Context) error {
	var problem error
	for end := time.Now().Add(patience); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		var final bool
		if final, problem = c.ask(ctx); final {
			return problem
		}
	}
	return errors.Join(problem, ctx.Err())
}

// ask asks once. It reports whether asking again would end in the same way: Kong may
// not have its routes yet (404), nor its plugin servers (500).
func (c *cell) ask(ctx context.Context) (final bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url(), bytes.NewReader(c.request))
	if err != nil {
		return true, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(answerHeader, c.load.name())
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return false, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	switch status := res.StatusCode; {
	case err != nil:
		return false, err
	case status != http.StatusOK:
		return status < http.StatusInternalServerError && status != http.StatusNotFound, fmt.Errorf("answer with status %d: %.200s", status, b)
	case !bytes.Equal(b, c.answer):
		return true, fmt.Errorf("another answer than the model's: %.200s", b)
	}
	return true, nil
}

// processes are those whose use is counted.
func (c *cell) processes() (workers, servers []int, err error) {
	if workers, err = c.kong.Workers(); err != nil || c.lua {
		return workers, nil, err
	}
	for _, name := range plugins.Names() {
		pids, err := c.kong.PluginServers(name)
		if err != nil {
			return nil, nil, err
		}
		if len(pids) == 0 {
			return nil, nil, fmt.Errorf("no plugin server %s", name)
		}
		servers = append(servers, pids...)
	}
	return workers, servers, nil
}

// run measures a cell once.
func (c *cell) run(ctx context.Context, o options, dir string, services *standins) (sample, error) {
	workers, servers, err := c.processes()
	if err != nil {
		return sample{}, err
	}
	before, err := snap(workers, servers, services)
	if err != nil {
		return sample{}, err
	}
	t, err := drive(ctx, o, dir, c.url(), c.load)
	if err != nil {
		return sample{}, err
	}
	workersAfter, err := used(workers)
	if err != nil {
		return sample{}, err
	}
	// Monitor mode scans when the exchange is over, and its cost counts.
	if err := settle(ctx, servers); err != nil {
		return sample{}, err
	}
	after, err := snap(workers, servers, services)
	if err != nil {
		return sample{}, err
	}
	if t.refused+t.broken > 0 || t.answers == 0 {
		return sample{}, fmt.Errorf("%d answers, of them %d with a status above 399; %d that did not come", t.answers, t.refused, t.broken)
	}
	return sample{
		tally: t, worker: workersAfter.minus(before.worker), plugin: after.plugin.minus(before.plugin),
		scans: after.scans - before.scans,
	}, nil
}

// A snapshot is what was used so far.
type snapshot struct {
	worker, plugin usage
	scans          int64
}

func snap(workers, servers []int, services *standins) (s snapshot, err error) {
	if s.worker, err = used(workers); err != nil {
		return s, err
	}
	s.plugin, err = used(servers)
	s.scans = services.scans.Load()
	return s, err
}

// settle waits until processes do nothing any more.
func settle(ctx context.Context, pids []int) error {
	var before usage
	for end := time.Now().Add(patience); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(idleTime) {
		now, err := used(pids)
		if err != nil {
			return err
		}
		if now.cpu-before.cpu <= tick {
			return nil
		}
		before = now
	}
	return errors.Join(errors.New("a plugin server does not come to rest"), ctx.Err())
}
