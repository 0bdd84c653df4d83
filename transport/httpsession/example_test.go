package httpsession_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/httpserver"
	"github.com/lastcall-go/lastcall/transport/httpsession"
)

// A server has three kinds of WebSockets, and a daemon that holds connections of its own. A terminal ends
// only when the daemon has ended its shell. The daemon is a service in the stage WithSessions, so the drain
// asks both together. If the daemon were asked after the sessions, each terminal would wait until it is killed.
func Example() {
	supervisor, err := actors.NewSupervisor(actors.Options{})
	check(err)
	defer supervisor.Close()
	port, shells := listen(), listen()

	mux := http.NewServeMux()
	route := func(kind string, serve func(ctx context.Context, ws *coder.Conn)) {
		mux.Handle("GET /"+kind, httpsession.Wrap(webSocket(serve), httpsession.Options{
			Supervisor: supervisor, Kind: kind, Transport: "websocket",
		}))
	}
	route("terminal", func(ctx context.Context, ws *coder.Conn) { serveTerminal(ctx, ws, shells.Addr().String()) })
	route("logs", serveLogs)
	route("chat", serveChat)
	check(supervisor.Add("shells", actors.WithSessions, actors.ServiceFunc(func(ctx context.Context) error {
		return runShells(ctx, shells)
	})))
	check(supervisor.Add("http server", actors.AfterSessions, &httpserver.Server{Listener: port, Handler: mux}))

	kinds := []string{"terminal", "logs", "chat"}
	clients := make(map[string]<-chan string)
	for _, kind := range kinds {
		clients[kind] = connect("ws://" + port.Addr().String() + "/" + kind)
		fmt.Println(kind, "hears", <-clients[kind])
	}
	report, err := supervisor.Drain(context.Background(), actors.Drain{Reason: "new version"})
	for _, kind := range kinds {
		for heard := range clients[kind] {
			fmt.Println(kind, "hears", heard)
		}
	}
	fmt.Println(report.Totals, err)
	for _, service := range report.Services {
		fmt.Println(service.Name, service.Outcome)
	}

	// Output:
	// terminal hears shell begins
	// logs hears first line
	// chat hears welcome
	// terminal hears shell ends
	// terminal hears 1001 new version
	// logs hears 1001 new version
	// chat hears 1001 new version
	// map[drained:3] <nil>
	// shells drained
	// http server drained
}

// webSocket upgrades a request. serve returns when the client has left, or when it is time to say goodbye.
// It reads and writes with contexts other than the request's: one that is cancelled cuts the connection.
func webSocket(serve func(ctx context.Context, ws *coder.Conn)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := coder.Accept(w, r, nil)
		if err != nil {
			return // Accept has answered
		}
		defer func() { _ = ws.CloseNow() }()
		serve(r.Context(), ws)
		var stop *actors.Stop
		if errors.As(context.Cause(r.Context()), &stop) {
			_ = ws.Close(coder.StatusCode(stop.CloseCode()), stop.Reason)
		}
	})
}

// serveTerminal shows a shell of the daemon's until the shell ends.
func serveTerminal(ctx context.Context, ws *coder.Conn, address string) {
	shell, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer func() { _ = shell.Close() }()
	left := ws.CloseRead(context.Background())
	defer context.AfterFunc(left, func() { _ = shell.Close() })()
	for lines := bufio.NewScanner(shell); lines.Scan(); {
		_ = ws.Write(left, coder.MessageText, lines.Bytes())
	}
	select { // a shell that the drain ends may do so before the drain asks its session
	case <-ctx.Done():
	case <-left.Done():
	case <-time.After(time.Second):
	}
}

func serveLogs(ctx context.Context, ws *coder.Conn) {
	left := ws.CloseRead(context.Background())
	_ = ws.Write(left, coder.MessageText, []byte("first line"))
	select {
	case <-ctx.Done():
	case <-left.Done():
	}
}

// serveChat answers each message with the same.
func serveChat(ctx context.Context, ws *coder.Conn) {
	left, leave := context.WithCancel(context.Background())
	go func() {
		defer leave()
		for {
			kind, message, err := ws.Read(left)
			if err != nil || ws.Write(left, kind, message) != nil {
				return
			}
		}
	}()
	_ = ws.Write(left, coder.MessageText, []byte("welcome"))
	select {
	case <-ctx.Done():
	case <-left.Done():
	}
}

