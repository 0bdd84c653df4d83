package auth_test

import (
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/lastcall-go/lastcall/transport/auth"
	"github.com/lastcall-go/lastcall/transport/grant"
)

// whole has all that an endpoint can say, and some that it says to others.
const whole = `{
  "GL_ID": "user-1",
  "RepoPath": "ignored",
  "DuoWorkflow": {
    "Service": {
      "URI": "dws.example:443",
      "Headers": {"Authorization": "Bearer s1", "x-gitlab-oauth-token": "t1", "x-gitlab-realm": "saas", "x-empty": "", "x-null": null},
      "Secure": true
    },
    "CloudServiceForSelfHosted": {"URI": "cloud.example:443", "Headers": {"authorization": "Bearer s2"}, "Secure": true},
    "McpServers": {
      "gitlab": {"Headers": {"Authorization": "Bearer s3"}, "Tools": ["get_issue"], "PreApprovedTools": ["get_issue"], "Trusted": true},
      "other": {"URL": "https://mcp.example/mcp?x=1", "Tools": null},
      "none": {"URL": "http://127.0.0.1:1", "Tools": []}
    },
    "LockConcurrentFlow": true,
    "ServerCapabilities": ["advanced_search"],
    "WorkflowID": "77",
    "TimeoutHTTPRequests": true
  }
}`

func wholeGrant() *grant.Grant {
	return &grant.Grant{
		Principal: "user-1",
		Agent: grant.Target{Address: "dws.example:443", TLS: true, Headers: map[string]string{
			"authorization": "Bearer s1", "x-gitlab-oauth-token": "t1", "x-gitlab-realm": "saas", "x-empty": "", "x-null": "",
		}},
		Tracking:   grant.Target{Address: "cloud.example:443", TLS: true, Headers: map[string]string{"authorization": "Bearer s2"}},
		WorkflowID: "77",
		API:        grant.API{URL: "https://api.example", Token: "t1", Timeout: 5 * time.Second},
		MCPServers: map[string]grant.MCPServer{
			"gitlab": {URL: "https://api.example/api/v4/mcp", Headers: map[string]string{"Authorization": "Bearer s3"},
				Tools: []string{"get_issue"}, PreApprovedTools: []string{"get_issue"}, Trusted: true},
			"other": {URL: "https://mcp.example/mcp?x=1"},
			"none":  {URL: "http://127.0.0.1:1", Tools: []string{}},
		},
		Capabilities: []string{"advanced_search"},
		Lock:         true,
	}
}

func TestAGrantIsReadAsWorkhorseReadsIt(t *testing.T) {
	g, err := auth.ParseGrant([]byte(whole))
	if err != nil || !reflect.DeepEqual(*g, *wholeGrant()) {
		t.Errorf("got %v\n%+v\nwant\n%+v", err, *g, *wholeGrant())
	}
}

func TestNamesMatchInAnyCase(t *testing.T) {
	// Names of headers and servers are no names of ours; they aren't in the list.
	names := []string{"GL_ID", "DuoWorkflow", "Service", "URI", "Headers", "Secure", "CloudServiceForSelfHosted", "McpServers", "URL", "Tools",
		"PreApprovedTools", "Trusted", "LockConcurrentFlow", "ServerCapabilities", "WorkflowID", "TimeoutHTTPRequests"}
	for _, change := range []func(string) string{strings.ToLower, strings.ToUpper} {
		body := whole
		for _, name := range names {
			body = strings.ReplaceAll(body, `"`+name+`":`, `"`+change(name)+`":`)
		}
		g, err := auth.ParseGrant([]byte(body))
		if err != nil || !reflect.DeepEqual(*g, *wholeGrant()) {
			t.Errorf("got %v from %s", err, body)
		}
	}
}

