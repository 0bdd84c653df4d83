package codec_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/codec"
)

func TestOutputKeepsTheContractsNamesAndWritesUnsetFields(t *testing.T) {
	action := &dap.Action{RequestID: "r1", Action: &dap.Action_Grep{Grep: &dap.Grep{Pattern: "x"}}}
	out, err := codec.Append(nil, action)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	grep := got["grep"].(map[string]any)
	for _, name := range []string{"search_directory", "pattern", "case_insensitive"} {
		if _, ok := grep[name]; !ok {
			t.Errorf("%s is missing from %s", name, out)
		}
	}
}

func TestUnknownFieldsAreIgnoredAndTold(t *testing.T) {
	for data, want := range map[string]bool{
		`{"heartbeat":{"timestamp":"7"}}`:                         false,
		`{"heartbeat":{"timestamp":"7","mood":"fine"},"later":1}`: true,
		`{"later":[{"a":1}],"heartbeat":{"timestamp":"7"}}`:       true,
	} {
		wire, unknown, err := codec.BuiltIn.Events.AppendWire(nil, []byte(data))
		if string(wire) != "\x1a\x02\x08\x07" || unknown != want || err != nil {
			t.Errorf("%s: got %q, %v, unknown %v", data, wire, err, unknown)
		}
		var event dap.ClientEvent
		if err := codec.Decode([]byte(data), &event); err != nil || event.GetHeartbeat().GetTimestamp() != 7 {
			t.Errorf("%s: got %v, %v", data, &event, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`{}`, `{"startRequest":{"goal":"x"}}`, `{"actionResponse":{"requestID":"1","httpResponse":{"headers":{"a":"b"}}}}`,
		`{"x":` + strings.Repeat("[", 20_000), "{\"a\":\"\xff\"}", `{"heartbeat":{"timestamp":1e400}}`, `[]`, ``} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var event dap.ClientEvent
		if err := codec.Decode(data, &event); err != nil {
			var syntax *codec.SyntaxError
			if !errors.As(err, &syntax) && !errors.Is(err, codec.ErrTooBig) {
				t.Errorf("%T: %v", err, err)
			}
			return
		}
		again, err := codec.Append(nil, &event)
		if err != nil {
			t.Fatal(err)
		}
		var same dap.ClientEvent
		if err := codec.Decode(again, &same); err != nil || !proto.Equal(&event, &same) {
			t.Errorf("%q became %q: %v", data, again, err)
		}
	})
}

func TestABadMessageIsToldWhatIsWrongAndWhere(t *testing.T) {
	for bad, want := range map[string]string{
		"":         "the JSON ends too early",
		"hello":    "not JSON, or nested too deep, after byte 0",
		"null,":    "not an object",
		`{"x":[1,`: "the JSON ends too early",
		"[]":       "not an object",
		"null":     "not an object",

		`{"heartbeat":`:                                      "heartbeat: the JSON ends too early",
		`{"startRequest":{"goal":"\ud800"`:                   "startRequest: the JSON ends too early",
		`{"stopWorkflow":{"reason":"\q"}}`:                   "stopWorkflow.reason: a string with a wrong escape",
		`{"stopWorkflow":{"reason":"\ud"}}`:                  "stopWorkflow.reason: a string with a wrong escape",
		"{\"stopWorkflow\":{\"reason\":\"é\xff\"}}":          "a string that is not UTF-8",
		`{"x":` + strings.Repeat("[", 20_000):                "not JSON, or nested too deep, after byte 5",
		`{"startRequest":7}`:                                 "startRequest: not an object",
		`{"heartbeat":{"timestamp":"noon"}}`:                 `heartbeat.timestamp: not an integer of 64 bits`,
		`{"startRequest":{"x":1,"goal":7,"y":"\udc00"}}`:     "startRequest.goal: not a string",
		`{"startRequest":{"mcpTools":[{"name":7}]}}`:         `startRequest.mcpTools.name: not a string`,
		`{"startRequest":{"flowConfig":{"a":1e999}}}`:        `startRequest.flowConfig: not a Struct`,
		`{"startRequest":{"goal":"a","goal":"b"}}`:           "startRequest.goal: given twice",
		`{"heartbeat":{},"stopWorkflow":{}}`:                 "stopWorkflow: only one of several fields may be given, and another one is",
		`{"actionResponse":{"httpResponse":{"headers":[]}}}`: "actionResponse.httpResponse.headers: not an object",
	} {
		err := codec.Decode([]byte(bad), &dap.ClientEvent{})
		var syntax *codec.SyntaxError
		if !errors.As(err, &syntax) || syntax.Detail != want || err.Error() != "not a ClientEvent: "+want {
			t.Errorf("%.60q: %v, want %s", bad, err, want)
		}
	}
}

