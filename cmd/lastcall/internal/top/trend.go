package top

import (
	"strings"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator"
	"github.com/lastcall-go/lastcall/transport/history"
)

// trendWidth is how many cells a line of the last hour takes.
const trendWidth = 20

// trendText is "last hour: sessions ▁▂▃▅▇ 459 · stop p99 ▁▇ 2.5s". Empty: there is no sample yet.
func trendText(past *history.View, now time.Time) string {
	if past == nil || len(past.Samples) == 0 {
		return ""
	}
	last := past.Samples[len(past.Samples)-1]
	text := "last hour: sessions " + sparkline(past.Samples, now, func(s *history.Sample) float64 {
		return float64(s.Opening + s.Serving + s.Stopping + s.Closing)
	}) + " " + operator.Count(last.Opening+last.Serving+last.Stopping+last.Closing)
	stops := sparkline(past.Samples, now, func(s *history.Sample) float64 { return time.Duration(s.StopP99).Seconds() })
	if strings.Trim(stops, " ") == "" {
		return text
	}
	return text + " · stop p99 " + stops + " " + lastStop(past.Samples).String()
}

// lastStop is the last stop time that is known.
func lastStop(samples []history.Sample) actors.Seconds {
	for i := len(samples) - 1; i >= 0; i-- {
		if samples[i].StopP99 > 0 {
			return samples[i].StopP99
		}
	}
	return 0
}

// sparkline is the last hour in cells, each the largest value of its minutes. A blank is nothing, or no sample.
func sparkline(samples []history.Sample, now time.Time, value func(*history.Sample) float64) string {
	const levels = "▁▂▃▄▅▆▇█"
	var cells [trendWidth]float64
	most := 0.0
	for i := range samples {
		age := now.Sub(samples[i].At)
		at := trendWidth - 1 - int(age*trendWidth/time.Hour)
		if age < 0 {
			at = trendWidth - 1 // the clock that it was taken by may be ahead of ours
		}
		if at >= 0 {
			cells[at] = max(cells[at], value(&samples[i]))
			most = max(most, cells[at])
		}
	}
	var line strings.Builder
	for _, v := range cells {
		if v == 0 {
			line.WriteByte(' ')
			continue
		}
		line.WriteRune([]rune(levels)[min(7, int(v/most*8))])
	}
	return line.String()
}
