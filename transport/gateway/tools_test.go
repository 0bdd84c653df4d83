package gateway

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/agentpool"
	"github.com/lastcall-go/lastcall/transport/grant"
)

const apiToken = "api-s3cret"

var (
	asksAPI   = &dap.Action{Action: &dap.Action_RunHTTPRequest{RunHTTPRequest: &dap.RunHTTPRequest{Method: "GET", Path: "/api/v4/user"}}}
	asksTrack = &dap.Action{Action: &dap.Action_TrackLlmCallForSelfHosted{TrackLlmCallForSelfHosted: &dap.TrackLlmCallForSelfHosted{WorkflowID: "w1"}}}
	asksMkdir = &dap.Action{Action: &dap.Action_Mkdir{Mkdir: &dap.Mkdir{DirectoryPath: "d"}}}
)

func TestASessionHasTheToolsOfItsGrant(t *testing.T) {
	pool, err := agentpool.New(agentpool.Options{Target: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	api, servers, track := grant.API{URL: "https://api.example", Token: apiToken}, map[string]grant.MCPServer{"files": {}}, grant.Target{Address: "127.0.0.1:1"}
	for name, test := range map[string]struct {
		granted grant.Grant
		tools   int
		takes   *dap.Action
		warns   bool
	}{
		"nothing":  {},
		"API":      {granted: grant.Grant{API: api}, tools: 1, takes: asksAPI},
		"no URL":   {granted: grant.Grant{API: grant.API{URL: "ftp://" + apiToken, Token: apiToken}}, warns: true},
		"MCP":      {granted: grant.Grant{MCPServers: servers}, tools: 1},
		"tracking": {granted: grant.Grant{Tracking: track}, tools: 1, takes: asksTrack},
		"all":      {granted: grant.Grant{API: api, MCPServers: servers, Tracking: track}, tools: 3, takes: asksTrack},
	} {
		var log bytes.Buffer
		tools := (&Gateway{agents: pool, options: Options{Log: slog.New(slog.NewTextHandler(&log, nil))}}).toolbox(http.DefaultTransport)(&test.granted, httptest.NewRequest("GET", "/", nil))
		takes := func(action *dap.Action) bool {
			return slices.ContainsFunc(tools, func(tool relay.Tool) bool { return tool.Takes(action) })
		}
		if len(tools) != test.tools || test.takes != nil && !takes(test.takes) || takes(asksMkdir) {
			t.Errorf("%s: %d tools, %v", name, len(tools), tools)
		}
		if (log.Len() > 0) != test.warns || strings.Contains(log.String(), apiToken) {
			t.Errorf("%s: log %q", name, log.String())
		}
	}
}

func TestTheAPIIsToldOfAllProxies(t *testing.T) {
	told := make(chan http.Header, 1)
	api := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { told <- r.Header }))
	defer api.Close()
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "192.0.2.3:1234"
	r.Header["X-Forwarded-For"] = []string{"192.0.2.1", "192.0.2.2"}
	r.Header.Set("User-Agent", "ide/7")
	shared := &http.Transport{}
	defer shared.CloseIdleConnections()
	asked := func(options Options) http.Header {
		tool := (&Gateway{options: options}).toolbox(shared)(&grant.Grant{API: grant.API{URL: api.URL, Token: apiToken}}, r)[0]
		if _, err := tool.Run(t.Context(), asksAPI); err != nil {
			t.Fatal(err)
		}
		return <-told
	}
	if got := asked(Options{APIUserAgent: "Agent-Flow"}).Get("User-Agent"); got != "Agent-Flow" {
		t.Errorf("with --api-user-agent, User-Agent: %s", got)
	}
	header := asked(Options{Version: "v7"})
	if got := header.Get("X-Forwarded-For"); got != "192.0.2.1, 192.0.2.2, 192.0.2.3" {
		t.Errorf("X-Forwarded-For: %s", got)
	}
	if got := header.Get("User-Agent"); got != "ide/7 lastcall/v7" {
		t.Errorf("User-Agent: %s", got)
	}
}
