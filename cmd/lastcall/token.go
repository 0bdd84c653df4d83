package main

import (
	"fmt"

	"github.com/lastcall-go/lastcall/transport/auth"
)

// tokenCmd makes a bearer token.
type tokenCmd struct {
	Name string `arg:"" help:"Whose token it is: the principal of the sessions that are opened with it."`
}

// Help is shown by "lastcall token --help".
func (*tokenCmd) Help() string {
	return `It prints the line for the file of --auth-tokens on the standard output, and on the standard
error the token for its owner, which is shown this once.

Example:
  lastcall token ada >> tokens
  lastcall serve --listen 0.0.0.0:8080 --auth tokens --auth-tokens tokens`
}

// Run implements the command.
func (c *tokenCmd) Run(std streams) error {
	token, line, err := auth.NewToken(c.Name)
	if err != nil {
		return usageError{err}
	}
	if _, err := fmt.Fprintln(std.out, line); err != nil {
		return err
	}
	_, err = fmt.Fprintln(std.err, "token of "+c.Name+":", token)
	return err
}
