//go:build !linux

package httpserver

import (
	"errors"
	"syscall"
)

func deafen(syscall.Conn) error { return errors.ErrUnsupported }

func isQueued(syscall.Conn) bool { return false }
