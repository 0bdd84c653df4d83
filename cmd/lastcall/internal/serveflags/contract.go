package serveflags

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/lastcall-go/lastcall/transport/agentpool"
	"github.com/lastcall-go/lastcall/transport/codec"
	"github.com/lastcall-go/lastcall/transport/grant"
)

// contractFlags say what is known of the agent's messages.
type contractFlags struct {
	Contract string `placeholder:"FILE" help:"Contract of the agent that is newer than this gateway's: a FileDescriptorSet, as 'buf build' and 'protoc --include_imports --descriptor_set_out' write it, or the word reflect to ask the agent by gRPC reflection. Fields and actions that are new in it pass both ways. Read again on SIGHUP."`
}

// byReflection is the value of --contract that asks the agent.
const byReflection = "reflect"

// reflectTimeout bounds one question to the agent.
const reflectTimeout = 5 * time.Second

// maxContract bounds, in bytes, the file of a contract.
const maxContract = 16 << 20

func (f *contractFlags) check(agent string) error {
	if f.Contract == byReflection && agent == "" {
		return errors.New("--contract reflect asks the agent, and needs --agent")
	}
	return nil
}

// contract is what sessions that begin go by.
type contract struct {
	now  atomic.Pointer[codec.Contract]
	read func(context.Context) (*codec.Contract, error) // nil: it stays the built-in one
}

// open reads the contract that the flag names. An agent that can't be asked yet is asked again.
func (f *contractFlags) open(pool *agentpool.Pool, log *slog.Logger) (*contract, []reloadable, error) {
	c := &contract{}
	c.now.Store(codec.BuiltIn)
	switch f.Contract {
	case "":
		return c, nil, nil
	case byReflection:
		c.read = func(ctx context.Context) (*codec.Contract, error) { return pool.Contract(ctx, grant.Target{}) }
	default:
		c.read = func(context.Context) (*codec.Contract, error) { return readContract(f.Contract) }
	}
	reload := reloadable{what: "contract", read: c.reload}
	err := c.reload(context.Background())
	if agentpool.Unreachable(err) {
		log.Warn("the agent can't be asked for its contract yet: the gateway's own is used until it can", "error", err)
		reload.due, err = true, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("--contract %s: %w", f.Contract, err)
	}
	return c, []reloadable{reload}, nil
}

// closePool closes a pool that is no service yet, and may have been asked over.
func closePool(pool *agentpool.Pool) error {
	over, end := context.WithCancel(context.Background())
	end()
	return pool.Serve(over)
}

func (c *contract) reload(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, reflectTimeout)
	defer cancel()
	read, err := c.read(ctx)
	if err == nil {
		c.now.Store(read)
	}
	return err
}

func readContract(path string) (*codec.Contract, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	set, err := io.ReadAll(io.LimitReader(file, maxContract+1))
	if err == nil && len(set) > maxContract {
		err = fmt.Errorf("more than %d MiB", maxContract>>20)
	}
	if err != nil {
		return nil, err
	}
	return codec.ParseContract(set)
}
