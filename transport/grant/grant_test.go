package grant_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lastcall-go/lastcall/transport/grant"
)

func TestNoVerbShowsASecret(t *testing.T) {
	const secret = "s3cret"
	headers := map[string]string{"x-token": secret}
	g := grant.Grant{
		Principal:  "ada",
		Agent:      grant.Target{Address: "agent:1", Headers: headers},
		API:        grant.API{URL: "https://api", Token: secret},
		MCPServers: map[string]grant.MCPServer{"files": {URL: "https://mcp", Headers: headers}},
	}
	for _, value := range []any{g, &g, g.Agent, &g.Agent, g.API, &g.API, g.MCPServers, g.MCPServers["files"], []grant.Grant{g}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
			if shown := fmt.Sprintf(verb, value); strings.Contains(shown, secret) {
				t.Errorf("%s of %T shows the secret: %s", verb, value, shown)
			}
		}
	}
	if shown := fmt.Sprint(&g); shown != `grant for "ada"` {
		t.Errorf("shown as %s", shown)
	}
}
