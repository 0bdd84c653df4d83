package main

import (
	"embed"
	"fmt"
	"io"
)

// deployment holds the files that "lastcall example" prints. Tests parse them, and run the proxies and
// Prometheus with theirs.
//
//go:embed deploy
var deployment embed.FS

// exampleFiles has the files of each platform, in the order in which they are printed.
var exampleFiles = map[string][]string{
	"systemd":    {"lastcall.socket", "lastcall.service"},
	"kubernetes": {"kubernetes.yaml"},
	"nginx":      {"nginx.conf"},
	"haproxy":    {"haproxy.cfg"},
	"compose":    {"compose.yaml"},

	"prometheus-rules": {"prometheus-rules.yaml"},
	"grafana":          {"grafana.json"},
}

// exampleCmd prints the configuration of a platform, a proxy or a monitoring system.
type exampleCmd struct {
	Platform string `arg:"" enum:"systemd,kubernetes,nginx,haproxy,compose,prometheus-rules,grafana" help:"systemd, kubernetes, nginx, haproxy, compose, prometheus-rules or grafana."`
}

// Help is shown by "lastcall example --help".
func (*exampleCmd) Help() string {
	return `It prints a configuration to begin with, and says in comments what to heed. The configuration of
systemd is two files, each after a line with its name.

prometheus-rules is alerts with a runbook for each, grafana a dashboard.

Example:
  lastcall example nginx > /etc/nginx/conf.d/lastcall.conf`
}

// Run implements the command.
func (c *exampleCmd) Run(std streams) error {
	files := exampleFiles[c.Platform]
	for _, name := range files {
		if err := printExample(std.out, name, len(files) > 1); err != nil {
			return err
		}
	}
	return nil
}

// printExample prints a file, after its name if titled.
func printExample(w io.Writer, name string, titled bool) error {
	text, err := deployment.ReadFile("deploy/" + name)
	if err != nil {
		return err
	}
	if titled {
		text = append(fmt.Appendf(nil, "# %s\n", name), text...)
	}
	_, err = w.Write(text)
	return err
}
