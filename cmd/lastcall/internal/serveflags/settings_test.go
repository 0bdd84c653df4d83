package serveflags

import (
	"slices"
	"testing"

	"github.com/alecthomas/kong"
)

// The page shows what was set, and nothing that may be a secret or lead to one.
func TestSettingsAreTheFlagsThatDifferWithoutSecrets(t *testing.T) {
	for _, test := range []struct {
		args, want []string
	}{
		{nil, []string{}},
		{[]string{"--drain-grace", "0s", "--shutdown-timeout", "25s"}, []string{}}, // these are the defaults
		{
			[]string{"--lock", "--drain-grace", "5s", "--max-sessions", "10", "--lease-url", "redis://ada:hunter2@host", "--auth", "none"},
			[]string{"--auth=none", "--drain-grace=5s", "--lease-url", "--lock=true", "--max-sessions=10"},
		},
	} {
		var flags struct{ Flags }
		command, err := kong.Must(&flags).Parse(test.args)
		if err != nil {
			t.Fatal(err)
		}
		got := Settings(command.Model.Node.Flags)
		slices.Sort(got)
		if !slices.Equal(got, test.want) {
			t.Errorf("%q: %q, want %q", test.args, got, test.want)
		}
	}
}