func TestWhatTheEndpointDoesNotSayIsTheBases(t *testing.T) {
	defaults := base()
	defaults.WorkflowID, defaults.Lock = "9", true
	said := func(extra string) *grant.Grant {
		t.Helper()
		server := answering(t, 200, "application/json", `{"DuoWorkflow":{"Service":{"URI":"a:1"}`+extra+`}}`)
		g, err := forward(t, auth.ForwardOptions{URL: server.URL, Base: defaults}).Authorize(get())
		if err != nil {
			t.Fatal(err)
		}
		return g
	}

	want := defaults
	want.Principal, want.Agent = "", grant.Target{Address: "a:1", Headers: map[string]string{}}
	if g := said(""); !reflect.DeepEqual(*g, want) {
		t.Errorf("got %+v", *g)
	}
	if g := said(`,"CloudServiceForSelfHosted":{},"McpServers":null,"ServerCapabilities":null,"WorkflowID":"","LockConcurrentFlow":false`); !reflect.DeepEqual(*g, want) {
		t.Errorf("got %+v", *g)
	}

	want.Tracking = grant.Target{Address: "c:1", Headers: map[string]string{}}
	want.MCPServers, want.Capabilities, want.WorkflowID = map[string]grant.MCPServer{}, []string{}, "7"
	if g := said(`,"CloudServiceForSelfHosted":{"URI":"c:1"},"McpServers":{},"ServerCapabilities":[],"WorkflowID":7`); !reflect.DeepEqual(*g, want) {
		t.Errorf("got %+v", *g)
	}
}

