package scripted_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"

	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

func TestServeInterruptsWhatRunsWhenItIsToldToStop(t *testing.T) {
	onStage(t, scripted.Options{Steps: small()}, func(t *testing.T, s *stage) {
		began := time.Now()
		unstarted, stream := s.open(), s.start("w")
		stream.tells("list a")
		synctest.Wait()
		s.stop()
		wantTold(t, stream.ends(codes.Unavailable, "workflow execution interrupted: agent is shutting down"), "INTERRUPTED Interrupted: agent is shutting down")
		unstarted.ends(codes.Unavailable, "agent is shutting down")
		s.served <- <-s.served
		if took := time.Since(began); took != 0 {
			t.Errorf("the stop took %v", took)
		}
	})
}

func TestServeInterruptsTheMisbehavedToo(t *testing.T) {
	for name, how := range map[string]scripted.Misbehaviour{
		"never acknowledges": {NeverAcknowledge: true},
		"late":               {AcknowledgeAfter: time.Hour},
		"doesn't read":       {StopReading: true},
	} {
		t.Run(name, func(t *testing.T) {
			onStage(t, bad(how), func(t *testing.T, s *stage) {
				stream := s.start("bad")
				stream.stop("over")
				synctest.Wait()
				s.stop()
				stream.ends(codes.Unavailable, "workflow execution interrupted: agent is shutting down")
			})
		})
	}
}

func TestServeCutsWhoCantBeTold(t *testing.T) {
	onStage(t, bad(scripted.Misbehaviour{Flood: scripted.Flood{Messages: 1000, Size: 64 << 10}}), func(t *testing.T, s *stage) {
		unread := s.start("bad")
		silent, err := s.listener.Dial()
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		synctest.Wait()

		began := time.Now()
		s.stop()
		s.served <- <-s.served
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("the stop took %v", took)
		}
		unread.cancel()
	})
}

func TestServeReportsAListenerThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{t: t, agent: scripted.New(scripted.Options{Steps: idle()})}
		s.serve()
		defer s.stop()
		defer s.conn.Close()
		stream := s.start("w")
		synctest.Wait()
		s.listener.Close()
		if err := <-s.served; err == nil || !strings.HasPrefix(err.Error(), "serve the scripted agent on bufconn: ") || errors.Unwrap(err) == nil {
			t.Errorf("Serve returned %v", err)
		}
		if _, got := stream.rest(); got.Code() != codes.Unavailable {
			t.Errorf("the stream ended with %v", got)
		}
	})
}

func TestServeOutlivesItsStreamsEvenWhenTheListenerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := 0
		slow := func(event scripted.Event) {
			if _, ok := event.(scripted.Ended); ok {
				time.Sleep(time.Second)
				ended++
			}
		}
		s := &stage{t: t, agent: scripted.New(scripted.Options{Steps: idle(), Observe: slow})}
		s.serve()
		defer s.stop()
		defer s.conn.Close()
		s.start("w")
		synctest.Wait()
		s.listener.Close()
		if <-s.served; ended != 1 {
			t.Error("Serve returned before the stream had ended")
		}
	})
}

func TestServeOnSeveralListenersSharesWhatIsRemembered(t *testing.T) {
	onStage(t, scripted.Options{Steps: small()}, func(t *testing.T, s *stage) {
		other := &stage{t: t, agent: s.agent}
		other.serve()
		s.start("w").ends(codes.OK, "")
		wantTold(t, other.start("w").ends(codes.OK, ""), "FINISHED Finished")

		still := s.start("idle")
		still.tells("list a")
		other.close() // waits for its own streams only
		still.stop(pingFailed)
		still.ends(codes.OK, "")
	})
}

func TestAPingEvery20SecondsIsTolerated(t *testing.T) {
	onStage(t, scripted.Options{Steps: idle()}, func(t *testing.T, s *stage) {
		s.conn.Close()
		s.dial(grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: time.Second, PermitWithoutStream: true}))
		stream := s.start("w")
		time.Sleep(time.Hour)
		synctest.Wait()
		if ended := observed[scripted.Ended](s); len(ended) != 0 {
			t.Errorf("the stream ended: %v", ended)
		}
		stream.stop(pingFailed)
		stream.ends(codes.OK, "")
	})
}

func TestPingsWithoutAStreamAreTolerated(t *testing.T) {
	onStage(t, scripted.Options{}, func(t *testing.T, s *stage) {
		s.conn.Close()
		s.dial(grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, PermitWithoutStream: true}))
		s.conn.Connect()
		time.Sleep(4 * time.Minute)
		if state := s.conn.GetState(); state != connectivity.Ready {
			t.Errorf("the connection is %v", state)
		}
	})
}

func TestMessagesAndHeadersAreBounded(t *testing.T) {
	onStage(t, scripted.Options{Steps: idle()}, func(t *testing.T, s *stage) {
		large := s.start("w")
		large.answer(strings.Repeat("x", 4<<20))
		if _, got := large.rest(); got.Code() != codes.ResourceExhausted {
			t.Errorf("a message over 4 MiB ended the stream with %v", got)
		}
		ctx := metadata.AppendToOutgoingContext(context.Background(), "x", strings.Repeat("x", 65<<10))
		raw, err := s.client.ExecuteWorkflow(ctx)
		if err == nil {
			_, err = raw.Recv()
		}
		if err == nil {
			t.Error("headers over 64 KiB were taken")
		}
	})
}

func TestTheAgentPlaysOnAnEmbeddersServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{t: t, listener: bufconn.Listen(64 << 10), agent: scripted.New(scripted.Options{Steps: small()})}
		server := grpc.NewServer(grpc.WaitForHandlers(true))
		dap.RegisterDuoWorkflowServer(server, s.agent)
		served := make(chan error, 1)
		go func() { served <- server.Serve(s.listener) }()
		s.dial()
		defer s.conn.Close()

		s.start("w").ends(codes.OK, "")
		running := s.start("running")
		running.tells("list a")
		server.Stop()
		s.agent.Wait()
		if _, got := running.rest(); got.Code() != codes.Unavailable {
			t.Errorf("the stream ended with %v", got)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}
