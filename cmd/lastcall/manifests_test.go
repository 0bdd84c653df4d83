package main

import (
	"errors"
	"io"
	"net"
	"regexp"
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

// readmeManifests are the objects of the README's YAML, by kind.
func readmeManifests(t *testing.T) map[string]manifest {
	t.Helper()
	all := make(map[string]manifest)
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(readme(t), -1) {
		decoder := yaml.NewDecoder(strings.NewReader(block[1]))
		for {
			var m manifest
			err := decoder.Decode(&m)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			all[m.Kind] = m
		}
	}
	return all
}

// The README's Deployment runs a command line that the binary takes, with the ports and the paths of
// its probes, and gives it the time that it asks for.
func TestTheReadmesDeploymentFitsTheBinary(t *testing.T) {
	deployment, found := readmeManifests(t)["Deployment"]
	if !found {
		t.Fatal("the README has no Deployment")
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
func TestTheReadmesServiceFindsTheDeployment(t *testing.T) {
	manifests := readmeManifests(t)
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
