package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/client"
)

// Out of descriptors the admin listener answers, newcomers are refused in words, the log says so once,
// and the sessions that there are go on to be drained.
func TestOutOfDescriptors(t *testing.T) {
	const clients = 31
	p := startLimited(t, "no daemon", "ulimit -n 40", serveArgs(t, "--max-sessions", "30")...)
	listening := p.record("listening")
	p.url, _ = listening["sessions"].(string)
	admin, _ := listening["admin"].(string)

	warned := p.record("--max-sessions is more than the limit on open files allows: raise it (ulimit -n, LimitNOFILE=), or more sessions than fit are refused")
	if fmt.Sprint(warned["max_sessions"], warned["limit"], warned["fit"]) != "30 40 8" {
		t.Errorf("warned %v", warned)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	var ends []<-chan error
	refused := 0
	for i := range clients {
		conn, err := client.Dial(ctx, client.Config{URL: p.url, Start: &dap.StartWorkflowRequest{WorkflowID: fmt.Sprint("w", i)}})
		if err != nil {
			if !strings.Contains(err.Error(), "503") {
				t.Errorf("client %d: %v", i, err)
			}
			refused++
			continue
		}
		t.Cleanup(conn.Cut)
		ends = append(ends, endOf(ctx, conn))
	}
	if len(ends) < 8 || len(ends) > 20 || refused == 0 {
		t.Errorf("%d sessions, %d clients refused", len(ends), refused)
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		status, body := get(t, admin+path)
		if status != http.StatusOK {
			t.Errorf("%s says %d", path, status)
		}
		if full := fmt.Sprintf(`lastcall_requests_refused_total{reason="full"} %d`, refused); path == "/metrics" && !strings.Contains(body, full) {
			t.Errorf("no %s in\n%s", full, body)
		}
	}
	p.record("no descriptors for new connections: they are refused")
	p.drain(syscall.SIGTERM, 0)
	for _, end := range ends {
		wantClose(t, end, actors.CloseGoingAway, "server shutdown")
	}
	if totals := p.report().Totals; totals[actors.Drained] != len(ends) {
		t.Errorf("totals %v, want %d drained", totals, len(ends))
	}
}
