package systemd

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/systemd/systemdtest"
)

// heirVariable makes TestHeir a process that was started with sockets.
const heirVariable = "TEST_PROCESS_IS_AN_HEIR"

// estate is what an heir finds.
type estate struct {
	Sessions, Admin string // addresses
	Err             string
	Environment     []string // that is left
	Children        string   // the sockets that a process finds which it starts
}

func addressOf(listener net.Listener) string {
	if listener == nil {
		return ""
	}
	return listener.Addr().String()
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestHeir is no test: it is the process that the others start.
func TestHeir(*testing.T) {
	if os.Getenv(heirVariable) == "" {
		return
	}
	found, err := Inherited()
	e := estate{Sessions: addressOf(found.Sessions), Admin: addressOf(found.Admin), Err: errorText(err)}
	for _, variable := range os.Environ() {
		if strings.HasPrefix(variable, "LISTEN_") {
			e.Environment = append(e.Environment, variable)
		}
	}
	children, err := exec.Command("sh", "-c", `for fd in /dev/fd/*; do if [ -S "$fd" ]; then echo "$fd"; fi; done`).CombinedOutput()
	e.Children = string(children) + errorText(err)
	text, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(text))
	_, _ = io.Copy(io.Discard, os.Stdin) // so that the test can look at what it holds
	if err := found.Close(); err != nil {
		panic(err)
	}
}

// inherit starts an heir, and returns what it found, and a function that ends it.
func inherit(t *testing.T, names string, files ...*os.File) (found estate, end func()) {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := systemdtest.Passing(files, names, binary, "-test.run=^TestHeir$")
	cmd.Env = append(cmd.Env, heirVariable+"=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	output := bufio.NewReader(stdout)
	line, err := output.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &found)
	}
	if err != nil {
		t.Errorf("the heir said %q: %v", line, err)
	}
	return found, func() {
		t.Helper()
		_ = stdin.Close()
		_, _ = io.Copy(io.Discard, output)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the heir ended with %v", err)
		}
	}
}

func TestInheritedSocketsGoWhereTheirNamesSay(t *testing.T) {
	one, first := systemdtest.Socket(t, "tcp", "127.0.0.1:0")
	two, second := systemdtest.Socket(t, "tcp", "127.0.0.1:0")
	path := filepath.Join(t.TempDir(), "s")
	three, _ := systemdtest.Socket(t, "unix", path)
	for _, c := range []struct {
		names           string
		files           []*os.File
		sessions, admin string
	}{
		{"sessions:admin", []*os.File{one, two}, first.String(), second.String()},
		{"admin:sessions", []*os.File{one, two}, second.String(), first.String()},
		{"admin:sessions", []*os.File{one, three}, path, first.String()},
		{"sessions", []*os.File{two}, second.String(), ""},
		{"admin", []*os.File{two}, "", second.String()},
		{"lastcall.socket", []*os.File{one}, first.String(), ""}, // a socket unit's own name
		{"", []*os.File{one}, first.String(), ""},
		{"sessions:admin", nil, "", ""},
	} {
		found, end := inherit(t, c.names, c.files...)
		end()
		if found.Sessions != c.sessions || found.Admin != c.admin || found.Err != "" {
			t.Errorf("%q: got %+v, want sessions at %q, admin at %q", c.names, found, c.sessions, c.admin)
		}
		if len(found.Environment) > 0 || found.Children != "" {
			t.Errorf("%q: a child of the process inherits %q and %q", c.names, found.Environment, found.Children)
		}
	}
}

// Sockets that were meant for another process are none of ours.
func TestSocketsOfAnotherProcessAreLeftAlone(t *testing.T) {
	t.Setenv("LISTEN_PID", "1")
	t.Setenv("LISTEN_FDS", "1")
	found, err := Inherited()
	if found != (Sockets{}) || err != nil {
		t.Errorf("got %+v, %v", found, err)
	}
}

// What can't be meant is refused in words that help, and nothing stays open.
func TestInheritedSocketsThatAreAmbiguousAreRefused(t *testing.T) {
	datagrams, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "d"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()
	unixgram, err := datagrams.File()
	if err != nil {
		t.Fatal(err)
	}
	defer unixgram.Close()
	udp := udpFile(t)
	pipe, other, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	defer other.Close()
	end := connectionFile(t)
	const streams = "must be a stream socket that listens"
	for _, c := range []struct {
		what, names string
		more        []*os.File
		helps       string
	}{
		{"an unknown name", "sessions:web", []*os.File{nil}, `"web": of several, each needs FileDescriptorName=sessions or FileDescriptorName=admin`},
		{"an unknown name first", "web:admin", []*os.File{nil}, `"web": of several`},
		{"no names", "", []*os.File{nil}, "of several, each needs FileDescriptorName="},
		{"the same name twice", "sessions:sessions", []*os.File{nil}, `two are named "sessions"`},
		{"datagrams", "sessions:admin", []*os.File{udp}, streams},
		{"local datagrams", "sessions:admin", []*os.File{unixgram}, streams},
		{"a connection", "sessions:admin", []*os.File{end}, streams},
		{"a pipe", "sessions:admin", []*os.File{pipe}, streams},
	} {
		t.Run(c.what, func(t *testing.T) {
			first, address := systemdtest.Socket(t, "tcp", "127.0.0.1:0")
			files := append([]*os.File{first}, c.more...)
			if c.more[0] == nil {
				files[1], _ = systemdtest.Socket(t, "tcp", "127.0.0.1:0")
			}
			found, end := inherit(t, c.names, files...)
			defer end()
			if !strings.Contains(found.Err, c.helps) || strings.Contains(found.Err, "\n") {
				t.Errorf("the error %q doesn't say %q in one line", found.Err, c.helps)
			}
			if found.Sessions != "" || found.Admin != "" {
				t.Errorf("it has %+v all the same", found)
			}
			_ = first.Close()
			if conn, err := net.DialTimeout("tcp", address.String(), time.Second); err == nil {
				_ = conn.Close()
				t.Error("the process holds the socket open")
			}
		})
	}
}

func udpFile(t *testing.T) *os.File {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	file, err := conn.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file
}

// connectionFile is one end of a connection.
func connectionFile(t *testing.T) *os.File {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	file, err := conn.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file
}
