// SPDX-License-Identifier: Apache-2.0

package kongtest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/kong-ai-guard/kong-ai-guard/internal/sim/procfs"
)

const (
	// Long enough for a busy machine.
	dumpTimeout  = time.Minute
	startTimeout = time.Minute
	stopTimeout  = 2 * time.Minute
	restartPause = time.Second
)

// A PluginServer is an executable that serves one plugin.
type PluginServer struct {
	// Path is the executable; its base name is the plugin's name.
	Path string
	// Args come before what the gateway adds to the start command and the query
	// command, such as "-log-level", "debug".
	Args []string
}

// A process is a running plugin server. When it ends it is started again, at
// once the first time, and after that at most once a second.
type process struct {
	server PluginServer
	prefix string
	name   string
	socket string
	log    func(text string)

	mu      sync.Mutex
	cmd     *exec.Cmd
	pipes   []*os.File // our ends: the process's output and its stdin
	started time.Time
	starts  int
	last    string // line of its output
	closing bool
	done    chan struct{} // closed when no process runs and none will
	stop    chan struct{} // closed when closing starts
}

// environment is all that Kong leaves of its own.
func environment(prefix string) []string { return []string{"PWD=" + prefix} }

// dump asks a plugin server what it serves, in the form of Kong's query_cmd.
func dump(s PluginServer, prefix string) (dumpDocument, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dumpTimeout)
	defer cancel()
	args := append(append([]string{}, s.Args...), "-kong-prefix", prefix, "-dump")
	cmd := exec.CommandContext(ctx, s.Path, args...)
	cmd.Dir, cmd.Env = prefix, environment(prefix)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return dumpDocument{}, fmt.Errorf("%s -dump: %w: %s", filepath.Base(s.Path), err, exit.Stderr)
		}
		return dumpDocument{}, fmt.Errorf("%s -dump: %w", filepath.Base(s.Path), err)
	}
	doc, err := parseDump(out)
	if err != nil {
		return doc, fmt.Errorf("%s -dump: %w", filepath.Base(s.Path), err)
	}
	return doc, nil
}

func newProcess(s PluginServer, prefix, name, socket string, log func(string)) *process {
	return &process{
		server: s, prefix: prefix, name: name, socket: socket, log: log,
		done: make(chan struct{}), stop: make(chan struct{}),
	}
}

// start runs the process, waits until its socket answers, and keeps it
// running from then on.
func (p *process) start() error {
	before, _ := os.Stat(p.socket) // of the process that a reload replaces
	exited, err := p.run()
	if err != nil {
		close(p.done)
		return err
	}
	go p.keep(exited)
	deadline := time.Now().Add(startTimeout)
	for {
		var conn net.Conn
		now, err := os.Stat(p.socket)
		if err == nil && before != nil && os.SameFile(before, now) && before.ModTime().Equal(now.ModTime()) {
			err = errors.New("its socket is the old one's")
		}
		if err == nil {
			conn, err = net.Dial("unix", p.socket)
		}
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) {
			p.mu.Lock()
			starts, last := p.starts, p.last
			p.mu.Unlock()
			return errors.Join(fmt.Errorf("%s does not listen after %d starts: %w; its last line: %q", p.name, starts, err, last), p.close())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// run starts one process. The channel is closed when it has ended.
func (p *process) run() (exited chan struct{}, err error) {
	args := append(append([]string{}, p.server.Args...), "-kong-prefix", p.prefix)
	cmd := exec.Command(p.server.Path, args...)
	cmd.Dir, cmd.Env = p.prefix, environment(p.prefix)
	// A Ctrl-C at the terminal is for the gateway alone, which then ends the
	// plugin servers. Otherwise they would end by themselves and be started
	// again.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer write.Close()
	stdin, feed, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, read.Close())
	}
	defer stdin.Close()
	cmd.Stdout, cmd.Stderr, cmd.Stdin = write, write, stdin
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return nil, errors.Join(net.ErrClosed, read.Close(), feed.Close())
	}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, read.Close(), feed.Close())
	}
	p.cmd, p.pipes, p.started = cmd, []*os.File{read, feed}, time.Now()
	p.starts++
	exited = make(chan struct{})
	go func() {
		defer close(exited)
		// As Kong does: a process has ended when its output has, whoever of its
		// children holds that.
		p.readOutput(read, cmd.Process.Pid)
		_ = cmd.Wait() // the state says how it ended
		feed.Close()
		p.log(fmt.Sprintf("external pluginserver '%s' terminated: %v", p.name, cmd.ProcessState))
	}()
	return exited, nil
}

