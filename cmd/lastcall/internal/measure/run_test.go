package measure

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lastcall-go/lastcall/transport/httpserver"
)

// Running out of files would look like a gateway that fails.
func TestBenchRefusesMoreSessionsThanFilesMayBeOpen(t *testing.T) {
	limit, known := httpserver.DescriptorLimit()
	if !known {
		t.Fatal("the limit isn't known")
	}
	c := &Flags{Sessions: int(limit)}
	if err := c.checkFiles(); err == nil || !strings.Contains(err.Error(), "ulimit -n ") || !strings.Contains(err.Error(), fmt.Sprintf("the limit is %d:", limit)) {
		t.Errorf("%v", err)
	}
	c.Sessions = int(limit)/2 - 100
	if err := c.checkFiles(); err != nil {
		t.Error(err)
	}
}
