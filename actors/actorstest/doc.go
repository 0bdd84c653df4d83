// Package actorstest is for tests of a server that embeds package actors: how its connections, its services
// and its sessions end in a drain, hours of it in no time.
//
// [Run] starts a supervisor in a bubble of testing/synctest, in which sleeping takes no time and a deadlock
// is seen. It checks in the end that no promise was broken and nothing is left: no goroutine, actor, lease,
// connection.
//
// A handler of your own, whose sessions are those of [actors.Ticket.Run], is served on a [Network]:
//
//	func TestATerminalIsToldToStop(t *testing.T) {
//		actorstest.Run(t, actors.Options{}, func(t *testing.T, s *actorstest.Supervisor) {
//			network := actorstest.NewNetwork() // instead of a socket
//			server := &httpserver.Server{Listener: network, Handler: terminals{s.Supervisor}}
//			s.AddService("http server", actors.AfterSessions, server)
//			ws, _, err := websocket.Dial(t.Context(), "ws://host", &websocket.DialOptions{HTTPClient: network.Client()})
//			if err != nil {
//				t.Fatal(err)
//			}
//			told := make(chan error, 1)
//			go func() {
//				_, _, err := ws.Read(context.Background())
//				told <- err
//			}()
//			time.Sleep(time.Hour) // takes no time
//			report := s.Drained(actors.Drain{})
//			if err := <-told; websocket.CloseStatus(err) != websocket.StatusGoingAway {
//				t.Errorf("the client was told %v", err)
//			}
//			if report.Took != 0 || report.Totals[actors.Drained] != 1 {
//				t.Errorf("the report is %+v", report)
//			}
//		})
//	}
//
// A function that serves a connection can be tested without HTTP: see [Connection].
//
// A [Session] is one of package relay, with fakes on all sides: [Client], [Agent] with its [Stream], and
// [Leaser]. They behave unless a test scripts them: each method can be slow, hang, fail or panic, as a
// [Call] says. What happens to them is noted in a [Journal], in order:
//
//	func TestTheStoreStopsWhenTheLastClientIsGone(t *testing.T) {
//		actorstest.Run(t, actors.Options{}, func(t *testing.T, s *actorstest.Supervisor) {
//			session := s.Session()
//			session.Lease()
//			session.Agent.OnStop.Takes = 2 * time.Second
//			session.Agent.LastWords = []string{"checkpoint 7"}
//			session.Client.OnClose.Hangs = true // it never answers the close frame
//			session.Serve()
//			store := &actorstest.Service{Journal: session.Journal, Name: "store"} // yours
//			s.AddService("store", actors.AfterSessions, store)
//			time.Sleep(time.Hour)
//			s.Drained(actors.Drain{Reason: "new version"})
//			session.Saw(
//				"0s lease on w1 taken",
//				"0s agent got startRequest",
//				"1h0m0s agent got stopWorkflow WORKHORSE_SERVER_SHUTDOWN",
//				"1h0m2s client got checkpoint 7",
//				"1h0m2s agent ended",
//				"1h0m2s lease released",
//				"1h0m2s client told 1001 new version",
//				"1h0m7s client cut",
//				"1h0m7s store told",
//				"1h0m7s store stopped",
//			)
//			session.EndsAs(actors.Drained)
//		})
//	}
//
// Each fake can be used without the others: a [Leaser] for a session with your own client, a [Client] and
// an [Agent] for your own leases, tools or listeners.
//
// supervisor.go has the supervisor, promises.go what is checked in the end, session.go a session's parts put
// together, and the other files a fake each.
package actorstest
