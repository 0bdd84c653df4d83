package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// alertRule is what these tests look at of a rule.
type alertRule struct {
	Alert, Expr         string
	Labels, Annotations map[string]string
}

// exampleAlerts are the rules of the example.
func exampleAlerts(t *testing.T) []alertRule {
	t.Helper()
	var file struct{ Groups []struct{ Rules []alertRule } }
	if err := yaml.Unmarshal([]byte(deployed(t, "prometheus-rules.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Groups) != 1 || len(file.Groups[0].Rules) == 0 {
		t.Fatalf("groups %+v, want one with rules", file.Groups)
	}
	return file.Groups[0].Rules
}

// monitoring finds a program of Prometheus.
func monitoring(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
	case os.Getenv("CI") == "true" || os.Getenv("LASTCALL_REQUIRE_PROMETHEUS") == "1":
		t.Fatalf("%s is not installed", name)
	default:
		t.Skipf("%s is not installed", name)
	}
	return path
}

func TestPromtoolAcceptsTheAlertsAndTheirTests(t *testing.T) {
	promtool := monitoring(t, "promtool")
	for _, args := range [][]string{
		{"check", "rules", "--lint-fatal", filepath.Join("deploy", "prometheus-rules.yaml")},
		{"test", "rules", filepath.Join("testdata", "prometheus-rules-test.yaml")},
	} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// Promtool's tests fail for each alert that never fires, and for each that always does.
func TestEveryAlertIsTestedBothWays(t *testing.T) {
	promtool := monitoring(t, "promtool")
	tests, err := os.ReadFile(filepath.Join("testdata", "prometheus-rules-test.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	path := write("test.yaml", bytes.Replace(tests, []byte("../deploy/prometheus-rules.yaml"), []byte("rules.yaml"), 1))
	for _, expr := range []string{"vector(1) < 0", "vector(1)"} {
		var broken []any
		for _, rule := range exampleAlerts(t) {
			broken = append(broken, map[string]any{"alert": rule.Alert, "expr": expr})
		}
		rules, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "lastcall", "rules": broken}}})
		if err != nil {
			t.Fatal(err)
		}
		write("rules.yaml", rules)
		out, err := exec.Command(promtool, "test", "rules", path).CombinedOutput()
		for _, rule := range exampleAlerts(t) {
			if err == nil || !bytes.Contains(out, []byte(`"`+rule.Alert+`"`)) {
				t.Errorf("with %s for %s: %v\n%s", expr, rule.Alert, err, out)
			}
		}
	}
}

// An alert says how bad it is, what has happened, and what to do, with commands that the binary takes.
func TestEveryAlertHasARunbook(t *testing.T) {
	command := regexp.MustCompile("`lastcall ([^`]*)`")
	for _, rule := range exampleAlerts(t) {
		if !strings.HasPrefix(rule.Alert, "Lastcall") || !slices.Contains([]string{"critical", "warning"}, rule.Labels["severity"]) {
			t.Errorf("%s has the severity %q", rule.Alert, rule.Labels["severity"])
		}
		for _, name := range []string{"summary", "description", "runbook"} {
			if rule.Annotations[name] == "" {
				t.Errorf("%s has no %s", rule.Alert, name)
			}
		}
		book := rule.Annotations["runbook"]
		for _, part := range []string{"Meaning: ", "\nLook at: ", "\nDo: "} {
			if strings.Count(book, part) != 1 {
				t.Errorf("%s: the runbook has not one part %q:\n%s", rule.Alert, part, book)
			}
		}
		for _, found := range command.FindAllStringSubmatch(book, -1) {
			args := strings.Fields(strings.ReplaceAll(found[1], "{{ $labels.instance }}", "a:8081"))
			if _, err := parserOf(new(cli)).Parse(args); err != nil {
				t.Errorf("%s: lastcall %s: %v", rule.Alert, strings.Join(args, " "), err)
			}
		}
	}
}

// servedMetrics are the names of a gateway's metrics, as their package lists them, with those of the series
// of histograms.
func servedMetrics(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../transport/metrics/doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, found := range regexp.MustCompile(`(?m)^//\t(lastcall_\w+) \((\w+)\)$`).FindAllStringSubmatch(string(text), -1) {
		names = append(names, found[1])
		if found[2] == "histogram" {
			names = append(names, found[1]+"_bucket", found[1]+"_sum", found[1]+"_count")
		}
	}
	return names
}

// wantServed wants the metrics of a text to be those of a gateway.
func wantServed(t *testing.T, text string) {
	t.Helper()
	served := servedMetrics(t)
	for _, name := range regexp.MustCompile(`lastcall_\w+`).FindAllString(text, -1) {
		if !slices.Contains(served, name) {
			t.Errorf("there is no metric %s", name)
		}
	}
}

func TestAlertsAreOnMetricsThatThereAre(t *testing.T) {
	wantServed(t, deployed(t, "prometheus-rules.yaml"))
}
