// SPDX-License-Identifier: Apache-2.0

package pluginserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
)

// When the Kong worker that has started the plugin server ends, the process
// gets SIGTERM and at once SIGKILL. Other workers still have exchanges under
// way on its connections. Their pooled connections then break, some just as
// they are used, and the client gets 500. So the process that Kong starts
// serves nothing. It is a keeper, which starts the program again as its child,
// in a process group of its own, hands signals on to it, and ends as it ends.
// The child sees by a pipe when the keeper has gone, and takes that for
// SIGTERM.

// lifeline names the environment variable that tells the child which of its
// files is the pipe. The keeper holds the other end and writes nothing.
const lifeline = "AI_GUARD_LIFELINE"

// keep runs the program as a child and returns the code that it ended with. ran
// is false in a process that is the child already, or that cannot start one.
// Then the process serves by itself, and a reload may cost an exchange.
func keep(args []string, stdout, stderr io.Writer) (code int, ran bool) {
	if os.Getenv(lifeline) != "" {
		return 0, false
	}
	cmd, hold, err := child(args, stdout, stderr)
	if err != nil {
		fmt.Fprintln(stderr, "serving without a process of our own:", err)
		return 0, false
	}
	defer hold.Close()
	// Before the child is there: the default handler would leave it alone.
	told := make(chan os.Signal, 8)
	signal.Notify(told, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer signal.Stop(told)
	err = withSlack(cmd.Start)
	cmd.ExtraFiles[0].Close()
	if err != nil {
		fmt.Fprintln(stderr, "serving without a process of our own:", err)
		return 0, false
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-told:
			_ = cmd.Process.Signal(s) // it may have ended
		case err := <-ended:
			return exitCode(err), true
		}
	}
}

func child(args []string, stdout, stderr io.Writer) (cmd *exec.Cmd, hold *os.File, err error) {
	path, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	read, hold, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	cmd = exec.Command(path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, stdout, stderr
	cmd.ExtraFiles = []*os.File{read} // 3 in the child
	cmd.Env = append(os.Environ(), lifeline+"=3")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd, hold, nil
}

// exitCode is how a child ended, in a shell's way.
func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return exitOK
	case !errors.As(err, &exit):
		return exitError
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exit.ExitCode()
}

// signals are what the process was told from outside.
type signals struct {
	// leave is closed at SIGTERM, or when the keeper has gone.
	leave chan struct{}
	// patience ends at SIGINT.
	patience context.Context
	// hangups get each SIGHUP that is not about the same as the one before.
	hangups chan os.Signal
	release func()
}

// watchSignals takes over SIGTERM, SIGINT and SIGHUP. What is left of Kong's own pipe
// may break any time after, which must not end the process.
func watchSignals() signals {
	signal.Ignore(syscall.SIGPIPE)
	terms := make(chan os.Signal, 1)
	signal.Notify(terms, syscall.SIGTERM)
	patience, stop := signal.NotifyContext(context.Background(), syscall.SIGINT)
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	over := make(chan struct{})
	s := signals{leave: make(chan struct{}), patience: patience, hangups: hangups, release: func() {
		close(over)
		signal.Stop(terms)
		signal.Stop(hangups)
		close(hangups)
		stop()
	}}
	orphaned := make(chan struct{})
	if pipe := lifelineFile(); pipe != nil {
		go func() {
			defer close(orphaned)
			_, _ = io.Copy(io.Discard, pipe) // ends with the keeper
		}()
	}
	go func() {
		select {
		case <-terms:
		case <-orphaned:
		case <-over:
			return
		}
		close(s.leave)
	}()
	go func() {
		<-patience.Done()
		stop() // the next SIGINT meets the default handler
	}()
	return s
}

func lifelineFile() *os.File {
	fd, err := strconv.ParseUint(os.Getenv(lifeline), 10, 16)
	if err != nil {
		return nil
	}
	_ = os.Unsetenv(lifeline) // fails for no such name
	syscall.CloseOnExec(int(fd))
	return os.NewFile(uintptr(fd), "lifeline")
}
