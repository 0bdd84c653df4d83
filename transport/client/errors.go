package client

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"

	"github.com/lastcall-go/lastcall/transport/printable"
)

// Close codes that this package decides on. 1006 is never on the wire: it says that no close frame
// came.
const (
	codeNormal         = int(websocket.StatusNormalClosure)
	codeGoingAway      = int(websocket.StatusGoingAway)
	codeLost           = int(websocket.StatusAbnormalClosure)
	codeInvalidPayload = int(websocket.StatusInvalidFramePayloadData)
	codeTooBig         = int(websocket.StatusMessageTooBig)
	codeServiceRestart = int(websocket.StatusServiceRestart)
	codeTryAgainLater  = int(websocket.StatusTryAgainLater)
)

// CloseError says how a connection ended: with the gateway's close code and reason; with 1007 or
// 1009, sent by this client, after a message that is no Action or is over the limit; or, with 1006,
// without a close frame.
type CloseError struct {
	Code   int
	Reason string
	cause  error
}

func (e *CloseError) Error() string {
	switch {
	case e.Code == codeLost:
		return fmt.Sprintf("connection lost: %v", e.cause)
	case e.Reason == "":
		return fmt.Sprintf("connection closed with code %d", e.Code)
	default:
		return fmt.Sprintf("connection closed with code %d: %s", e.Code, printable.Line(e.Reason))
	}
}

// Unwrap returns what broke the connection, or nil if the gateway closed it.
func (e *CloseError) Unwrap() error { return e.cause }

// RefusedError says that the gateway answered the upgrade request with something else than a
// WebSocket.
type RefusedError struct {
	Status     int           // HTTP status
	RetryAfter time.Duration // what the gateway asked for; zero if it didn't
	Message    string        // the beginning of the answer's body
}

func (e *RefusedError) Error() string {
	text := fmt.Sprintf("gateway refused the connection: %d %s", e.Status, http.StatusText(e.Status))
	if e.Message == "" {
		return text
	}
	return text + ": " + printable.Line(e.Message)
}

// lost returns the error for a connection that broke.
func lost(cause error) *CloseError {
	return &CloseError{Code: codeLost, cause: cause}
}

// finished reports whether the connection ended because the workflow did.
func finished(err error) bool {
	var closed *CloseError
	return errors.As(err, &closed) && closed.Code == codeNormal
}

// passing reports whether what ended or prevented a connection may be over at the next attempt.
func passing(err error) bool {
	var closed *CloseError
	if errors.As(err, &closed) {
		return passingCode(closed.Code)
	}
	var refused *RefusedError
	if errors.As(err, &refused) {
		return passingStatus(refused.Status)
	}
	var certificate *tls.CertificateVerificationError
	return !errors.As(err, &certificate) && !strings.Contains(err.Error(), "malformed HTTP ") // which has no type
}

func passingCode(code int) bool {
	switch code {
	case codeGoingAway, codeLost, codeServiceRestart, codeTryAgainLater:
		return true
	}
	return false
}

func passingStatus(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}
