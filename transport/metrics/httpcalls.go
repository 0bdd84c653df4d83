package metrics

import (
	"net/http"
	"strings"

	"github.com/lastcall-go/lastcall/proto/dap"
)

// noAnswer stands for the status of a call without one.
const noAnswer = "none"

func methods() label {
	return label{"method", []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, other}}
}

func statusClasses() label {
	return label{"status", []string{"2xx", "3xx", "4xx", "5xx", noAnswer, other}}
}

// httpCalled counts a call of runHTTPRequest; any other action is none. answer may be nil.
func (m *Metrics) httpCalled(action *dap.Action, answer *dap.ActionResponse) {
	if asked := action.GetRunHTTPRequest(); asked != nil {
		m.httpCalls.with(strings.ToUpper(asked.GetMethod()), statusClass(answer.GetHttpResponse())).Inc()
	}
}

func statusClass(response *dap.HttpResponse) string {
	if response == nil || response.GetError() != "" { // its status is the tool's own
		return noAnswer
	}
	if class := response.GetStatusCode() / 100; class >= 2 && class <= 5 {
		return string(rune('0'+class)) + "xx"
	}
	return other
}
