package main

import (
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The README's table of flags is what the binary takes, with the same defaults, both ways.
func TestTheReadmeNamesEveryFlagAndItsDefault(t *testing.T) {
	documented := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `--([a-z-]+)` \\|([^|]*)\\|").FindAllStringSubmatch(readme(t), -1) {
		documented[row[1]] = strings.TrimSpace(row[2])
	}
	// What the grammar has no default for, because it has a meaning of its own.
	spoken := map[string]string{"agent": "the scripted agent", "agent-tls": "off", "lock": "off", "proxy-protocol": "off", "stop-timeout": "10s", "close-timeout": "5s"}
	parser := new(cli).parser(streams{out: io.Discard, err: io.Discard}, func(int) {})
	for _, command := range parser.Model.Children {
		if command.Name != "serve" {
			continue
		}
		for _, flag := range command.Flags {
			want := flag.Default
			if text, ok := spoken[flag.Name]; ok {
				want = text
			}
			if got, ok := documented[flag.Name]; !ok || got != want {
				t.Errorf("--%s: the README says %q, want %q", flag.Name, got, want)
			}
			delete(documented, flag.Name)
		}
	}
	for name := range documented {
		t.Errorf("--%s: the README names it, serve doesn't take it", name)
	}
}

// The README shows the code of the compiled example, and nothing else.
func TestTheReadmesSnippetIsTheExample(t *testing.T) {
	example, err := os.ReadFile("../../transport/example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, body, found := strings.Cut(string(example), "func Example() {\n")
	body, _, ended := strings.Cut(body, "\n}\n")
	if !found || !ended {
		t.Fatal("no Example in transport/example_test.go")
	}
	body = strings.ReplaceAll(body, "\n\t", "\n")
	if want := "```go\n" + strings.TrimPrefix(body, "\t") + "\n```\n"; !strings.Contains(readme(t), want) {
		t.Errorf("the README doesn't hold\n%s", want)
	}
}
