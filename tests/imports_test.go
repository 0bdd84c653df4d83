package tests

import (
	"os/exec"
	"strings"
	"testing"
)

// The core is open to any connection: it brings an embedder no protocol, no transport and no contract.
func TestTheCoreDependsOnItsActorEngineAlone(t *testing.T) {
	const core = "github.com/lastcall-go/lastcall/actors"
	for _, path := range list(t, `{{join .Imports "\n"}}`, core) {
		if strings.Contains(path, ".") && !strings.HasPrefix(path, "github.com/anthdm/hollywood/") {
			t.Errorf("%s imports %s", core, path)
		}
	}
	for _, path := range list(t, "{{.ImportPath}}", "-deps", core) {
		if strings.HasPrefix(path, "github.com/lastcall-go/") && path != core || strings.Contains(path, "/grpc") || path == "net/http" {
			t.Errorf("%s depends on %s", core, path)
		}
	}
}

func list(t *testing.T, format string, args ...string) []string {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list", "-f", format}, args...)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}

// layers are all packages, the lowest first. A package imports only packages of lower layers, so that each can
// be read, tested and embedded without those above it. A new package gets its place here.
var layers = [][]string{
	{"proto/dap", "actors", "transport/printable", "transport/porttest"},
	{"actors/relay"},
	{"actors/actorstest"},
	// What several parts of the transport need.
	{"transport/grant", "transport/codec", "transport/requestid", "transport/tlsconfig", "transport/toolhttp", "transport/logqueue", "transport/history"},
	{"transport/tlsconfig/tlstest", "transport/httpsession", "transport/grpcsession"},
	// One part each: they don't know each other.
	{
		"transport/agentpool", "transport/httpserver", "transport/auth", "transport/client", "transport/scripted",
		"transport/lease", "transport/redislease", "transport/tracing",
		"transport/httptool", "transport/mcptool", "transport/tracktool", "transport/admin/page",
	},
	{"transport", "transport/metrics", "transport/admin", "transport/client/workdir", "transport/loadtest", "transport/lease/leasetest", "transport/admin/page/pagetest"},
	{"transport/gateway"},
	{"cmd/lastcall/internal/systemd", "cmd/lastcall/internal/terminal"},
	{"cmd/lastcall/internal/systemd/systemdtest", "cmd/lastcall/internal/daemon", "cmd/lastcall/internal/serveflags"},
	{"cmd/lastcall/internal/operator", "cmd/lastcall/internal/drainreport"},
	{"cmd/lastcall/internal/operator/operatortest", "cmd/lastcall/internal/top", "cmd/lastcall/internal/fleet", "cmd/lastcall/internal/servescreen", "cmd/lastcall/internal/connectscreen", "cmd/lastcall/internal/measure"},
	{"cmd/lastcall"},
	{"tests", "tests/bench"},
}

func TestImportsGoDownOnly(t *testing.T) {
	const module = "github.com/lastcall-go/lastcall/"
	layer := make(map[string]int)
	for i, packages := range layers {
		for _, name := range packages {
			layer[module+name] = i
		}
	}
	listed := list(t, `{{.ImportPath}}:{{join .Imports ","}}`, module+"...")
	for _, line := range listed {
		path, imports, _ := strings.Cut(line, ":")
		own, known := layer[path]
		if !known {
			t.Errorf("%s has no layer", path)
		}
		for imported := range strings.SplitSeq(imports, ",") {
			if below, ours := layer[imported]; ours && known && below >= own {
				t.Errorf("%s imports %s, which is not below it", path, imported)
			}
		}
	}
	if len(listed) != len(layer) {
		t.Errorf("%d packages have a layer, and there are %d", len(layer), len(listed))
	}
}
