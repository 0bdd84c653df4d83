package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/lastcall-go/lastcall/transport/codec"
)

// The reference: nginx as a plain WebSocket proxy, one process, which copies bytes and looks at no message.

func nginxIfInstalled() []string {
	if _, err := exec.LookPath("nginx"); err != nil {
		return nil
	}
	return []string{"nginx"}
}

// serveNginx runs nginx at the listener's address, with a server of this process behind it that measures it.
func serveNginx(listener net.Listener) {
	if err := listener.Close(); err != nil {
		panic(err)
	}
	measuring, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	dir, err := os.MkdirTemp("", "nginx")
	if err != nil {
		panic(err)
	}
	config := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, nginxConfig, dir, listener.Addr(), os.Getenv(agentVariable), measuring.Addr()), 0o600); err != nil {
		panic(err)
	}
	nginx := exec.Command("nginx", "-p", dir, "-e", "stderr", "-c", config)
	nginx.Stderr = os.Stderr
	if err := nginx.Start(); err != nil {
		panic(err)
	}
	go exitWithParent(func() {
		_ = nginx.Process.Kill()
		_ = nginx.Wait() // its error is that it was killed
		_ = os.RemoveAll(dir)
	})
	_ = http.Serve(measuring, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		process := strconv.Itoa(nginx.Process.Pid)
		_ = json.NewEncoder(w).Encode(usage{
			Resident: residentBytes(process),
			CPU:      timeOnCPU(process),
		})
	}))
}

const nginxConfig = `
daemon off;
master_process off;
pid %[1]s/pid;
worker_rlimit_nofile 20000;
events { worker_connections 20000; }
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	server {
		listen %[2]s;
		location /ws {
			proxy_pass http://%[3]s;
			proxy_http_version 1.1;
			proxy_set_header Upgrade $http_upgrade;
			proxy_set_header Connection "upgrade";
			proxy_read_timeout 1h;
		}
		location / { proxy_pass http://%[4]s; }
	}
}`

// timeOnCPU is the first number of a process's schedstat, in nanoseconds.
func timeOnCPU(process string) time.Duration {
	stat, err := os.ReadFile("/proc/" + process + "/schedstat")
	if err != nil {
		return 0
	}
	nanoseconds, _ := strconv.ParseInt(strings.Fields(string(stat))[0], 10, 64)
	return time.Duration(nanoseconds)
}

// servePeer is the agent of a proxy that doesn't know gRPC: after the first message it sends an action of that
// size for each message. 0: none.
func servePeer(listener net.Listener, size int) {
	action, err := codec.Append(nil, writeFile(textOf(size)))
	if err != nil {
		panic(err)
	}
	_ = http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
		if err != nil {
			return
		}
		defer ws.CloseNow()
		for {
			if _, _, err = ws.Read(context.Background()); err == nil && size > 0 {
				err = ws.Write(context.Background(), websocket.MessageText, action)
			}
			if err != nil {
				return
			}
		}
	}))
}
