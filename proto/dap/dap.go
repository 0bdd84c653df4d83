// Package dap is the contract of the Duo Agent Platform: the messages that a client, a gateway and
// an agent exchange, and the gRPC service DuoWorkflow that carries them.
//
// contract.proto is the source; the other files are generated from it. "go generate ./proto/dap"
// makes them again, with nothing installed but Go: protoc-gen-go in the version of protobuf that
// go.mod names, buf and protoc-gen-go-grpc in the versions named here and in buf.gen.yaml.
package dap

//go:generate go run github.com/bufbuild/buf/cmd/buf@v1.75.0 generate
