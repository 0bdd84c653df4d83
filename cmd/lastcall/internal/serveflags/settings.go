package serveflags

import (
	"fmt"
	"reflect"
	"time"

	"github.com/alecthomas/kong"
)

// Settings are the flags that differ from their defaults: "--drain-grace=5s". Of a text, which may hold a secret or lead to
// one, only the flag's name is shown.
func Settings(flags []*kong.Flag) []string {
	settings := []string{}
	for _, flag := range flags {
		value := flag.Target
		if !value.IsValid() || fmt.Sprint(value.Interface()) == flag.Default || value.IsZero() && flag.Default == "" {
			continue
		}
		text := "--" + flag.Name
		if d, isDuration := value.Interface().(time.Duration); isDuration {
			if byDefault, err := time.ParseDuration(flag.Default); err == nil && byDefault == d {
				continue
			}
		}
		if isPlain(flag, value) {
			text += fmt.Sprintf("=%v", value.Interface())
		}
		settings = append(settings, text)
	}
	return settings
}

// isPlain reports whether a value is a number, a duration, a yes or no, or one of a few words.
func isPlain(flag *kong.Flag, value reflect.Value) bool {
	switch value.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int64, reflect.Uint64, reflect.Float64:
		return true
	}
	return flag.Enum != ""
}
