package loadtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	maxMemoryAnswer = 8 << 20 // bytes that are read of an answer
	memoryTimeout   = 10 * time.Second
)

// Memory asks a gateway's admin listener for the memory that its process takes.
type Memory struct {
	// Admin is the root of the listener, such as http://127.0.0.1:8081.
	Admin *url.URL

	// Token is the bearer token; empty where none is asked for.
	Token string

	// HTTPClient makes the requests. Nil means a client that follows no redirects and keeps nothing from
	// one request to the next.
	HTTPClient *http.Client
}

// residentMetric is the name by which Prometheus' client libraries tell it.
const residentMetric = "process_resident_memory_bytes"

// Resident returns the process's resident memory in bytes, from its metrics. It takes at most 10 s.
func (m *Memory) Resident(ctx context.Context) (int64, error) {
	var resident int64
	err := m.get(ctx, m.Admin.JoinPath("metrics"), func(body io.Reader) (err error) {
		resident, err = findResident(body)
		return err
	})
	return resident, err
}

func findResident(metrics io.Reader) (int64, error) {
	lines := bufio.NewScanner(metrics)
	for lines.Scan() {
		if text, found := strings.CutPrefix(lines.Text(), residentMetric+" "); found {
			bytes, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			return int64(bytes), err
		}
	}
	if err := lines.Err(); err != nil {
		return 0, err
	}
	return 0, errors.New("no " + residentMetric + " among the metrics")
}

// Collect has the process collect its garbage, several times: a collection halves the stacks that
// were once needed, so that this does at once what would happen in minutes without load. It takes
// at most 50 s.
func (m *Memory) Collect(ctx context.Context) error {
	profile := m.Admin.JoinPath("debug/pprof/heap")
	profile.RawQuery = "gc=1"
	for range 5 {
		err := m.get(ctx, profile, func(body io.Reader) error {
			_, err := io.Copy(io.Discard, body)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *Memory) get(ctx context.Context, u *url.URL, read func(io.Reader) error) error {
	ctx, cancel := context.WithTimeout(ctx, memoryTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	if m.Token != "" {
		request.Header.Set("Authorization", "Bearer "+m.Token)
	}
	client := m.HTTPClient
	if client == nil {
		client = defaultClient()
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %v: %s", u, response.Status)
	}
	if err := read(io.LimitReader(response.Body, maxMemoryAnswer)); err != nil {
		return fmt.Errorf("GET %v: %w", u, err)
	}
	return nil
}

func defaultClient() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
