package metrics

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// prefix begins the name of every metric.
const prefix = "lastcall_"

// other stands for the values that are not in a closed set.
const other = "other"

// maxNativeBuckets bounds a native histogram. At a factor of 1.1, 160 buckets are twenty doublings,
// such as from 1 ms to 17 min; past them the buckets grow wider, and nothing is reset.
const (
	nativeFactor     = 1.1
	maxNativeBuckets = 160
)

// label is a label with its closed set of values.
type label struct {
	name   string
	values []string
}

// fold makes one of the label's values of any.
func (l label) fold(value string) string {
	if slices.Contains(l.values, value) {
		return value
	}
	return other
}

// vec is a metric for each combination of its labels' values. All of them are there from the
// beginning.
type vec[M any] struct {
	labels []label
	get    func(values ...string) M
}

// with returns the metric of these values, one for each label. A value outside of its set is other.
func (v vec[M]) with(values ...string) M {
	folded := make([]string, len(values))
	for i, value := range values {
		folded[i] = v.labels[i].fold(value)
	}
	return v.get(folded...)
}

func newVec[M any](labels []label, get func(...string) M) vec[M] {
	for _, values := range combinations(labels) {
		get(values...)
	}
	return vec[M]{labels, get}
}

// combinations are all that can be made of one value of each label.
func combinations(labels []label) [][]string {
	all := [][]string{nil}
	for _, l := range labels {
		var longer [][]string
		for _, before := range all {
			for _, value := range l.values {
				longer = append(longer, append(slices.Clone(before), value))
			}
		}
		all = longer
	}
	return all
}

// registrar makes metrics of a registry, and keeps what went wrong.
type registrar struct {
	registry *prometheus.Registry
	errs     []error
}

func (r *registrar) register(c prometheus.Collector) {
	if err := r.registry.Register(c); err != nil {
		r.errs = append(r.errs, err)
	}
}

func (r *registrar) counter(name, help string, labels ...label) vec[prometheus.Counter] {
	made := prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, names(labels))
	r.register(made)
	return newVec(labels, made.WithLabelValues)
}

func (r *registrar) gauge(name, help string, labels ...label) vec[prometheus.Gauge] {
	made := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: prefix + name, Help: help}, names(labels))
	r.register(made)
	return newVec(labels, made.WithLabelValues)
}

// seconds is a histogram of durations.
func (r *registrar) seconds(name, help string, buckets []float64, labels ...label) vec[prometheus.Observer] {
	made := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:                           prefix + name,
		Help:                           help,
		Buckets:                        buckets,
		NativeHistogramBucketFactor:    nativeFactor,
		NativeHistogramMaxBucketNumber: maxNativeBuckets,
	}, names(labels))
	r.register(made)
	return newVec(labels, made.WithLabelValues)
}

func names(labels []label) (all []string) {
	for _, l := range labels {
		all = append(all, l.name)
	}
	return all
}
