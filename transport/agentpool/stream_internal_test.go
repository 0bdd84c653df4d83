package agentpool

import (
	"bytes"
	"testing"

	"google.golang.org/grpc/mem"

	"github.com/lastcall-go/lastcall/actors/relay"
)

// gRPC writes a message after Send has returned, when the session has let go of its bytes.
func TestAMessageIsCopiedForGRPC(t *testing.T) {
	for _, size := range []int{0, 1, 1000, 5000, 1 << 20} {
		message := bytes.Repeat([]byte{'a'}, size)
		encoded, err := asBytes{}.Marshal(&relay.Message{Bytes: message})
		if err != nil {
			t.Fatal(err)
		}
		clear(message)
		if got := encoded.Materialize(); !bytes.Equal(got, bytes.Repeat([]byte{'a'}, size)) {
			t.Errorf("%d bytes: %d others", size, len(got))
		}
		encoded.Free()
	}
}

// gRPC lets go of the pieces of a message once it is decoded.
func TestAMessageIsKeptUntilItIsFreed(t *testing.T) {
	for _, pieces := range []int{0, 1, 2, 70} {
		var data mem.BufferSlice
		for range pieces {
			data = append(data, mem.Copy(bytes.Repeat([]byte{'a'}, 5000), mem.DefaultBufferPool()))
		}
		var message relay.Message
		if err := (asBytes{}).Unmarshal(data, &message); err != nil {
			t.Fatal(err)
		}
		data.Free()
		for range pieces { // these would be the same buffers, cleared
			defer mem.DefaultBufferPool().Put(mem.DefaultBufferPool().Get(5000))
		}
		if !bytes.Equal(message.Bytes, bytes.Repeat([]byte{'a'}, pieces*5000)) {
			t.Errorf("%d pieces: %d other bytes", pieces, len(message.Bytes))
		}
		message.Owner.Free()
	}
}
