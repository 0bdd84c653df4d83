package transport_test

import (
	"slices"
	"testing"

	"github.com/lastcall-go/lastcall/transport"
)

func TestCapabilitiesAreTheKnownOnesOfTheClientThenOfTheServer(t *testing.T) {
	for name, c := range map[string]struct{ client, server, want []string }{
		"both": {
			client: []string{"web_search", "shell_command"},
			server: []string{"advanced_search"},
			want:   []string{"web_search", "shell_command", "advanced_search"},
		},
		"unknown ones are dropped": {
			client: []string{"mind_reading", "web_search"},
			server: []string{"time_travel"},
			want:   []string{"web_search"},
		},
		"a client can't speak for the server": {
			client: []string{"advanced_search", "web_search"},
			want:   []string{"web_search"},
		},
		"nor the server for the client": {
			server: []string{"web_search", "advanced_search"},
			want:   []string{"advanced_search"},
		},
		"repetition is dropped": {
			client: []string{"web_search", "web_search"},
			server: []string{"advanced_search", "advanced_search"},
			want:   []string{"web_search", "advanced_search"},
		},
		"none": {},
	} {
		t.Run(name, func(t *testing.T) {
			got := transport.Capabilities(c.client, c.server, transport.DefaultClientCapabilities(), transport.DefaultServerCapabilities())
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestWhatBothSidesKnowIsToldOnce(t *testing.T) {
	both := []string{"shared"}
	if got := transport.Capabilities(both, both, both, both); !slices.Equal(got, both) {
		t.Errorf("got %q, want %q", got, both)
	}
}