// The error is logged and sent back; it must not carry a message of 4 MiB with it.
func TestAnErrorQuotesLittle(t *testing.T) {
	long := strings.Repeat("é", 1<<20)
	for _, bad := range []string{`{"heartbeat":{"timestamp":"` + long + `"}}`, long, `{"` + long + `"`} {
		err := codec.Decode([]byte(bad), &dap.ClientEvent{})
		if err == nil || len(err.Error()) > 300 || !utf8.ValidString(err.Error()) {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	}
}

func TestWhatIsEncodedDecodesToTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := &dap.ClientEvent{Response: &dap.ClientEvent_StartRequest{StartRequest: &dap.StartWorkflowRequest{
			WorkflowID:         rapid.String().Draw(t, "workflow"),
			Goal:               rapid.String().Draw(t, "goal"),
			ClientCapabilities: rapid.SliceOfN(rapid.String(), 1, 5).Draw(t, "capabilities"),
			Streaming:          proto.Bool(rapid.Bool().Draw(t, "streaming")),
		}}}
		encoded, err := codec.Append(nil, in)
		if err != nil {
			t.Fatal(err)
		}
		var out dap.ClientEvent
		if err := codec.Decode(encoded, &out); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(in, &out) {
			t.Fatalf("%v became %v", in, &out)
		}
	})
}

// The limit is on what the message is for the agent. As JSON it may be longer, or shorter.
func TestAMessageIsAsLargeAsItIsAsProtobuf(t *testing.T) {
	stop := func(bytes int, character string) string {
		return `{"stopWorkflow": {"reason": "` + strings.Repeat(character, bytes) + `"}}`
	}
	list := func(values int, value string) string {
		return `{"startRequest": {"flowConfig": {"a": [` + value + strings.Repeat(","+value, values-1) + `]}}}`
	}
	const around = 10 // bytes of a stopWorkflow besides its reason
	for name, test := range map[string]struct {
		data string
		want error
	}{
		"the limit":                     {stop(codec.MaxMessage-around, "x"), nil},
		"the limit, escaped":            {stop(codec.MaxMessage-around, `\u0001`), nil},
		"one byte over":                 {stop(codec.MaxMessage-around+1, "x"), codec.ErrTooBig},
		"one byte over, escaped":        {stop(codec.MaxMessage-around+1, `\"`), codec.ErrTooBig},
		"numbers take 11 bytes":         {list(codec.MaxMessage/11+1, "1"), codec.ErrTooBig},
		"a value takes 2 bytes":         {list(codec.MaxMessage/2+2, " 0"), codec.ErrTooBig},
		"commas in a text are no value": {stop(codec.MaxMessage-around, ","), nil},
		"a text that ends in a slash":   {stop(codec.MaxMessage/2-around, `,\\`), nil},
	} {
		if err := codec.Decode([]byte(test.data), &dap.ClientEvent{}); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

func TestABufferTakesAMessageOfTheLimitAndNoMore(t *testing.T) {
	for _, test := range []struct {
		size int
		want error
	}{{0, nil}, {1023, nil}, {1024, nil}, {1025, nil}, {codec.MaxJSON, nil}, {codec.MaxJSON + 1, codec.ErrTooBig}, {codec.MaxJSON * 2, codec.ErrTooBig}} {
		message := bytes.Repeat([]byte("x"), test.size)
		source := bytes.NewReader(message)
		buffer := codec.NewBuffer()
		if err := buffer.Fill(source); !errors.Is(err, test.want) {
			t.Errorf("%d bytes: %v, want %v", test.size, err, test.want)
		} else if err == nil && !bytes.Equal(buffer.Bytes, message) {
			t.Errorf("%d bytes: got %d back", test.size, len(buffer.Bytes))
		}
		if read := test.size - source.Len(); read > codec.MaxJSON+1 {
			t.Errorf("%d bytes: %d of them were read", test.size, read)
		}
		buffer.Free()
	}
}

func TestABufferPassesAReadErrorOn(t *testing.T) {
	broken := errors.New("broken")
	buffer := codec.NewBuffer()
	defer buffer.Free()
	if err := buffer.Fill(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

// The pool would otherwise hold the largest message ever seen, once for each buffer.
func TestThePoolDoesNotKeepALargeBuffer(t *testing.T) {
	large := codec.NewBuffer()
	large.Bytes = make([]byte, codec.MaxMessage)
	large.Free()
	for range 100 {
		if buffer := codec.NewBuffer(); cap(buffer.Bytes) >= codec.MaxMessage {
			t.Fatal("the large buffer came back")
		}
	}
}
