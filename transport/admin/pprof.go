package admin

import (
	"context"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"time"
)

// The profiles are made here and not by net/http/pprof, whose import alone serves them on
// http.DefaultServeMux: to everybody, in a program that uses that for something else.

// What a profile of some time takes, in seconds.
const (
	defaultProfile = 30
	defaultTrace   = 1
	maxProfile     = 600
)

// getProfiles lists the profiles.
func (h *Handler) getProfiles(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = fmt.Fprintf(w, "<!doctype html><title>Profiles</title>\n<ul>\n")
	for _, profile := range pprof.Profiles() {
		name := profile.Name()
		_, _ = fmt.Fprintf(w, "<li>%d <a href=\"%s?debug=1\">%s</a>\n", profile.Count(), url.PathEscape(name), html.EscapeString(name))
	}
	_, _ = fmt.Fprintf(w, "<li><a href=\"profile?seconds=%d\">profile</a> of the CPU\n", defaultProfile)
	_, _ = fmt.Fprintf(w, "<li><a href=\"trace?seconds=%d\">trace</a> of the execution\n</ul>\n", defaultTrace)
}

// getProfile answers with a profile of this moment: for "go tool pprof", or with debug=1 or 2 as text.
func (h *Handler) getProfile(w http.ResponseWriter, r *http.Request) {
	p := queryParams(r, "debug", "gc")
	debug, gc := p.number("debug", 0, 0), p.number("gc", 0, 0)
	profile := pprof.Lookup(r.PathValue("profile"))
	if profile == nil {
		p.err = refuse(http.StatusNotFound, "there is no such profile")
	}
	if p.err != nil {
		writeError(w, p.err)
		return
	}
	if gc > 0 {
		runtime.GC()
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if debug == 0 {
		setDownload(w, profile.Name())
	}
	_ = profile.WriteTo(w, debug)
}

// getCPUProfile answers with a profile of the CPU over some seconds.
func (h *Handler) getCPUProfile(w http.ResponseWriter, r *http.Request) {
	h.record(w, r, "profile", defaultProfile, func() error { return pprof.StartCPUProfile(w) }, pprof.StopCPUProfile)
}

// getTrace answers with a trace of some seconds, for "go tool trace".
func (h *Handler) getTrace(w http.ResponseWriter, r *http.Request) {
	h.record(w, r, "trace", defaultTrace, func() error { return trace.Start(w) }, trace.Stop)
}

// record records until the time is over, the client goes, or the handler is closed. Once it is
// closed, what is left of the response has lastWriteTimeout to be taken: to stop recording is to
// write the rest.
func (h *Handler) record(w http.ResponseWriter, r *http.Request, name string, byDefault int, start func() error, stop func()) {
	p := queryParams(r, "seconds")
	seconds := p.number("seconds", 1, byDefault)
	if seconds > maxProfile {
		p.fail("seconds must be %d at most", maxProfile)
	}
	if p.err != nil {
		writeError(w, p.err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Duration(seconds)*time.Second)
	defer cancel()
	out := newStream(w)
	defer out.end()
	out.limit(time.Duration(seconds)*time.Second + writeTimeout)
	defer context.AfterFunc(h.closing, func() {
		out.hurry()
		cancel()
	})()
	setDownload(w, name)
	if err := start(); err != nil {
		w.Header().Del("Content-Disposition")
		http.Error(w, "one is being made already", http.StatusConflict)
		return
	}
	defer stop()
	<-ctx.Done()
}

func setDownload(w http.ResponseWriter, name string) {
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", name))
}
