package main

import (
	"os"
	"regexp"
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
func TestTheReadmesFirstSnippetIsTheExample(t *testing.T) {
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

// Each of the README's snippets is code of an example that tests run or compile.
func TestTheReadmesSnippetsAreOfExamples(t *testing.T) {
	examples := ""
	for _, name := range []string{"example_test.go", "httpsession/example_test.go", "grpcsession/example_test.go"} {
		text, err := os.ReadFile("../../transport/" + name)
		if err != nil {
			t.Fatal(err)
		}
		examples += strings.ReplaceAll(string(text), "\n\t", "\n")
	}
	snippets := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(readme(t), -1)
	for _, snippet := range snippets {
		if !strings.Contains(examples, snippet[1]) {
			t.Errorf("no example has\n%s", snippet[1])
		}
	}
	if len(snippets) != 3 {
		t.Errorf("%d snippets, want one for each shape of embedding", len(snippets))
	}
}

// Each command of the README is one that the binary takes, and each link leads to a file.
func TestTheReadmesCommandsAndLinksLeadSomewhere(t *testing.T) {
	commands := regexp.MustCompile(`(?m)^    (?:lastcall|go run ./cmd/lastcall) ([^#\n]*)`).FindAllStringSubmatch(readme(t), -1)
	if len(commands) == 0 {
		t.Error("no commands")
	}
	for _, command := range commands {
		if _, err := parserOf(new(cli)).Parse(strings.Fields(command[1])); err != nil {
			t.Errorf("%s: %v", command[1], err)
		}
	}
	for _, link := range regexp.MustCompile(`\]\(([^)]*)\)`).FindAllStringSubmatch(readme(t), -1) {
		if _, err := os.Stat("../../" + link[1]); err != nil {
			t.Error(err)
		}
	}
}

// The README stays short: details have their place beside the code.
func TestTheReadmeIsShort(t *testing.T) {
	if lines := strings.Count(readme(t), "\n"); lines > 170 {
		t.Errorf("the README has %d lines, want at most 170", lines)
	}
}
