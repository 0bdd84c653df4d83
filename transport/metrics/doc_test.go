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

// The package comment lists every metric, with its type, its labels and their values, and what it is, and
// no other.
func TestThePackageCommentListsWhatIsServed(t *testing.T) {
	comment, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	want := list(families(t, open(t, quiet())))
	if !strings.Contains(string(comment), want) || strings.Count(string(comment), "\n//\tlastcall_") != strings.Count(want, "\n//\tlastcall_") {
		t.Errorf("doc.go has to hold this list, and no other:\n%s", want)
	}
}

// list is how the package comment shows metrics.
func list(families map[string]*dto.MetricFamily) string {
	rows := ""
	for _, name := range slices.Sorted(maps.Keys(families)) {
		family := families[name]
		if !strings.HasPrefix(name, "lastcall_") {
			continue
		}
		rows += fmt.Sprintf("//\n//\t%s (%s)\n", name, strings.ToLower(family.GetType().String()))
		for _, label := range labels(family) {
			rows += "//\t    " + label + "\n"
		}
		rows += "//\t    " + family.GetHelp() + "\n"
	}
	return rows
}

// labels are a metric's labels with their values, in the order of the first series that has each.
func labels(family *dto.MetricFamily) []string {
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
		text := name
		if family.GetName() != "lastcall_build_info" && name != "agent" { // whose values are the program's, and the agents'
			text += ": " + strings.Join(values[name], ", ")
		}
		all = append(all, text)
	}
	return all
}
