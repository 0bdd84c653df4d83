// Command lastcall is a gateway for agent sessions that ends them well: see its README, or
//
//	lastcall serve --help
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/daemon"
	"github.com/lastcall-go/lastcall/transport/gateway"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // the server, or the workflow, failed
	exitUsage  = 2 // nothing was started: a flag, a port or a target is wrong
	exitKilled = 3 // the drain had to kill a session or a service
)

func main() {
	daemon.LogGRPC()
	os.Exit(run(os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

// streams are the process's own, or a test's.
type streams struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

// cli is the grammar of the command line.
type cli struct {
	Serve   serveCmd   `cmd:"" help:"Run the gateway."`
	Agent   agentCmd   `cmd:"" help:"Run the scripted agent alone."`
	Connect connectCmd `cmd:"" help:"Run a workflow against a gateway."`
	Token   tokenCmd   `cmd:"" help:"Make a bearer token for --auth-tokens."`

	Sessions sessionsCmd `cmd:"" help:"Show a gateway's sessions."`
	Drain    drainCmd    `cmd:"" help:"Drain a gateway, one session, or some."`
	Resume   resumeCmd   `cmd:"" help:"Let a drained gateway admit again."`
	Top      topCmd      `cmd:"" help:"Watch a gateway's sessions, and drain them."`
	Fleet    fleetCmd    `cmd:"" help:"Watch several gateways, and drain them one after the other."`
	Report   reportCmd   `cmd:"" help:"Read the report of a drain."`
	Bench    benchCmd    `cmd:"" help:"Measure a gateway under load."`

	Healthcheck healthcheckCmd `cmd:"" help:"Ask whether a gateway is ready, for images without curl."`
	Example     exampleCmd     `cmd:"" help:"Print a configuration for systemd, Kubernetes, a proxy, Prometheus or Grafana."`
	Completion  completionCmd  `cmd:"" help:"Print a completion script for a shell."`
	Version     versionCmd     `cmd:"" help:"Print the version."`
}

// usageError says that what was asked for can't be started. It is printed as one line.
type usageError struct{ error }

// killedError says that the drain killed a session or a service.
type killedError struct{ error }

// exited is the exit code of a command that has printed its errors by itself.
type exited int

func (e exited) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// run is main, with daemons that a test may want in the gateway.
func run(args []string, std streams, services ...gateway.Service) int {
	grammar := cli{Serve: serveCmd{services: services}}
	leave, status := false, exitOK
	if len(args) == 0 {
		args = []string{"--help"}
	}
	command, err := grammar.parser(std, func(code int) { leave, status = true, code }).Parse(args)
	if leave {
		return status
	}
	if err != nil {
		err = usageError{fmt.Errorf("%w (try 'lastcall --help')", err)}
	} else {
		err = command.Run()
	}
	return exitCode(err, std.err)
}

// parser calls exit after --help.
func (grammar *cli) parser(std streams, exit func(code int)) *kong.Kong {
	return kong.Must(grammar,
		kong.Name("lastcall"),
		kong.Description("Ends long-lived agent sessions well."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.DefaultEnvars("LASTCALL"),
		kong.Writers(std.out, std.err),
		kong.Exit(exit),
		kong.Bind(std),
	)
}

// exitCode returns the exit code of an error, and prints the error unless that was done.
func exitCode(err error, stderr io.Writer) int {
	var usage usageError
	var killed killedError
	var told exited
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &told):
		return int(told)
	case errors.As(err, &killed):
		return exitKilled
	case errors.As(err, &usage):
		fmt.Fprintln(stderr, "lastcall:", err)
		return exitUsage
	}
	fmt.Fprintln(stderr, "lastcall:", err)
	return exitFailed
}

type versionCmd struct{}

// Run implements the command.
func (versionCmd) Run(std streams) error {
	_, err := fmt.Fprintln(std.out, "lastcall", version())
	return err
}

// version is the module's, as the Go toolchain recorded it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// untilInterrupted ends with Ctrl-C or SIGTERM. A second one ends the process, also where what it shows
// isn't read.
func untilInterrupted() (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}
