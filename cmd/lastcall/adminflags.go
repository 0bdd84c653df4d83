package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	adminapi "github.com/lastcall-go/lastcall/transport/admin"
)

// adminFlags say which gateway is asked. Of the flags of the commands that embed them only these have
// environment variables: what was set for "lastcall serve" must not choose what is shown or drained.
type adminFlags struct {
	Admin string `default:"127.0.0.1:8081" placeholder:"ADDR" help:"Admin listener of the gateway: host:port or a URL (default ${default})."`
	Token string `placeholder:"TOKEN" help:"Bearer token for the admin listener. Better set as LASTCALL_TOKEN: others can see a command line."`
}

// open makes the client, which the caller must close.
func (f *adminFlags) open() (*adminapi.Client, error) {
	base, err := adminURL(f.Admin)
	if err != nil {
		return nil, usageError{err}
	}
	return adminapi.NewClient(base, f.Token), nil
}

// explainAdmin says what may be wrong where a gateway can't be asked.
func explainAdmin(err error) error {
	var status *adminapi.StatusError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: is the gateway running, and is --admin right?", err)
	case errors.As(err, &status) && status.Status == http.StatusUnauthorized:
		return fmt.Errorf("%w: is LASTCALL_TOKEN (or --token) right?", err)
	}
	return err
}

// untilInterrupted ends with Ctrl-C or SIGTERM. A second one ends the process, also where what it shows
// isn't read.
func untilInterrupted() (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// terminalOf is the terminal that w writes to, or r reads.
func terminalOf(rw any) (file *os.File, isTerminal bool) {
	file, isFile := rw.(*os.File)
	return file, isFile && term.IsTerminal(int(file.Fd()))
}

// screenSize is that of w's terminal, and 80x24 where it has none.
func screenSize(w io.Writer) (width, height int) {
	if file, isTerminal := terminalOf(w); isTerminal {
		if width, height, err := term.GetSize(int(file.Fd())); err == nil && width > 0 && height > 0 {
			return width, height
		}
	}
	return 80, 24
}
