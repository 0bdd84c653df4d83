package main

import (
	"errors"
	"io"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// manifest is what these tests look at of a Kubernetes object.
type manifest struct {
	Kind string
	Spec struct {
		Selector map[string]any
		Ports    []struct {
			TargetPort string `yaml:"targetPort"`
		}
		Template struct {
			Metadata struct{ Labels map[string]string }
			Spec     struct {
				TerminationGracePeriodSeconds int `yaml:"terminationGracePeriodSeconds"`
				Containers                    []container
				Volumes                       []struct{ Name string }
			}
		}
	}
}

type container struct {
	Args  []string
	Ports []struct {
		Name          string
		ContainerPort int `yaml:"containerPort"`
	}
	ReadinessProbe probe `yaml:"readinessProbe"`
	LivenessProbe  probe `yaml:"livenessProbe"`
	Lifecycle      any
	VolumeMounts   []struct {
		Name      string
		MountPath string `yaml:"mountPath"`
	} `yaml:"volumeMounts"`
}

type probe struct {
	HTTPGet struct{ Path, Port, Scheme string } `yaml:"httpGet"`
}

// exampleManifests are the objects of the Kubernetes example, by kind.
func exampleManifests(t *testing.T) map[string]manifest {
	t.Helper()
	all := make(map[string]manifest)
	decoder := yaml.NewDecoder(strings.NewReader(deployed(t, "kubernetes.yaml")))
	for {
		var m manifest
		err := decoder.Decode(&m)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all[m.Kind] = m
	}
}

// The Deployment runs a command line that the binary takes, with the ports and the paths of
// its probes, and gives it the time that it asks for.
func TestTheDeploymentFitsTheBinary(t *testing.T) {
	deployment, found := exampleManifests(t)["Deployment"]
	if !found {
		t.Fatal("there is no Deployment")
	}
	pod := deployment.Spec.Template.Spec
	c := pod.Containers[0]
	var grammar cli
	if _, err := parserOf(&grammar).Parse(c.Args); err != nil {
		t.Fatal(err)
	}
	serve := &grammar.Serve
	if err := serve.CheckAuth(serve.Listen, serve.Admin); err != nil {
		t.Error(err)
	}
	if _, err := serve.Fit(); err != nil {
		t.Error(err)
	}
	if given := time.Duration(pod.TerminationGracePeriodSeconds) * time.Second; given <= serve.ShutdownTimeout {
		t.Errorf("the pod is given %v, and --shutdown-timeout is %v", given, serve.ShutdownTimeout)
	}
	ports := make(map[string]string)
	for _, port := range c.Ports {
		ports[port.Name] = strconv.Itoa(port.ContainerPort)
	}
	for name, address := range map[string]string{"sessions": serve.Listen, "admin": serve.Admin} {
		if _, port, err := net.SplitHostPort(address); err != nil || ports[name] != port {
			t.Errorf("port %s is %s, serve listens on %s", name, ports[name], address)
		}
	}
	for path, p := range map[string]probe{"/readyz": c.ReadinessProbe, "/healthz": c.LivenessProbe} {
		if p.HTTPGet.Path != path || p.HTTPGet.Port != "admin" || (p.HTTPGet.Scheme == "HTTPS") != (serve.TLSCert != "") {
			t.Errorf("%+v, want %s on the admin port", p, path)
		}
	}
	if c.Lifecycle != nil || serve.DrainDelay == 0 {
		t.Error("without a preStop it is --drain-delay that gives the endpoints time")
	}
	if len(c.VolumeMounts) != 1 || len(pod.Volumes) != 1 || c.VolumeMounts[0].Name != pod.Volumes[0].Name || !strings.HasPrefix(serve.AuthTokens, c.VolumeMounts[0].MountPath+"/") {
		t.Errorf("the tokens at %s are in none of %+v", serve.AuthTokens, c.VolumeMounts)
	}
}

// What the Service and the disruption budget select is the Deployment's.
func TestTheServiceFindsTheDeployment(t *testing.T) {
	manifests := exampleManifests(t)
	app := manifests["Deployment"].Spec.Template.Metadata.Labels["app"]
	service, budget := manifests["Service"].Spec, manifests["PodDisruptionBudget"].Spec
	if app == "" || service.Selector["app"] != app {
		t.Errorf("the Service selects %v, the pods are %q", service.Selector, app)
	}
	if labels, _ := budget.Selector["matchLabels"].(map[string]any); labels["app"] != app {
		t.Errorf("the budget selects %v, the pods are %q", budget.Selector, app)
	}
	if len(service.Ports) != 1 || service.Ports[0].TargetPort != "sessions" {
		t.Errorf("the Service has the ports %+v: the admin port is not for everybody", service.Ports)
	}
}

// composeService is what the test looks at of a service of Docker Compose.
type composeService struct {
	Command         []string
	StopGracePeriod string `yaml:"stop_grace_period"`
	Ports, Volumes  []string
	DependsOn       []string `yaml:"depends_on"`
	Healthcheck     struct{ Test []string }
}

// The services of the Compose file run command lines that the binary takes, find each other by name, and
// the gateway gets the time that it asks for.
func TestTheComposeFileFitsTheBinary(t *testing.T) {
	var file struct{ Services map[string]composeService }
	if err := yaml.Unmarshal([]byte(deployed(t, "compose.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	gateway, agent := file.Services["gateway"], file.Services["agent"]
	var grammar cli
	if _, err := parserOf(&grammar).Parse(gateway.Command); err != nil {
		t.Fatal(err)
	}
	serve := &grammar.Serve
	if _, err := serve.Fit(); err != nil {
		t.Error(err)
	}
	if err := serve.CheckAuth(serve.Listen, serve.Admin); err != nil {
		t.Error(err)
	}
	if given := seconds(t, gateway.StopGracePeriod); given <= serve.ShutdownTimeout {
		t.Errorf("the gateway is given %v, and --shutdown-timeout is %v", given, serve.ShutdownTimeout)
	}
	if want := []string{"8080:" + portIn(t, serve.Listen), "127.0.0.1:8081:" + portIn(t, serve.Admin)}; !slices.Equal(gateway.Ports, want) {
		t.Errorf("the ports are %v, want %v: the admin port is for this machine alone", gateway.Ports, want)
	}
	if want := "./tokens:" + serve.AuthTokens + ":ro"; !slices.Equal(gateway.Volumes, []string{want}) {
		t.Errorf("the volumes are %v, want %s", gateway.Volumes, want)
	}
	if test := gateway.Healthcheck.Test; len(test) != 3 || test[0] != "CMD" || test[1] != "lastcall" {
		t.Errorf("the health check is %v", test)
	} else if _, err := parserOf(new(cli)).Parse(test[2:]); err != nil {
		t.Error(err)
	}
	var other cli
	if _, err := parserOf(&other).Parse(agent.Command); err != nil {
		t.Fatal(err)
	}
	if want := "agent:" + portIn(t, other.Agent.Listen); serve.Agent != want {
		t.Errorf("--agent is %s, want %s", serve.Agent, want)
	}
	for _, name := range gateway.DependsOn {
		if _, found := file.Services[name]; !found {
			t.Errorf("the gateway depends on %s, which is no service", name)
		}
	}
	if store, err := url.Parse(serve.LeaseURL); err != nil || !slices.Contains(gateway.DependsOn, store.Hostname()) {
		t.Errorf("the lease store at %s is not among %v: %v", serve.LeaseURL, gateway.DependsOn, err)
	}
}

func portIn(t *testing.T, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return port
}
