// Package servescreen is what "lastcall serve" shows a person on a terminal: where it is reached and what a drain
// will be, a line for each record, and a drain as it goes.
package servescreen

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/lmittmann/tint"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/printable"
)

// leftOut are attributes that a line for a person is too short for. The other formats of the log have them.
var leftOut = []string{
	"request_id", "trace_id", "deadline", "kind", "remote", "transport", "agent", "stop", "received", "received_bytes", "sent",
	"sent_bytes", "tool_calls", "bad_input", "services", "part", "principal", "leases_unavailable", "leases_lost",
}

// maxValue is how many bytes of a value are shown: a stack is long.
const maxValue = 300

// Handler writes a line for each record: the time, the level, the message, and what tells one record from another. Colours
// are left out where NO_COLOR is set.
func Handler(w io.Writer, least slog.Level) slog.Handler {
	return tint.NewTextHandler(w, &tint.Options{
		Level:       least,
		TimeFormat:  time.TimeOnly,
		NoColor:     os.Getenv("NO_COLOR") != "",
		ReplaceAttr: func(_ []string, attr slog.Attr) slog.Attr { return shorten(attr) },
	})
}

// shorten leaves out an attribute, or makes its value safe to show: tint itself lets escape sequences pass.
func shorten(attr slog.Attr) slog.Attr {
	if slices.Contains(leftOut, attr.Key) || isNothing(attr) {
		return slog.Attr{}
	}
	switch attr.Value.Kind() {
	case slog.KindString:
		return safe(attr, attr.Value.String())
	case slog.KindTime:
		if attr.Key != slog.TimeKey {
			return slog.String(attr.Key, attr.Value.Time().Local().Format(time.TimeOnly))
		}
	case slog.KindAny:
		if _, isLevel := attr.Value.Any().(slog.Level); !isLevel {
			return safe(attr, fmt.Sprint(attr.Value.Any()))
		}
	}
	return attr
}

// isNothing reports whether an attribute says nothing: a workflow or a reason that is empty, no code.
func isNothing(attr slog.Attr) bool {
	switch attr.Value.Kind() {
	case slog.KindString:
		return attr.Value.String() == ""
	case slog.KindInt64:
		return attr.Key == "code" && attr.Value.Int64() == 0
	}
	return false
}

func safe(attr slog.Attr, text string) slog.Attr {
	if len(text) > maxValue {
		text = actors.CutText(text, maxValue) + "…"
	}
	return slog.String(attr.Key, printable.Line(text))
}
