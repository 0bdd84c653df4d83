// Package dumbterm keeps bubbletea from asking the terminal for its background colour when the process
// starts: its init function does, whatever the command, and waits 5 s where nobody answers, as on the
// terminal of a container. A terminal that is said to be dumb isn't asked.
//
// It works because Go initializes packages in the order of their import paths, each as soon as those
// that it imports are (the language's specification, "Program initialization"). This one imports os
// alone, and termenv, without which bubbletea isn't ready, comes after os and behind this one.
package dumbterm

import "os"

var term, isSet = os.LookupEnv("TERM")

var _ = os.Setenv("TERM", "dumb")

// Restore gives the process its TERM back. It is to be called before anything else reads it.
func Restore() error {
	if isSet {
		return os.Setenv("TERM", term)
	}
	return os.Unsetenv("TERM")
}