func TestAGrantThatCannotBeUsedIsRefusedWithoutQuotingIt(t *testing.T) {
	object := func(n int, value string) string {
		var members []string
		for i := range n {
			members = append(members, fmt.Sprintf(`"n%d":%s`, i, value))
		}
		return "{" + strings.Join(members, ",") + "}"
	}
	array := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat(`"x",`, n), ",") + "]" }
	long := strings.Repeat("x", 33<<10)
	with := func(member string) string { return `{"DuoWorkflow":{"Service":{"URI":"a:1"},` + member + `}}` }
	service := func(members string) string { return `{"DuoWorkflow":{"Service":{"URI":"a:1",` + members + `}}}` }
	mcp := func(members string) string {
		return with(`"McpServers":{"` + canary + `":{"URL":"https://x",` + members + `}}`)
	}

	for body, want := range map[string]string{
		``:                                 "not JSON at byte 0",
		`null`:                             "DuoWorkflow is missing",
		`[]`:                               "value of an unexpected type",
		`{"DuoWorkflow":null}`:             "DuoWorkflow is missing",
		`{"DuoWorkflow":{}}`:               "Service: missing",
		`{"DuoWorkflow":"` + canary + `"}`: "value of an unexpected type before byte",
		`{"DuoWorkflow":{"Service":{}}}`:   "Service: URI is missing",
		`{"DuoWorkflow":{"Service":{"URI":"u:` + canary + `@h"}}}`:                         "Service: URI is no gRPC target",
		`{"DuoWorkflow":{"Service":{"URI":"a:1 ` + canary + `"}}}`:                         "Service: URI is no gRPC target",
		`{"DuoWorkflow":{"Service":{"URI":"\u0007"}}}`:                                     "Service: URI is no gRPC target",
		`{"DuoWorkflow":{"Service":{"URI":"é"}}}`:                                          "Service: URI is no gRPC target",
		`{"DuoWorkflow":{"Service":{"URI":"` + long + `"}}}`:                               "Service: URI is no gRPC target",
		`{"DuoWorkflow":{"Service":{"URI":"grpc://` + canary + `:443"}}}`:                  "Service: URI: no gRPC target: want host:port",
		`{"DuoWorkflow":{"Service":{"URI":"http://` + canary + `"}}}`:                      "Service: URI: no gRPC target: want host:port",
		`{"DuoWorkflow":{"Service":{"URI":"h:` + canary + `"}}}`:                           "Service: URI: no such port",
		`{"DuoWorkflow":{"Service":{"URI":"ipv4:` + canary + `"}}}`:                        "Service: URI: want ipv4 addresses",
		with(`"CloudServiceForSelfHosted":{"URI":"https://` + canary + `"}`):               "CloudServiceForSelfHosted: URI: no gRPC target",
		service(`"Headers":{"connection":"` + canary + `"}`):                               `Service: header "connection" belongs to the connection`,
		service(`"Headers":{"Keep-Alive":"` + canary + `"}`):                               `header "keep-alive"`,
		service(`"Headers":{"Transfer-Encoding":"` + canary + `"}`):                        `header "transfer-encoding"`,
		service(`"Headers":{"host":"` + canary + `"}`):                                     `header "host"`,
		mcp(`"Headers":{"Connection":"` + canary + `"}`):                                   `McpServers: header "connection"`,
		mcp(`"Headers":{"Content-Length":"7"}`):                                            `McpServers: header "content-length"`,
		service(`"Headers":{"` + canary + `":7}`):                                          "value of an unexpected type",
		service(`"Headers":{"":"` + canary + `"}`):                                         "header's name",
		service(`"Headers":{":path":"` + canary + `"}`):                                    "header's name",
		service(`"Headers":{"a b":"` + canary + `"}`):                                      "header's name",
		service(`"Headers":{"é":"` + canary + `"}`):                                        "header's name",
		service(`"Headers":{"grpc-timeout":"` + canary + `"}`):                             "header's name",
		service(`"Headers":{"` + long[:257] + `":"x"}`):                                    "header's name",
		service(`"Headers":{"x":"` + canary + `\r\ny: z"}`):                                "header's value",
		service(`"Headers":{"x":"é` + canary + `"}`):                                       "header's value",
		service(`"Headers":{"x":"` + long + `"}`):                                          "header's value",
		service(`"Headers":{"x-a":"` + canary + `","X-A":"2"}`):                            "header twice",
		service(`"Headers":` + object(65, `"x"`)):                                          "Service: over 64 headers",
		with(`"CloudServiceForSelfHosted":{"URI":" "}`):                                    "CloudServiceForSelfHosted: URI is no gRPC target",
		with(`"WorkflowID":1.5`):                                                           "WorkflowID: neither",
		with(`"WorkflowID":-1`):                                                            "WorkflowID: neither",
		with(`"WorkflowID":{"x":"` + canary + `"}`):                                        "WorkflowID: neither",
		with(`"WorkflowID":true`):                                                          "WorkflowID: neither",
		with(`"WorkflowID":"` + canary + `\n"`):                                            "WorkflowID: empty, over",
		with(`"WorkflowID":` + strings.Repeat("7", 257)):                                   "WorkflowID: empty, over",
		with(`"ServerCapabilities":["` + canary + `\u0000"]`):                              "ServerCapabilities: empty, over",
		with(`"ServerCapabilities":` + array(257)):                                         "ServerCapabilities: over 256",
		with(`"McpServers":{"` + canary + `":{}}`):                                         "McpServers: want an http or https URL",
		with(`"McpServers":{"x":{"URL":"ftp://` + canary + `"}}`):                          "McpServers: want an http or https URL",
		with(`"McpServers":{"x":{"URL":"http://u:` + canary + `@x"}}`):                     "McpServers: want an http or https URL",
		with(`"McpServers":{"x":{"URL":"http://x/` + long + `"}}`):                         "McpServers: URL over 2048 bytes",
		with(`"McpServers":{"":{"URL":"http://x"}}`):                                       "McpServers: name: empty",
		with(`"McpServers":` + object(33, `{"URL":"http://x"}`)):                           "McpServers: over 32",
		mcp(`"Headers":{"a b":"` + canary + `"}`):                                          "header is not for HTTP",
		mcp(`"Headers":{"":"` + canary + `"}`):                                             "header is not for HTTP",
		mcp(`"Headers":{"x":"` + canary + `\r\n"}`):                                        "header is not for HTTP",
		mcp(`"Headers":{"x":"` + long + `"}`):                                              "header is not for HTTP",
		mcp(`"Headers":` + object(65, `"x"`)):                                              "over 64 headers",
		mcp(`"Tools":` + array(1001)):                                                      "list of Tools: over 1000",
		mcp(`"PreApprovedTools":[""]`):                                                     "list of PreApprovedTools: empty",
		`{"GL_ID":"` + canary + `\n","DuoWorkflow":{"Service":{"URI":"a:1"}}}`:             "principal: empty, over",
		`{"GL_ID":7,"DuoWorkflow":{"Service":{"URI":"a:1"}}}`:                              "value of an unexpected type",
		strings.Repeat(`{"DuoWorkflow":`, 20_000) + canary:                                 "not JSON at byte",
		strings.Repeat(`[`, 20_000):                                                        "not JSON at byte",
		`{"` + canary + `":` + strings.Repeat(`[`, 9000) + strings.Repeat(`]`, 9000) + `}`: "DuoWorkflow is missing",
	} {
		g, err := auth.ParseGrant([]byte(body))
		if g != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.200s: got %v, %v, want %s", body, g, err, want)
			continue
		}
		mustNotTell(t, err)
	}
}

