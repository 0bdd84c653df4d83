package tests

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// peer is a client that speaks WebSocket by hand, to be able to speak it badly. It reads nothing
// unless asked to.
type peer struct {
	g *gateway
	*net.TCPConn
	in *bufio.Reader
}

// The opcodes of frames.
const (
	opContinuation = 0x0
	opText         = 0x1
	opReserved     = 0x3
	opClose        = 0x8
	opPing         = 0x9

	final  = 0x80 // with the opcode: no continuation follows
	masked = 0x80 // with the length
)

// peer opens a session by hand.
func (g *gateway) peer() *peer {
	g.t.Helper()
	conn, err := net.Dial("tcp", g.address)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { conn.Close() })
	c := &peer{g, conn.(*net.TCPConn), bufio.NewReader(conn)}
	c.write([]byte("GET /ws HTTP/1.1\r\nHost: " + g.address + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"))
	answer, err := http.ReadResponse(c.in, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		g.t.Fatalf("the upgrade: %v %v", answer, err)
	}
	return c
}

// start sends the startRequest.
func (c *peer) start(workflow string) *peer {
	c.writeFrame(opText, fmt.Appendf(nil, `{"startRequest": {"workflowID": %q}}`, workflow))
	return c
}

// begun reads the first message.
func (c *peer) begun() {
	c.g.t.Helper()
	if opcode, _, err := c.readFrame(); err != nil || opcode == opClose {
		c.g.t.Fatalf("the first frame has opcode %d: %v", opcode, err)
	}
}

// write may fail: the gateway is free to hang up on a client that misbehaves.
func (c *peer) write(p []byte) { _, _ = c.Write(p) }

func (c *peer) writeFrame(opcode byte, payload []byte) {
	c.write(append(header(final|opcode, len(payload)), payload...))
}

func (c *peer) writeClose(code uint16) {
	c.writeFrame(opClose, binary.BigEndian.AppendUint16(nil, code))
}

// header begins a frame of a client. The mask of zeros leaves the payload as it is.
func header(first byte, length int) []byte {
	frame := []byte{first}
	switch {
	case length < 126:
		frame = append(frame, masked|byte(length))
	case length < 1<<16:
		frame = binary.BigEndian.AppendUint16(append(frame, masked|126), uint16(length))
	default:
		frame = binary.BigEndian.AppendUint64(append(frame, masked|127), uint64(length))
	}
	return append(frame, 0, 0, 0, 0)
}

// readFrame reads a frame of the gateway's, which has no mask.
func (c *peer) readFrame() (opcode byte, payload []byte, err error) {
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return 0, nil, err
	}
	var head [2]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return 0, nil, err
	}
	length := uint64(head[1])
	var long [8]byte
	switch head[1] {
	case 126:
		_, err = io.ReadFull(c.in, long[6:])
		length = binary.BigEndian.Uint64(long[:])
	case 127:
		_, err = io.ReadFull(c.in, long[:])
		length = binary.BigEndian.Uint64(long[:])
	}
	if err != nil {
		return 0, nil, err
	}
	payload = make([]byte, length)
	_, err = io.ReadFull(c.in, payload)
	return head[0] & 0x0f, payload, err
}

// closeCode reads up to the close frame, and returns its code; 1006 if there is none.
func (c *peer) closeCode() int {
	code, _ := c.closeFrame()
	return code
}

func (c *peer) closeFrame() (code int, reason string) {
	for {
		opcode, payload, err := c.readFrame()
		if err != nil {
			return 1006, ""
		}
		if opcode == opClose && len(payload) >= 2 {
			return int(binary.BigEndian.Uint16(payload)), string(payload[2:])
		}
	}
}

// hangUp ends the connection in order, as TCP sees it.
func (c *peer) hangUp() { _ = c.CloseWrite() }

// reset ends it as a crash or a firewall does.
func (c *peer) reset() {
	_ = c.SetLinger(0)
	_ = c.Close()
}
