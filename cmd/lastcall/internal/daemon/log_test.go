package daemon

import (
	"encoding/json"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

func openLog(w io.Writer, level slog.Level) *Log {
	return OpenLog(w, func(lines io.Writer) *slog.Logger {
		return slog.New(slog.NewJSONHandler(lines, &slog.HandlerOptions{Level: level}))
	})
}

// A log that flows again says what is missing, at every level, and begins where it had stopped.
func TestALogThatFlowsAgainSaysWhatIsMissing(t *testing.T) {
	for level, want := range map[slog.Level]string{slog.LevelInfo: "WARN", slog.LevelError: "ERROR"} {
		w := &heldBack{stuck: make(chan struct{})}
		log := openLog(w, level)
		before := 0
		for ; log.Dropped() < 100 && before < 100_000; before++ {
			log.Error("hello", "n", before, "text", strings.Repeat("x", 4000))
		}
		close(w.stuck)
		for late := time.Now().Add(30 * time.Second); !strings.Contains(w.String(), "log records dropped"); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(late) {
				t.Fatal("nothing says that records were dropped")
			}
		}
		log.Close(time.Time{})
		lines := strings.Split(strings.TrimSpace(w.String()), "\n")
		var last struct {
			Level, Msg string
			Records    int
		}
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || last.Level != want || last.Msg != "log records dropped" || last.Records != 100 {
			t.Errorf("level %v: the last record is %+v, %v", level, last, err)
		}
		if got := len(lines) - 1 + last.Records; got != before {
			t.Errorf("%d records arrived or are said to be missing, want %d", got, before)
		}
	}
}

// heldBack takes nothing until it is no longer stuck.
type heldBack struct {
	stuck chan struct{}
	mu    sync.Mutex
	taken strings.Builder
}

func (s *heldBack) Write(p []byte) (int, error) {
	<-s.stuck
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken.Write(p)
}

func (s *heldBack) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken.String()
}

// The end of the process waits for its log as long as there is time, and a little where there is none.
func TestTheLogHasUntilTheDeadline(t *testing.T) {
	for _, test := range []struct {
		deadline time.Duration // from now. 0: there is none
		want     time.Duration
	}{{0, FlushTimeout}, {time.Hour, FlushTimeout}, {400 * time.Millisecond, 400 * time.Millisecond}, {-time.Second, leastFlush}} {
		w := &heldBack{stuck: make(chan struct{})}
		log := openLog(w, slog.LevelInfo)
		log.Info("hello")
		var deadline time.Time
		if test.deadline != 0 {
			deadline = time.Now().Add(test.deadline)
		}
		begun := time.Now()
		log.Close(deadline)
		if took := time.Since(begun); took < test.want-50*time.Millisecond || took > test.want+5*time.Second {
			t.Errorf("deadline in %v: waited %v, want %v", test.deadline, took, test.want)
		}
		close(w.stuck)
		log.Close(time.Time{})
	}
}
