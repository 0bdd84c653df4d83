package terminal

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
)

// Prompt asks the user on the terminal. Only a line that comes after a question answers it: what was
// typed before is no consent.
type Prompt struct {
	w       io.Writer // nil: there is no terminal, and the answer is no
	mu      sync.Mutex
	waiting chan string // nil: no question is open
}

// NewPrompt reads the terminal for as long as the process lives. Where the input is no terminal, each answer is no.
func NewPrompt(in io.Reader, out io.Writer) *Prompt {
	file, isTerminal := terminalOf(in)
	if !isTerminal {
		return &Prompt{}
	}
	p := &Prompt{w: out}
	go p.read(file)
	return p
}

func (p *Prompt) read(r io.Reader) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if waiting := p.open(nil); waiting != nil {
			waiting <- lines.Text()
		}
	}
}

// open replaces the open question and returns the one before.
func (p *Prompt) open(question chan string) (before chan string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before, p.waiting = p.waiting, question
	return before
}

func (p *Prompt) Ask(ctx context.Context, question string) bool {
	if p.w == nil {
		return false
	}
	answer := make(chan string, 1)
	p.open(answer)
	fmt.Fprint(p.w, question, " [y/N] ")
	select {
	case line := <-answer:
		line = strings.ToLower(strings.TrimSpace(line))
		return line == "y" || line == "yes"
	case <-ctx.Done():
		p.open(nil)
		fmt.Fprintln(p.w)
		return false
	}
}
