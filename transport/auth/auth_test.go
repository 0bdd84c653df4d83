package auth_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/lastcall-go/lastcall/transport/auth"
	"github.com/lastcall-go/lastcall/transport/grant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// canary is in everything that must not be shown.
const canary = "s3cr3t-c4n4ry"

// base is a grant with something secret in each place that can hold it.
func base() grant.Grant {
	headers := map[string]string{"authorization": "Bearer " + canary}
	return grant.Grant{
		Principal:    "nobody",
		Agent:        grant.Target{Address: "agent.example:443", TLS: true, Headers: headers},
		Tracking:     grant.Target{Address: "cloud.example:443", Headers: headers},
		API:          grant.API{URL: "https://gitlab.example", Token: canary},
		MCPServers:   map[string]grant.MCPServer{"base": {URL: "https://mcp.example", Headers: headers, Tools: []string{"a"}, PreApprovedTools: []string{"a"}}},
		Capabilities: []string{"advanced_search"},
	}
}

// mustNotTell prints values in every way that fmt has.
func mustNotTell(t *testing.T, values ...any) {
	t.Helper()
	for _, value := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			text := fmt.Sprintf(verb, value)
			if strings.Contains(text, canary) || strings.Contains(text, fmt.Sprintf("%x", canary)) {
				t.Errorf("%T printed with %s tells a secret: %s", value, verb, text)
			}
		}
		if err, ok := value.(error); ok && err != nil {
			type unwrapper interface{ Unwrap() error }
			if u, ok := err.(unwrapper); ok {
				mustNotTell(t, u.Unwrap())
			}
		}
	}
}

func get(authorization ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/api/v4/ai/duo_workflows/ws?project_id=7", nil)
	r.Header["Authorization"] = authorization
	return r
}

func TestNoneGrantsEverybodyTheSame(t *testing.T) {
	none := &auth.None{Base: base()}
	for _, r := range []*http.Request{get(), get("Bearer x")} {
		g, err := none.Authorize(r)
		if err != nil || g.Principal != "" || g.Agent.Address != "agent.example:443" || g.API.Token != canary {
			t.Errorf("got %v, %v", g, err)
		}
	}
	mustNotTell(t, none)
}

func TestNoneOfASessionsChangesReachesAnother(t *testing.T) {
	none := &auth.None{Base: base()}
	for range 2 {
		g, _ := none.Authorize(get())
		server := g.MCPServers["base"]
		if g.Agent.Headers["x"] != "" || g.Tracking.Headers["x"] != "" || server.Headers["x"] != "" ||
			g.Capabilities[0] != "advanced_search" || server.Tools[0] != "a" || server.PreApprovedTools[0] != "a" || len(g.MCPServers) != 1 {
			t.Fatal("another session's change is seen")
		}
		g.Agent.Headers["x"], g.Tracking.Headers["x"], server.Headers["x"] = "1", "1", "1"
		g.Capabilities[0], server.Tools[0], server.PreApprovedTools[0] = "x", "x", "x"
		g.MCPServers["other"] = server
	}
}