func (p *process) readOutput(r io.ReadCloser, pid int) {
	defer r.Close()
	lines := bufio.NewReaderSize(r, 64<<10)
	for {
		line, _, err := lines.ReadLine()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.last = string(line)
		p.mu.Unlock()
		p.log(fmt.Sprintf("[%s:%d] %s", p.name, pid, line))
	}
}

// keep starts the process again each time it ends, until closing starts.
func (p *process) keep(exited chan struct{}) {
	defer close(p.done)
	for {
		<-exited
		p.mu.Lock()
		pause := time.Until(p.started.Add(restartPause))
		p.mu.Unlock()
		for exited = nil; exited == nil; pause = restartPause {
			select {
			case <-time.After(pause):
			case <-p.stop:
				return
			}
			next, err := p.run()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				p.log("starting: " + err.Error())
			}
			exited = next
		}
	}
}

// kill ends the process as a worker of Kong does that goes: with SIGTERM and,
// before long, SIGKILL. Both are for the command that was started, and for none
// of its children. Nobody reads its output after that, and its stdin ends.
func (p *process) kill(after time.Duration) {
	p.mu.Lock()
	if p.closing {
		p.mu.Unlock()
		return
	}
	p.closing = true
	close(p.stop)
	cmd, pipes := p.cmd, p.pipes
	p.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.done:
	case <-time.After(after):
		_ = cmd.Process.Kill()
	}
	for _, f := range pipes {
		f.Close()
	}
	<-p.done
}

// close ends the process with SIGTERM and waits for it. A process that does not
// end is killed, and that is an error.
func (p *process) close() error {
	p.mu.Lock()
	if p.closing {
		p.mu.Unlock()
		<-p.done
		return nil
	}
	p.closing = true
	close(p.stop)
	cmd := p.cmd
	p.mu.Unlock()
	if cmd == nil {
		return nil
	}
	_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.done:
		return nil
	case <-time.After(stopTimeout):
		_ = cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("%s did not end on SIGTERM within %v", p.name, stopTimeout)
	}
}

// signal sends a signal to the process that runs now.
func (p *process) signal(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return os.ErrProcessDone
	}
	if err := p.cmd.Process.Signal(sig); err != nil {
		return err
	}
	if sig == syscall.SIGSTOP {
		procfs.StandStill(p.cmd.Process.Pid)
	}
	return nil
}

// family is the process that runs now and all that runs under it, parents
// first.
func (p *process) family() ([]int, error) {
	p.mu.Lock()
	if p.cmd == nil {
		p.mu.Unlock()
		return nil, os.ErrProcessDone
	}
	family := []int{p.cmd.Process.Pid}
	p.mu.Unlock()
	parents, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(parents) == 0 {
		return nil, errors.Join(errors.New("/proc shows no processes"), err)
	}
	children := map[int][]int{}
	for _, path := range parents {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		var pid, parent int
		var state string
		_, rest, _ := strings.Cut(string(b[bytes.LastIndexByte(b, ')')+1:]), " ")
		if _, err := fmt.Sscan(rest, &state, &parent); err != nil || state == "Z" {
			continue
		}
		if _, err := fmt.Sscan(string(b), &pid); err != nil {
			continue
		}
		children[parent] = append(children[parent], pid)
	}
	for i := 0; i < len(family); i++ {
		family = append(family, children[family[i]]...)
	}
	return family, nil
}

func (p *process) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.starts
}
