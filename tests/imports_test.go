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
