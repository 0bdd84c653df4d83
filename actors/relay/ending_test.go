package relay

import (
	"errors"
	"testing"

	"github.com/lastcall-go/lastcall/actors"
)

// A message that can't be written may be the first to show how the client has ended.
func TestAFailedSendTellsAsMuchAsAFailedReceive(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		kind eventKind
	}{
		"closed":        {&actors.ClosedError{Code: 1000, Reason: "bye"}, clientLost},
		"silent":        {ErrSilent, clientLost},
		"lost":          {errors.New("connection reset"), clientLost},
		"a close error": {&actors.CloseError{Code: actors.CloseProtocolError, Reason: "received unknown opcode 3"}, mustEnd},
	} {
		got, want := sendEvent(test.err), clientEvent(test.err)
		if got.kind != test.kind || got.end != want.end || got.stop != want.stop || got.done != 0 {
			t.Errorf("%s: %+v, after a failed Receive %+v", name, got, want)
		}
	}
}
