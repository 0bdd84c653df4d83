package main

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/unit"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/systemd"
)

// unitFile is a systemd unit that "lastcall example" prints.
type unitFile struct {
	name    string
	options []*unit.UnitOption
}

// all are the values of an option.
func (u unitFile) all(section, name string) (values []string) {
	for _, o := range u.options {
		if o.Section == section && o.Name == name {
			values = append(values, o.Value)
		}
	}
	return values
}

// value is that of an option that is there once.
func (u unitFile) value(t *testing.T, section, name string) string {
	t.Helper()
	values := u.all(section, name)
	if len(values) != 1 {
		t.Fatalf("%s: %d times %s=, want it once", u.name, len(values), name)
	}
	return values[0]
}

// exampleUnits are the units whose names end so.
func exampleUnits(t *testing.T, suffix string) (units []unitFile) {
	t.Helper()
	for _, name := range exampleFiles["systemd"] {
		if !strings.HasSuffix(name, suffix) {
			continue
		}
		options, err := unit.DeserializeOptions(strings.NewReader(deployed(t, name)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		units = append(units, unitFile{name, options})
	}
	if len(units) == 0 {
		t.Fatalf("there is no %s", suffix)
	}
	return units
}

// seconds reads a time span of systemd's: seconds, or with units that Go knows too.
func seconds(t *testing.T, text string) time.Duration {
	t.Helper()
	if n, err := strconv.Atoi(text); err == nil {
		return time.Duration(n) * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// execStart is the service's command line, as serve understands it.
func execStart(t *testing.T, service unitFile) *serveCmd {
	t.Helper()
	line := service.value(t, "Service", "ExecStart")
	if strings.ContainsAny(line, `%$"'\;`) {
		t.Fatalf("ExecStart=%s: this test doesn't know what systemd makes of that", line)
	}
	words := strings.Fields(line)
	if !filepath.IsAbs(words[0]) || filepath.Base(words[0]) != "lastcall" || words[1] != "serve" {
		t.Errorf("ExecStart=%s: want lastcall serve, by its full path", line)
	}
	var grammar cli
	if _, err := parserOf(&grammar).Parse(words[1:]); err != nil {
		t.Fatalf("ExecStart=%s: %v", line, err)
	}
	if _, err := grammar.Serve.Fit(); err != nil {
		t.Errorf("ExecStart=%s: %v", line, err)
	}
	return &grammar.Serve
}

func TestTheServiceUnitFitsTheBinary(t *testing.T) {
	for _, service := range exampleUnits(t, ".service") {
		serve := execStart(t, service)
		if kind := service.value(t, "Service", "Type"); kind != "notify" {
			t.Errorf("Type=%s, and the binary notifies", kind)
		}
		if who := service.value(t, "Service", "NotifyAccess"); who != "main" {
			t.Errorf("NotifyAccess=%s, and the main process alone notifies", who)
		}
		if watchdog := seconds(t, service.value(t, "Service", "WatchdogSec")); watchdog < time.Second {
			t.Errorf("WatchdogSec= is %v", watchdog)
		}
		if stop := seconds(t, service.value(t, "Service", "TimeoutStopSec")); stop <= serve.ShutdownTimeout {
			t.Errorf("TimeoutStopSec= is %v, --shutdown-timeout %v: systemd would kill first", stop, serve.ShutdownTimeout)
		}
		if reload := service.value(t, "Service", "ExecReload"); strings.Contains(reload, "-HUP") && serve.Auth != "tokens" {
			t.Errorf("ExecReload=%s: without tokens to read again a hangup drains", reload)
		}
		if codes := service.value(t, "Service", "RestartPreventExitStatus"); codes != strconv.Itoa(exitUsage) {
			t.Errorf("RestartPreventExitStatus=%s, want what can't get better by itself: %d", codes, exitUsage)
		}
	}
}

func TestTheSocketUnitsAreThoseThatTheBinaryTakes(t *testing.T) {
	service := exampleUnits(t, ".service")[0]
	serve := execStart(t, service)
	required := strings.Fields(strings.Join(service.all("Unit", "Requires"), " "))
	for _, socket := range exampleUnits(t, ".socket") {
		name := socket.value(t, "Socket", "FileDescriptorName")
		if name != systemd.SessionsSocket && name != systemd.AdminSocket {
			t.Errorf("%s: FileDescriptorName=%s is no name that serve knows", socket.name, name)
		}
		if !slices.Contains(required, socket.name) {
			t.Errorf("%s doesn't require %s: without it the binary would listen where its flags say", service.name, socket.name)
		}
		if accept := socket.all("Socket", "Accept"); len(accept) > 0 && accept[0] != "no" {
			t.Errorf("%s: Accept=%s", socket.name, accept[0])
		}
		address := socket.value(t, "Socket", "ListenStream")
		if _, err := strconv.Atoi(address); err == nil {
			address = "[::]:" + address
		}
		listen, admin := address, serve.Admin
		if name == systemd.AdminSocket {
			listen, admin = serve.Listen, address
		}
		if err := serve.CheckAuth(listen, admin); err != nil {
			t.Errorf("%s: %v", socket.name, err)
		}
	}
}
