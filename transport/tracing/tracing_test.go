package tracing_test

import (
	"context"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/lastcall-go/lastcall/transport/tracing"
)

func TestAnEndpointThatLeavesSomethingToGuessIsRefused(t *testing.T) {
	for endpoint, want := range map[string]string{
		"":                           "http://host:4317 (plaintext) or https://host:4317 (TLS)",
		"collector":                  "must be http://host:4317",
		"collector:4317":             "must be http://host:4317",
		"127.0.0.1:4317":             "must be http://host:4317",
		"grpc://collector:4317":      "must be http://host:4317",
		"http://":                    "must be http://host:4317",
		"http://collector:99999":     "must be http://host:4317",
		"http://c:4317/v1/traces":    "gRPC knows no path",
		"https://u:hunter2@c:4317":   "OTEL_EXPORTER_OTLP_HEADERS",
		"https://c:4317?key=hunter2": "more than scheme, host and port",
	} {
		_, err := tracing.New(context.Background(), tracing.Options{Endpoint: endpoint})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v; want an error with %q", endpoint, err, want)
		}
	}
}

// A receiver that speaks TLS with a certificate of its own, which the environment says to trust.
func TestHTTPSIsEncryptedAndHTTPIsNot(t *testing.T) {
	web := httptest.NewUnstartedServer(nil)
	web.StartTLS()
	defer web.Close()
	file := filepath.Join(t.TempDir(), "certificate")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newReceiver(t, grpc.Creds(credentials.NewServerTLSFromCert(&web.TLS.Certificates[0])))

	w := watch(t, "http://"+r.address)
	w.session("plain")
	w.drain(5 * time.Second)
	if len(r.spans("session")) != 0 || len(w.errors()) != 1 {
		t.Errorf("with http the receiver has %d spans, and the errors are %v", len(r.spans("session")), w.errors())
	}
	t.Setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", file)
	t.Setenv("OTEL_EXPORTER_OTLP_INSECURE", "true") // the endpoint says otherwise
	w = watch(t, "https://"+r.address)
	w.session("encrypted")
	w.drain(5 * time.Second)
	r.span(t, "session")
}

func TestTheEnvironmentSaysWhatTheOptionsLeaveOpen(t *testing.T) {
	t.Setenv("OTEL_SERVICE_NAME", "gateway-7")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=staging,service.version=v9")
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=k")
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+nowhere(t)) // the option goes first
	r := newReceiver(t)
	w := watch(t, "http://"+r.address)
	w.session("a")
	w.drain(5 * time.Second)
	if r.resource["service.name"] != "gateway-7" || r.resource["service.version"] != "v9" || r.resource["deployment.environment.name"] != "staging" {
		t.Errorf("the resource is %v", r.resource)
	}
	if r.headers.Get("x-key") == nil {
		t.Errorf("the receiver gets the headers %v", r.headers)
	}
}

func TestResourceAttributesThatAreNoneAreRefused(t *testing.T) {
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "nonsense,a=b")
	_, err := tracing.New(context.Background(), tracing.Options{Endpoint: "http://localhost"})
	if err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("the error is %v", err)
	}
}

func TestSampling(t *testing.T) {
	notSampled := "00-" + clientTrace + "-" + clientSpan + "-00"
	for name, c := range map[string]struct {
		sampler, traceparent string
		exported             bool
	}{
		"a session of its own is":                      {"", "", true},
		"one that the client samples is":               {"", traceparent(clientTrace, clientSpan), true},
		"one that the client doesn't sample isn't":     {"", notSampled, false},
		"unless the environment says otherwise":        {"always_on", notSampled, true},
		"or the other way around":                      {"always_off", traceparent(clientTrace, clientSpan), false},
		"a traceparent that is none changes nothing":   {"", "00-nonsense", true},
		"nor one with zeros":                           {"", "00-" + strings.Repeat("0", 32) + "-" + clientSpan + "-01", true},
		"nor one of a thousand bytes, which is no one": {"", strings.Repeat("0", 1000), true},
	} {
		t.Run(name, func(t *testing.T) {
			if c.sampler != "" {
				t.Setenv("OTEL_TRACES_SAMPLER", c.sampler)
			}
			r := newReceiver(t)
			w := watch(t, "http://"+r.address)
			w.session("a", "traceparent", c.traceparent)
			w.drain(5 * time.Second)
			if got := len(r.spans("session")) == 1; got != c.exported {
				t.Errorf("exported: %v, want %v", got, c.exported)
			}
		})
	}
}

// passedOn are the headers of a request that is made for a session.
func passedOn(t *testing.T, ctx context.Context) http.Header {
	t.Helper()
	var sent http.Header
	next := roundTrip(func(r *http.Request) (*http.Response, error) {
		sent = r.Header
		return &http.Response{}, nil
	})
	if _, err := tracing.RoundTripper(next).RoundTrip(request().WithContext(ctx)); err != nil {
		t.Fatal(err)
	}
	return sent
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestWhatTheClientDoesNotSampleIsPassedOnAllTheSame(t *testing.T) {
	w := watch(t, "http://"+newReceiver(t).address)
	sent := passedOn(t, w.tracing.Context(request("traceparent", "00-"+clientTrace+"-"+clientSpan+"-00")))
	if got := sent.Get("Traceparent"); !strings.HasPrefix(got, "00-"+clientTrace+"-") || !strings.HasSuffix(got, "-00") {
		t.Errorf("the traceparent is %q", got)
	}
	w.drain(5 * time.Second)
}

func TestALongTracestateIsDroppedAndTheTraceGoesOn(t *testing.T) {
	w := watch(t, "http://"+newReceiver(t).address)
	for state, want := range map[string]string{
		"a=" + strings.Repeat("x", 200): "a=" + strings.Repeat("x", 200),
		"a=" + strings.Repeat("x", 200) + ",b=" + strings.Repeat("x", 200) + ",c=" + strings.Repeat("x", 200): "",
	} {
		sent := passedOn(t, w.tracing.Context(request("traceparent", traceparent(clientTrace, clientSpan), "tracestate", state)))
		if trace, _ := carried(sent); trace != clientTrace || sent.Get("Tracestate") != want {
			t.Errorf("tracestate of %d bytes: passed on are %q and %q", len(state), sent.Get("Traceparent"), sent.Get("Tracestate"))
		}
	}
	w.drain(5 * time.Second)
}
