package metrics_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
)

// The README's table names every metric, with its type, its labels and their values, and what it is,
// and no other.
func TestTheReadmesTableIsWhatIsServed(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(readme), "\n## Metrics\n")
	section, _, _ = strings.Cut(section, "\n## ")
	if want := table(families(t, open(t, quiet()))); !found || !strings.Contains(section, want) || strings.Count(section, "\n| `lastcall_") != strings.Count(want, "\n| `lastcall_") {
		t.Errorf("below \"## Metrics\" the README has to hold this table, and no other:\n%s", want)
	}
}

func table(families map[string]*dto.MetricFamily) string {
	rows := "| metric | type | labels | what |\n|---|---|---|---|\n"
	for _, name := range slices.Sorted(maps.Keys(families)) {
		if family := families[name]; strings.HasPrefix(name, "lastcall_") {
			rows += fmt.Sprintf("| `%s` | %s |%s| %s |\n", name, strings.ToLower(family.GetType().String()), labels(family), family.GetHelp())
		}
	}
	return rows
}

// labels lists a metric's labels with their values, in the order of the first series that has each.
func labels(family *dto.MetricFamily) string {
	var names []string
	values := make(map[string][]string)
	for _, metric := range family.GetMetric() {
		for _, pair := range metric.GetLabel() {
			if !slices.Contains(names, pair.GetName()) {
				names = append(names, pair.GetName())
			}
			if !slices.Contains(values[pair.GetName()], pair.GetValue()) {
				values[pair.GetName()] = append(values[pair.GetName()], pair.GetValue())
			}
		}
	}
	all := make([]string, 0, len(names))
	for _, name := range names {
		text := "`" + name + "`"
		if family.GetName() != "lastcall_build_info" { // whose values are the program's
			text += " (" + strings.Join(values[name], ", ") + ")"
		}
		all = append(all, text)
	}
	if len(all) == 0 {
		return " "
	}
	return " " + strings.Join(all, ", ") + " "
}
