//go:build !linux

package transport

import (
	"errors"
	"syscall"
)

func deafen(syscall.Conn) error { return errors.ErrUnsupported }

func isQueued(syscall.Conn) bool { return false }
