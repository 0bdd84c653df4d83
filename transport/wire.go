package transport

import (
	"bufio"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"time"
)

// Limits of a client's connection, from the DAP wire.
const (
	pingInterval  = 20 * time.Second // between the gateway's pings
	silenceLimit  = 30 * time.Second // without a byte from a client that is being read from
	writeLimit    = 60 * time.Second // for what is handed to the kernel in one go
	readerBuffer  = 1 << 10
	writerBuffer  = 2 << 10
	fragmentLimit = 64 << 10
)

// wire is a client's connection as the WebSocket sees it. Its limits are deadlines on the socket,
// set anew for each read and write, so that they cost no timer and no goroutine: a read fails
// after [silenceLimit] without a byte. Nobody reads while the agent takes no more; that time
// doesn't count, since the limit begins with the read.
type wire struct {
	net.Conn
	early []byte // what the HTTP server had read past the request
}

func (w *wire) Read(p []byte) (int, error) {
	if len(w.early) > 0 {
		n := copy(p, w.early)
		w.early = w.early[n:]
		return n, nil
	}
	if err := w.SetReadDeadline(time.Now().Add(silenceLimit)); err != nil {
		return 0, err
	}
	return w.Conn.Read(p)
}

func (w *wire) Write(p []byte) (int, error) {
	if err := w.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
		return 0, err
	}
	return w.Conn.Write(p)
}

// cut closes the connection without a word: TLS's own goodbye could block for 5 s.
func (w *wire) cut() {
	conn := w.Conn
	if encrypted, ok := conn.(*tls.Conn); ok {
		conn = encrypted.NetConn()
	}
	_ = conn.Close()
}

// hijacker hands the upgrade a wire instead of the plain connection, and small buffers instead of
// net/http's, which would cost 8 KiB for as long as the session lives. Large messages pass by them.
type hijacker struct {
	http.ResponseWriter
	wire *wire
}

// Hijack implements [http.Hijacker].
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	early, _ := buffered.Reader.Peek(buffered.Reader.Buffered())
	h.wire = &wire{Conn: conn, early: append([]byte(nil), early...)}
	if err := buffered.Writer.Flush(); err != nil {
		return nil, nil, errors.Join(err, conn.Close()) // nobody else would: it is off net/http's hands
	}
	return h.wire, bufio.NewReadWriter(bufio.NewReaderSize(h.wire, readerBuffer), bufio.NewWriterSize(h.wire, writerBuffer)), nil
}
