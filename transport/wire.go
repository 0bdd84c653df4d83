package transport

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// Limits of a client's connection, from the DAP wire.
const (
	pingInterval  = 20 * time.Second // between the gateway's pings
	silenceLimit  = 30 * time.Second // without a byte from a client that is being read from
	oversleep     = 5 * time.Second  // past a deadline: the process was suspended
	writeLimit    = 60 * time.Second // for what is handed to the kernel in one go
	explainLimit  = time.Second      // for the reader to say why nothing can be written
	readerBuffer  = 512
	writerBuffer  = 512
	fragmentLimit = 64 << 10
)

// wire is a client's connection as the WebSocket sees it. Its limits are deadlines on the socket,
// set anew for each read and write, so that they cost no timer and no goroutine: a read fails
// after [silenceLimit] without a byte. Nobody reads while the agent takes no more; that time
// doesn't count, since the limit begins with the read. Nor does time in which the process was
// suspended: what the client sent then is still to be read.
type wire struct {
	net.Conn
	early  []byte      // what the HTTP server had read past the request
	failed atomic.Bool // a read or a write has
}

func (w *wire) Read(p []byte) (int, error) {
	if len(w.early) > 0 {
		n := copy(p, w.early)
		w.early = w.early[n:]
		return n, nil
	}
	for {
		silent := time.Now().Add(silenceLimit)
		if err := w.SetReadDeadline(silent); err != nil {
			return 0, w.noting(err)
		}
		n, err := w.Conn.Read(p)
		if errors.Is(err, os.ErrDeadlineExceeded) && time.Since(silent) > oversleep {
			continue
		}
		return n, w.noting(err)
	}
}

func (w *wire) Write(p []byte) (int, error) {
	if err := w.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
		return 0, w.noting(err)
	}
	n, err := w.Conn.Write(p)
	return n, w.noting(err)
}

// noting keeps that a read or a write has failed.
func (w *wire) noting(err error) error {
	if err != nil {
		w.failed.Store(true)
	}
	return err
}

// cut closes the connection without a word: TLS's own goodbye could block for 5 s.
func (w *wire) cut() {
	conn := w.Conn
	if encrypted, ok := conn.(*tls.Conn); ok {
		conn = encrypted.NetConn()
	}
	_ = conn.Close()
}

// errHidden says why a request can't be upgraded, and what the server's author is to do.
var errHidden = errors.New("a middleware's ResponseWriter hides Hijack: give it an Unwrap method")

// upgrade is the ResponseWriter of a WebSocket's handshake. coder/websocket writes 101 and then hijacks,
// when it is too late to say that a middleware's ResponseWriter hides the connection. So upgrade hijacks
// first and writes the 101 itself; where that fails nothing has been written, and the answer is 500.
//
// It hands the library a wire instead of the plain connection, and small buffers instead of net/http's,
// which would cost 8 KiB for as long as the session lives. Large messages pass by them.
type upgrade struct {
	http.ResponseWriter
	wire *wire
	err  error // why there is no wire; the request has been answered, or its connection closed
}

// WriteHeader implements [http.ResponseWriter].
func (u *upgrade) WriteHeader(status int) {
	switch {
	case u.err != nil: // the library's own answer comes too late
	case status == http.StatusSwitchingProtocols:
		u.err = u.hijack()
	default:
		u.ResponseWriter.WriteHeader(status)
	}
}

// Write implements [http.ResponseWriter].
func (u *upgrade) Write(p []byte) (int, error) {
	if u.err != nil {
		return 0, u.err
	}
	return u.ResponseWriter.Write(p)
}

// Hijack implements [http.Hijacker].
func (u *upgrade) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if u.err != nil {
		return nil, nil, u.err
	}
	return u.wire, bufio.NewReadWriter(bufio.NewReaderSize(u.wire, readerBuffer), bufio.NewWriterSize(u.wire, writerBuffer)), nil
}

func (u *upgrade) hijack() error {
	conn, buffered, err := http.NewResponseController(u.ResponseWriter).Hijack()
	if err != nil {
		u.refuse()
		return fmt.Errorf("%w (%T: %w)", errHidden, u.ResponseWriter, err)
	}
	early, _ := buffered.Reader.Peek(buffered.Reader.Buffered())
	u.wire = &wire{Conn: conn, early: append([]byte(nil), early...)}
	if err := u.wire.switchProtocols(u.Header()); err != nil {
		return errors.Join(err, conn.Close()) // net/http no longer does
	}
	return nil
}

// refuse answers without what the library had set for the 101.
func (u *upgrade) refuse() {
	for _, name := range []string{"Connection", "Upgrade", "Sec-WebSocket-Accept", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"} {
		u.Header().Del(name)
	}
	http.Error(u.ResponseWriter, "a WebSocket upgrade is not possible here", http.StatusInternalServerError)
}

// switchProtocols writes the answer after which the connection is a WebSocket.
func (w *wire) switchProtocols(header http.Header) error {
	answer := bytes.NewBufferString("HTTP/1.1 101 Switching Protocols\r\n")
	_ = header.Write(answer) // a buffer doesn't fail
	answer.WriteString("\r\n")
	_, err := w.Write(answer.Bytes())
	return err
}
