package metrics_test

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/lastcall-go/lastcall/transport/metrics"
)

// fetch asks for the metrics in a format.
func fetch(t testing.TB, m *metrics.Metrics, accept string) *http.Response {
	t.Helper()
	request := httptest.NewRequest("GET", "/metrics", nil)
	request.Header.Set("Accept", accept)
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, request)
	if answer.Code != http.StatusOK {
		t.Fatalf("%d %s", answer.Code, answer.Body)
	}
	return answer.Result()
}

// families are the metrics as Prometheus' own parser reads them.
func families(t testing.TB, m *metrics.Metrics) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	all, err := parser.TextToMetricFamilies(fetch(t, m, "").Body)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// figures are series by name, such as lastcall_messages_total{direction="sent"}. A histogram has two:
// _count and _sum.
type figures map[string]float64

// scraped returns the figures of this program; those of Go and of the process are left out.
func scraped(t testing.TB, m *metrics.Metrics) figures {
	t.Helper()
	all := make(figures)
	for name, family := range families(t, m) {
		if !strings.HasPrefix(name, "lastcall_") {
			continue
		}
		for _, metric := range family.GetMetric() {
			all.add(name, metric)
		}
	}
	return all
}

func (f figures) add(name string, metric *dto.Metric) {
	labels := ""
	for _, pair := range metric.GetLabel() {
		labels += fmt.Sprintf("%s=%q,", pair.GetName(), pair.GetValue())
	}
	if labels != "" {
		labels = "{" + strings.TrimSuffix(labels, ",") + "}"
	}
	switch {
	case metric.GetHistogram() != nil:
		f[name+"_count"+labels] = float64(metric.GetHistogram().GetSampleCount())
		f[name+"_sum"+labels] = metric.GetHistogram().GetSampleSum()
	case metric.GetCounter() != nil:
		f[name+labels] = metric.GetCounter().GetValue()
	default:
		f[name+labels] = metric.GetGauge().GetValue()
	}
}

// names are those of all series.
func (f figures) names() []string {
	var all []string
	for name := range f {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// has checks some figures.
func (f figures) has(t testing.TB, want figures) {
	t.Helper()
	for name, value := range want {
		if got, there := f[name]; !there || math.Abs(got-value) > 1e-6 {
			t.Errorf("%s is %v (there: %v), want %v", name, got, there, value)
		}
	}
}

// is checks all figures that begin with one of these: the others are 0.
func (f figures) is(t testing.TB, want figures, prefixes ...string) {
	t.Helper()
	f.has(t, want)
	for _, name := range f.names() {
		begins := func(prefix string) bool { return strings.HasPrefix(name, prefix) }
		if _, wanted := want[name]; !wanted && f[name] != 0 && slices.ContainsFunc(prefixes, begins) {
			t.Errorf("%s is %v, want 0", name, f[name])
		}
	}
}

func body(t testing.TB, answer *http.Response) string {
	t.Helper()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
