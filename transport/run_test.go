package transport

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/codec"
)

// A response that is cut must not look like one that has ended.
func TestARunThatIsCutBreaksOff(t *testing.T) {
	checkpoint, err := relay.MessageOf(&dap.Action{Action: &dap.Action_NewCheckpoint{NewCheckpoint: &dap.NewCheckpoint{}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		end  func(*runClient)
		cuts bool
	}{
		"cut":                 {func(c *runClient) { c.Abort() }, true},
		"closed":              {func(c *runClient) { _ = c.Close(actors.CloseError{Code: 1001}) }, false},
		"closed, and cut too": {func(c *runClient) { _ = c.Close(actors.CloseError{Code: 1001}); c.Abort() }, false},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				c := newRunClient(w, r, 2, relay.Message{}, terms{contract: codec.BuiltIn})
				if err := c.Send(checkpoint); err != nil {
					t.Error(err)
				}
				test.end(c)
				if err := c.Send(checkpoint); err == nil {
					t.Error("it takes more after its end")
				}
				c.serve()
			}))
			defer server.Close()
			response, err := http.Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if _, err := io.ReadAll(response.Body); (err != nil) != test.cuts {
				t.Errorf("the response ends with %v", err)
			}
		})
	}
	http.DefaultClient.CloseIdleConnections()
}
