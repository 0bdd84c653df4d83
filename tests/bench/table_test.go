package bench

import (
	"fmt"
	"io"
	"slices"
	"testing"
	"text/tabwriter"
)

// table is what was measured, for people: a row for each figure, with what lastcall has of what the plain relay
// has.
var table figures

type figures struct {
	rows   []string // in the order in which they were measured
	values map[[2]string]float64
}

// report takes the last measurement of a figure.
func report(b *testing.B, gateway, figure, unit string, value float64) {
	b.ReportMetric(value, unit)
	table.add(figure+", "+unit, gateway, value)
}

func (f *figures) add(row, gateway string, value float64) {
	if !slices.Contains(f.rows, row) {
		f.rows = append(f.rows, row)
	}
	if f.values == nil {
		f.values = make(map[[2]string]float64)
	}
	f.values[[2]string{row, gateway}] = value
}

func (f *figures) print(out io.Writer) {
	if len(f.rows) == 0 {
		return
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "lastcall\tplain\tratio\tnginx\t\t")
	for _, row := range f.rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t\t%s\n", f.cell(row, "lastcall"), f.cell(row, "plain"), f.ratio(row), f.cell(row, "nginx"), row)
	}
	if len(nginxIfInstalled()) == 0 {
		fmt.Fprintln(w, "nginx is not installed, and was not measured.")
	}
	_ = w.Flush()
}

func (f *figures) cell(row, gateway string) string {
	value, measured := f.values[[2]string{row, gateway}]
	switch {
	case !measured:
		return ""
	case value < 10:
		return fmt.Sprintf("%.2f", value)
	}
	return fmt.Sprintf("%.0f", value)
}

func (f *figures) ratio(row string) string {
	ours, plain := f.values[[2]string{row, "lastcall"}], f.values[[2]string{row, "plain"}]
	if plain == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", ours/plain)
}