func TestThePlatformsOwnServersMayHaveAURL(t *testing.T) {
	g, err := auth.ParseGrant([]byte(`{"DuoWorkflow":{"Service":{"URI":"a:1"},"WorkflowID":null,"McpServers":{"gitlab":{"URL":"https://mcp.example"},"orbit":{}}}}`))
	if err != nil || g.MCPServers["gitlab"].URL != "https://mcp.example" || g.MCPServers["orbit"].URL != "https://api.example/api/v4/orbit/mcp" {
		t.Errorf("got %v, %v", g, err)
	}
}

func TestAGrantAtTheBoundsIsTaken(t *testing.T) {
	long := strings.Repeat("x", 32<<10)
	body := `{"GL_ID":"é` + long[:254] + `","DuoWorkflow":{"Service":{"URI":"dns:///a:1","Headers":{"` + long[:256] + `":"` + long + `","a.b-c_9":"~ "}},
		"McpServers":{"ä b":{"URL":"https://[::1]:8443/x","Headers":{"X-!#$%&'*+.^_|~":"ü"},"Tools":["a/b"]}},"WorkflowID":"gid://gitlab/7"}}`
	g, err := auth.ParseGrant([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	if len(g.Agent.Headers[long[:256]]) != len(long) || g.WorkflowID != "gid://gitlab/7" || g.MCPServers["ä b"].Tools[0] != "a/b" || g.API != (grant.API{}) {
		t.Errorf("got %+v", *g)
	}
}

func FuzzGrant(f *testing.F) {
	for _, seed := range []string{
		whole, smallest, "", "null", "[]", `{"DuoWorkflow":{}}`, `{"DuoWorkflow":{"Service":{"URI":"SECRET @"}}}`,
		`{"DuoWorkflow":{"Service":{"URI":"a:1","Headers":{"SECRET":"SECRET\n","x-gitlab-oauth-token":"SECRET"}}}}`,
		`{"DuoWorkflow":{"Service":{"URI":"a:1","Headers":{"X":"a","x":"SECRET"}},"WorkflowID":"SECRET\u0000"}}`,
		`{"DuoWorkflow":{"Service":{"URI":"a:1"},"McpServers":{"SECRET":{"URL":"http://SECRET:SECRET@x"}},"WorkflowID":7}}`,
		`{"GL_ID":"SECRET\n","DuoWorkflow":{"Service":{"URI":"a:1"},"ServerCapabilities":["SECRET\n"]}}`,
		`{"duoworkflow":{"SERVICE":{"uri":"a:1","secure":"SECRET"}}}`, `{"DuoWorkflow":{"Service":{"URI":"\ud800\u0000"}}}`, "{\"\xff\":SECRET",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		g, err := auth.ParseGrant([]byte(strings.ReplaceAll(string(body), "SECRET", canary)))
		if err != nil {
			if g != nil || strings.Contains(err.Error(), canary) || len(err.Error()) > 256 {
				t.Errorf("error tells too much: %v", err)
			}
			return
		}
		checkGrant(t, g)
	})
}

// checkGrant is what every grant of an endpoint has, whatever its answer was.
func checkGrant(t *testing.T, g *grant.Grant) {
	texts := append([]string{g.Principal, g.WorkflowID, g.API.Token, g.Agent.Address, g.Tracking.Address}, g.Capabilities...)
	if g.Agent.Address == "" || len(g.Agent.Headers) > 64 || len(g.Tracking.Headers) > 64 || len(g.MCPServers) > 32 || len(g.Capabilities) > 256 {
		t.Errorf("out of bounds: %+v", *g)
	}
	if (g.API.URL == "") != (g.API.Token == "") {
		t.Errorf("API %+v", g.API)
	}
	for _, headers := range []map[string]string{g.Agent.Headers, g.Tracking.Headers} {
		for name, value := range headers {
			if name != strings.ToLower(name) {
				t.Errorf("header %q", name)
			}
			texts = append(texts, name, value)
		}
	}
	for name, server := range g.MCPServers {
		u, err := url.Parse(server.URL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
			t.Errorf("URL %q", server.URL)
		}
		if len(server.Tools) > 1000 || len(server.PreApprovedTools) > 1000 || len(server.Headers) > 64 {
			t.Errorf("out of bounds: %+v", server)
		}
		texts = append(append(append(texts, name), server.Tools...), server.PreApprovedTools...)
		for name, value := range server.Headers {
			texts = append(texts, name, value)
		}
	}
	for _, text := range texts {
		if len(text) > 32<<10 || strings.ContainsFunc(text, unicode.IsControl) {
			t.Errorf("text %q", text)
		}
	}
}