// runShells is the daemon. It ends its connections when it is asked to stop.
func runShells(ctx context.Context, listener net.Listener) error {
	defer context.AfterFunc(ctx, func() { _ = listener.Close() })()
	for {
		conn, err := listener.Accept()
		if err != nil {
			return ctx.Err()
		}
		_, _ = io.WriteString(conn, "shell begins\n")
		context.AfterFunc(ctx, func() {
			_, _ = io.WriteString(conn, "shell ends\n")
			_ = conn.Close()
		})
	}
}

// The same with gorilla/websocket.
func ExampleWrap_gorilla() {
	supervisor, err := actors.NewSupervisor(actors.Options{})
	check(err)
	defer supervisor.Close()

	var upgrader gorilla.Upgrader
	chat := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return // Upgrade has answered
		}
		defer func() { _ = ws.Close() }()
		_ = ws.WriteMessage(gorilla.TextMessage, []byte("welcome"))
		left := make(chan struct{})
		go func() {
			defer close(left)
			for _, _, err := ws.NextReader(); err == nil; {
				_, _, err = ws.NextReader()
			}
		}()
		select {
		case <-left:
		case <-r.Context().Done():
			var stop *actors.Stop
			if errors.As(context.Cause(r.Context()), &stop) {
				goodbye := gorilla.FormatCloseMessage(stop.CloseCode(), stop.Reason)
				_ = ws.WriteControl(gorilla.CloseMessage, goodbye, stop.Deadline)
				<-left // the client has answered, or the connection was cut at the deadline
			}
		}
	})
	port := listen()
	check(supervisor.Add("http server", actors.AfterSessions, &httpserver.Server{
		Listener: port,
		Handler:  httpsession.Wrap(chat, httpsession.Options{Supervisor: supervisor, Kind: "chat", Transport: "websocket"}),
	}))

	client := connect("ws://" + port.Addr().String())
	fmt.Println(<-client)
	report, err := supervisor.Drain(context.Background(), actors.Drain{Reason: "new version"})
	fmt.Println(<-client)
	fmt.Println(report.Totals, err)

	// Output:
	// welcome
	// 1001 new version
	// map[drained:1] <nil>
}

// A stream of server-sent events says goodbye with an event, and how soon the client may reconnect.
func ExampleWrap_serverSentEvents() {
	supervisor, err := actors.NewSupervisor(actors.Options{})
	check(err)
	defer supervisor.Close()

	news := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		_ = errors.Join(control.SetReadDeadline(time.Time{}), control.SetWriteDeadline(time.Time{})) // the server's are for short requests
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: welcome\n\n")
		_ = control.Flush()
		<-r.Context().Done() // the client has left, or it is time to say goodbye
		var stop *actors.Stop
		if errors.As(context.Cause(r.Context()), &stop) {
			_, _ = fmt.Fprintf(w, "event: goodbye\nretry: 1000\ndata: %s\n\n", stop.Reason)
		}
	})
	port := listen()
	check(supervisor.Add("http server", actors.AfterSessions, &httpserver.Server{
		Listener: port,
		Handler:  httpsession.Wrap(news, httpsession.Options{Supervisor: supervisor, Kind: "news", Transport: "sse"}),
	}))

	response, err := http.Get("http://" + port.Addr().String())
	check(err)
	defer func() { _ = response.Body.Close() }()
	report, err := supervisor.Drain(context.Background(), actors.Drain{Reason: "new version"})
	heard, _ := io.ReadAll(response.Body)
	fmt.Print(string(heard))
	fmt.Println(report.Totals, err)

	// Output:
	// data: welcome
	//
	// event: goodbye
	// retry: 1000
	// data: new version
	//
	// map[drained:1] <nil>
}

// connect opens a WebSocket, and returns what its client hears: the messages, and then how it was closed.
func connect(url string) <-chan string {
	heard := make(chan string, 8) // a client that doesn't read doesn't answer the close frame
	go func() {
		defer close(heard)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		ws, _, err := coder.Dial(ctx, url, nil)
		if err != nil {
			heard <- err.Error()
			return
		}
		defer func() { _ = ws.CloseNow() }()
		_, message, err := ws.Read(ctx)
		for ; err == nil; _, message, err = ws.Read(ctx) {
			heard <- string(message)
		}
		var closed coder.CloseError
		if errors.As(err, &closed) {
			heard <- fmt.Sprint(int(closed.Code), " ", closed.Reason)
			return
		}
		heard <- err.Error()
	}()
	return heard
}

func listen() net.Listener {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	return listener
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
