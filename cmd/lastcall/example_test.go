package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// deployed is the text of a file that "lastcall example" prints.
func deployed(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestExamplePrintsEachFileWhole(t *testing.T) {
	var printed []string
	for platform, files := range exampleFiles {
		want := ""
		for _, name := range files {
			if len(files) > 1 {
				want += "# " + name + "\n"
			}
			want += deployed(t, name)
		}
		printed = append(printed, files...)
		if code, stdout, stderr := lastcall(t, "example", platform); code != 0 || stderr != "" || stdout != want {
			t.Errorf("example %s: exit code %d, %q, and\n%s", platform, code, stderr, stdout)
		}
	}
	entries, err := os.ReadDir("deploy")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !slices.Contains(printed, entry.Name()) {
			t.Errorf("no example prints %s", entry.Name())
		}
	}
}

// The grammar's words are the platforms that have files.
func TestExampleTakesThePlatformsThatItHas(t *testing.T) {
	for _, child := range parserOf(new(cli)).Model.Children {
		if child.Name != "example" {
			continue
		}
		words := strings.Split(child.Positional[0].Tag.Enum, ",")
		if len(words) != len(exampleFiles) {
			t.Errorf("example takes %v, and has %d", words, len(exampleFiles))
		}
		for _, word := range words {
			if exampleFiles[word] == nil {
				t.Errorf("example takes %s, and has no file", word)
			}
		}
	}
	wantUsageError(t, "platform", "example", "openrc")
}
