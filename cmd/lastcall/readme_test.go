package main

import (
	"os"
	"slices"
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

// "serve --help" shows each flag in a group, and names its default.
func TestServeHelpGroupsEveryFlagAndNamesItsDefault(t *testing.T) {
	groups := []string{"Listening", "Agent", "Drain", "Auth", "Tools", "Leases", "Telemetry"}
	for _, command := range parserOf(new(cli)).Model.Children {
		if command.Name != "serve" {
			continue
		}
		var seen []string
		for _, flag := range command.Flags {
			if flag.Group == nil {
				t.Errorf("--%s is in no group", flag.Name)
				continue
			}
			if key := flag.Group.Key; !slices.Contains(seen, key) {
				seen = append(seen, key)
			}
			named := flag.Default
			switch flag.Default {
			case "", "auto": // the help says what they mean
				continue
			case "0", "0s":
				named += " is "
			default:
				named = "default " + named
			}
			if !strings.Contains(flag.Help, named) && !strings.Contains(flag.Help, "(default "+flag.Default) {
				t.Errorf("--%s: %q does not name the default %s", flag.Name, flag.Help, flag.Default)
			}
		}
		if !slices.Equal(seen, groups) {
			t.Errorf("the groups are %v, want %v", seen, groups)
		}
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
