package transport

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// suspended is a connection that nothing comes from for the time of its first read, though the
// deadline of that passes: its process is suspended.
type suspended struct {
	net.Conn
	sleep    time.Duration
	answers  bool // the client
	deadline time.Time
	reads    int
}

func (c *suspended) SetReadDeadline(t time.Time) error {
	c.deadline = t
	return nil
}

func (c *suspended) Read(p []byte) (int, error) {
	c.reads++
	switch {
	case c.reads == 1:
		time.Sleep(c.sleep)
	case c.answers:
		return copy(p, "pong"), nil
	default:
		time.Sleep(time.Until(c.deadline))
	}
	return 0, os.ErrDeadlineExceeded
}

// What came meanwhile is in the socket, and a read after its deadline doesn't look there.
func TestAClientIsNotSilentBecauseTheProcessWasSuspended(t *testing.T) {
	for name, test := range map[string]struct {
		conn  suspended
		reads int
		took  time.Duration
	}{
		"suspended":                {suspended{sleep: time.Hour, answers: true}, 2, time.Hour},
		"suspended, client silent": {suspended{sleep: time.Hour}, 2, time.Hour + silenceLimit},
		"not suspended":            {suspended{sleep: silenceLimit + time.Second}, 1, silenceLimit + time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				conn := test.conn
				n, err := (&wire{Conn: &conn}).Read(make([]byte, 8))
				if (n > 0) != conn.answers || (err != nil) == conn.answers || err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("read %d bytes: %v", n, err)
				}
				if conn.reads != test.reads || time.Since(began) != test.took {
					t.Errorf("%d reads in %v, want %d in %v", conn.reads, time.Since(began), test.reads, test.took)
				}
			})
		})
	}
}
