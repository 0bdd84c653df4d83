package grant_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/lastcall-go/lastcall/transport/grant"
)

func TestAnAddressThatGRPCCanUseIsTaken(t *testing.T) {
	for _, address := range []string{
		"agent", "agent:443", "agent:https", "agent.example:50052", "10.0.0.1:1", "10.0.0.1", "[::1]:1", "::1",
		"dns:agent:1", "dns:///agent:1", "dns:///agent", "dns://10.0.0.53/agent:1",
		"ipv4:10.0.0.1:1", "ipv4:10.0.0.1:1,10.0.0.2:2", "ipv4:10.0.0.1", "ipv4:///10.0.0.1:1,10.0.0.2:1",
		"ipv6:[::1]:1,[::2]:2", "ipv6:::1", "ipv6:[::1]",
		"unix:/run/agent", "unix:///run/agent", "unix-abstract:agent", "passthrough:///what:ever",
	} {
		if err := grant.CheckAddress(address); err != nil {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestAnAddressThatGRPCCannotUseIsRefusedWithoutQuotingIt(t *testing.T) {
	for address, want := range map[string]string{
		"":                              "incomplete",
		"hunter2:":                      "incomplete",
		"dns:///":                       "incomplete",
		"dns:":                          "incomplete",
		"unix:":                         "incomplete",
		"passthrough:///":               "incomplete",
		"grpc://hunter2:1":              "no gRPC target",
		"grpcs://hunter2:1":             "no gRPC target",
		"http://hunter2":                "no gRPC target",
		"https://hunter2:443/":          "no gRPC target",
		"tcp://hunter2:1":               "no gRPC target",
		"dns:///http://hunter2":         "no gRPC target",
		"hunter2:1:2":                   "no gRPC target",
		"hunter2:1,hunter2:2":           "no gRPC target",
		"u:hunter2@h":                   "no gRPC target",
		"agent:99999":                   "no such port",
		"agent:hunter2":                 "no such port",
		"ipv4:":                         "want ipv4 addresses",
		"ipv4:hunter2:1":                "want ipv4 addresses",
		"ipv4:10.0.0.1:1,":              "want ipv4 addresses",
		"ipv4:[::1]:1":                  "want ipv4 addresses",
		"ipv4:10.0.0.1:1,hunter2:2":     "want ipv4 addresses",
		"ipv4:10.0.0.1:0":               "want ipv4 addresses",
		"ipv6:10.0.0.1:1":               "want ipv6 addresses",
		"ipv4:10.0.0.1:1;10.0.0.2:1":    "want ipv4 addresses",
		"ipv4://10.0.0.1:1,10.0.0.2:1/": "want ipv4 addresses",
	} {
		err := grant.CheckAddress(address)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: got %v, want %s", address, err, want)
		}
	}
}

func TestAddressesHaveGRPCsPortWhereNoneIsGiven(t *testing.T) {
	got, err := grant.Addresses("ipv6", "[::1]:7,::2,[::3]")
	if want := []string{"[::1]:7", "[::2]:443", "[::3]:443"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}
