package bench

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/lastcall-go/lastcall/proto/dap"
)

// The baseline: a relay written the usual way. A goroutine a direction, a gRPC connection a
// session, the HTTP handler held for as long as the session lives, and a drain added by hand: tell
// every session at once and wait for the handlers.
type plainRelay struct {
	stop     context.Context
	sessions sync.WaitGroup
}

func servePlain(listener net.Listener) {
	stop, shutdown := context.WithCancel(context.Background())
	relay := &plainRelay{stop: stop}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ws", relay.serve)
	mux.HandleFunc("POST /drain", func(w http.ResponseWriter, _ *http.Request) {
		began := time.Now()
		shutdown()
		relay.sessions.Wait()
		_ = json.NewEncoder(w).Encode(time.Since(began).Seconds())
	})
	addMeasurements(mux)
	_ = http.Serve(listener, mux)
}

func (p *plainRelay) serve(w http.ResponseWriter, r *http.Request) {
	p.sessions.Add(1)
	defer p.sessions.Done()
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer ws.CloseNow()
	conn, err := grpc.NewClient(os.Getenv(agentVariable), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stream, err := dap.NewDuoWorkflowClient(conn).ExecuteWorkflow(ctx)
	if err != nil {
		return
	}
	ended := make(chan error, 2)
	var send sync.Mutex
	go func() { ended <- plainUp(ctx, ws, stream, &send) }()
	go func() { ended <- plainDown(ctx, ws, stream) }()
	select {
	case <-ended:
	case <-p.stop.Done():
		send.Lock()
		_ = stream.Send(&dap.ClientEvent{Response: &dap.ClientEvent_StopWorkflow{StopWorkflow: &dap.StopWorkflowRequest{Reason: "WORKHORSE_SERVER_SHUTDOWN"}}})
		send.Unlock()
		<-ended
		_ = ws.Close(websocket.StatusGoingAway, "server shutdown")
	}
}

func plainUp(ctx context.Context, ws *websocket.Conn, stream dap.DuoWorkflow_ExecuteWorkflowClient, send *sync.Mutex) error {
	for {
		_, data, err := ws.Read(ctx)
		if err != nil {
			return err
		}
		var event dap.ClientEvent
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, &event); err != nil {
			return err
		}
		send.Lock()
		err = stream.Send(&event)
		send.Unlock()
		if err != nil {
			return err
		}
	}
}

func plainDown(ctx context.Context, ws *websocket.Conn, stream dap.DuoWorkflow_ExecuteWorkflowClient) error {
	for {
		action, err := stream.Recv()
		if err != nil {
			return err
		}
		data, err := (protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}).Marshal(action)
		if err != nil {
			return err
		}
		if err := ws.Write(ctx, websocket.MessageBinary, data); err != nil {
			return err
		}
	}
}
