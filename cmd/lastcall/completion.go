package main

import (
	"io"
	"strings"
	"text/template"

	"github.com/alecthomas/kong"
)

// completionCmd makes completion scripts.
type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help is shown by "lastcall completion --help".
func (*completionCmd) Help() string {
	return `It prints a script that makes a shell complete commands, flags, and those values that are words
of a list or files. The script doesn't run lastcall: make it again for another version.

  eval "$(lastcall completion bash)"    in ~/.bashrc
  source <(lastcall completion zsh)     in ~/.zshrc, after compinit
  lastcall completion fish | source     in ~/.config/fish/config.fish

Example:
  lastcall completion bash > /etc/bash_completion.d/lastcall`
}

// Run implements the command.
func (c *completionCmd) Run(std streams, k *kong.Kong) error {
	return writeCompletion(std.out, c.Shell, k.Model.Node)
}

// completable is a command, or what comes before one, as the scripts have it.
type completable struct {
	Name, Help string
	Flags      []completableFlag
	Args       []completableArg
	Commands   []completable
}

type completableFlag struct {
	Name, Help string // with its dashes; a short form is a flag of its own
	Value      string // as completableArg's, or empty: the flag takes none
	Many       bool   // it may be given more than once
}

type completableArg struct {
	Name, Value string // the words that it may be, or anyValue or fileValue
	Position    int    // from 1
}

// What a value may be if no list of words.
const (
	anyValue  = "<any>"
	fileValue = "<file>"
)

// writeCompletion writes the script of one shell. A command has no commands of its own: the scripts
// know one level.
func writeCompletion(w io.Writer, shell string, app *kong.Node) error {
	text := map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}[shell]
	functions := template.FuncMap{
		"quoted":   quoted,
		"zshFlag":  zshFlag,
		"zshValue": zshValue,
		"fishFlag": fishFlag,
	}
	root := newCompletable(app)
	root.Name = "" // in the scripts: no command yet
	return template.Must(template.New(shell).Funcs(functions).Parse(text)).Execute(w, root)
}

func newCompletable(node *kong.Node) completable {
	c := completable{Name: node.Name, Help: firstSentence(node.Help)}
	for _, group := range node.AllFlags(true) {
		for _, flag := range group {
			c.addFlag(flag)
		}
	}
	for i, arg := range node.Positional {
		c.Args = append(c.Args, completableArg{Name: arg.Name, Value: completableValue(arg), Position: i + 1})
	}
	for _, child := range node.Children {
		if !child.Hidden {
			c.Commands = append(c.Commands, newCompletable(child))
		}
	}
	return c
}

func (c *completable) addFlag(flag *kong.Flag) {
	f := completableFlag{Name: "--" + flag.Name, Help: firstSentence(flag.Help), Many: flag.IsCumulative()}
	if !flag.IsBool() {
		f.Value = completableValue(flag.Value)
	}
	c.Flags = append(c.Flags, f)
	if flag.Short != 0 {
		f.Name = "-" + string(flag.Short)
		c.Flags = append(c.Flags, f)
	}
}

func completableValue(v *kong.Value) string {
	switch {
	case v.Enum != "":
		return strings.ReplaceAll(v.Enum, ",", " ")
	case v.Tag.Type == "path" || v.Tag.Type == "existingfile":
		return fileValue
	}
	return anyValue
}

// firstSentence is what fits a menu.
func firstSentence(help string) string {
	first, _, _ := strings.Cut(help, ". ")
	return strings.TrimSuffix(first, ".")
}

// quoted makes one word of a text, for each of the shells. A backslash in it would mean something to
// fish alone; no help has one.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// zshFlag is a flag as zsh's _arguments wants it: '--slowest=[How many are shown]:--slowest: '.
func zshFlag(f completableFlag) string {
	spec := f.Name
	if f.Many {
		spec = "*" + spec
	}
	if f.Value != "" {
		spec += "="
	}
	spec += "[" + strings.NewReplacer(`[`, `\[`, `]`, `\]`).Replace(f.Help) + "]"
	if f.Value != "" {
		spec += ":" + f.Name + ":" + zshValue(f.Value)
	}
	return quoted(spec)
}

func zshValue(value string) string {
	switch value {
	case fileValue:
		return "_files"
	case anyValue:
		return " "
	}
	return "(" + value + ")"
}

// fishFlag is a flag as fish's complete wants it: -l slowest -d 'How many are shown' -x.
func fishFlag(f completableFlag) string {
	option := "-s " + strings.TrimPrefix(f.Name, "-")
	if long, isLong := strings.CutPrefix(f.Name, "--"); isLong {
		option = "-l " + long
	}
	option += " -d " + quoted(f.Help)
	switch f.Value {
	case "":
		return option
	case fileValue:
		return option + " -r -F"
	case anyValue:
		return option + " -x"
	}
	return option + " -x -a " + quoted(f.Value)
}

// Bash takes "--flag=value" apart into three words, and host:port too, unless COMP_WORDBREAKS says
// otherwise. The script does without what the bash 3.2 of macOS lacks: mapfile, and compopt if need be.
const bashCompletion = `# bash completion for lastcall. Load it with: eval "$(lastcall completion bash)"

# _lastcall_after sets "after" to what may come after a flag, or in a position: words, <file>, <any>,
# or nothing.
_lastcall_after() {
    case $1 in
    ' 1') after='{{range .Commands}}{{.Name}} {{end}}' ;;
{{- range $c := .Commands}}
{{- range .Flags}}{{if .Value}}
    '{{$c.Name}} {{.Name}}') after='{{.Value}}' ;;
{{- end}}{{end}}
{{- range .Args}}
    '{{$c.Name}} {{.Position}}') after='{{.Value}}' ;;
{{- end}}
{{- end}}
    *) after= ;;
    esac
}

_lastcall_flags() {
    case $1 in
{{- range .Commands}}
    {{.Name}}) after='{{range .Flags}}{{.Name}} {{end}}' ;;
{{- end}}
    *) after='{{range .Flags}}{{.Name}} {{end}}' ;;
    esac
}

_lastcall() {
    local word after i prefix= command= position=1 flag= cur=${COMP_WORDS[COMP_CWORD]}
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in
        =) [[ $flag ]] || i=$((i + 1)); continue ;;
        :*) i=$((i + 1)); continue ;;
        esac
        if [[ $flag ]]; then
            flag=
        elif [[ $word == -* ]]; then
            _lastcall_after "$command $word"
            flag=${after:+$word}
        elif [[ $command ]]; then
            position=$((position + 1))
        else
            command=$word
        fi
    done

    if [[ $flag && $cur == = ]]; then
        cur=
    elif [[ ! $flag && $cur == --*=* ]]; then
        flag=${cur%%=*} cur=${cur#*=}
        prefix=$flag=
    fi
    if [[ $flag ]]; then
        _lastcall_after "$command $flag"
    elif [[ $cur == -* ]]; then
        _lastcall_flags "$command"
    else
        _lastcall_after "$command $position"
        [[ $after ]] || _lastcall_flags "$command"
    fi

    case $after in
    '<any>') return ;;
    '<file>')
        [[ $prefix ]] || compopt -o filenames 2>/dev/null
        set -- -f ;;
    *) set -- -W "$after" ;;
    esac
    while IFS= read -r word; do
        COMPREPLY+=("$prefix$word")
    done < <(compgen "$@" -- "$cur")
}

complete -F _lastcall lastcall
`

const zshCompletion = `#compdef lastcall
# zsh completion for lastcall. Load it with: source <(lastcall completion zsh)
# or save it as _lastcall in a folder of $fpath.

_lastcall() {
    local curcontext=$curcontext state line
    local -a commands
    typeset -A opt_args
    commands=(
{{- range .Commands}}
        {{printf "%s:%s" .Name .Help | quoted}}
{{- end}}
    )
    _arguments -C \
{{- range .Flags}}
        {{zshFlag .}} \
{{- end}}
        '1:command:->command' '*::argument:->argument' && return
    case $state in
    command) _describe command commands ;;
    argument)
        case $words[1] in
{{- range .Commands}}
        {{.Name}})
            _arguments \
{{- range .Flags}}
                {{zshFlag .}} \
{{- end}}
{{- range .Args}}
                '{{.Position}}:{{.Name}}:{{zshValue .Value}}' \
{{- end}}
            ;;
{{- end}}
        esac ;;
    esac
}

if [[ $funcstack[1] == _lastcall ]]; then
    _lastcall "$@"
else
    compdef _lastcall lastcall
fi
`

const fishCompletion = `# fish completion for lastcall. Load it with: lastcall completion fish | source

# __lastcall_in succeeds if the command is this one.
function __lastcall_in
    set -l words (commandline -opc)
    test "$words[2]" = "$argv[1]"
end

complete -c lastcall -f
{{- template "flags" .}}
{{- range .Commands}}
complete -c lastcall -n '__lastcall_in ""' -a {{.Name}} -d {{quoted .Help}}
{{- template "flags" .}}
{{- $c := .}}
{{- range .Args}}
complete -c lastcall -n '__lastcall_in "{{$c.Name}}"'
    {{- if eq .Value "<file>"}} -F{{else if ne .Value "<any>"}} -a '{{.Value}}'{{end}}
{{- end}}
{{- end}}
{{define "flags"}}{{$c := .}}
{{- range .Flags}}
complete -c lastcall -n '__lastcall_in "{{$c.Name}}"' {{fishFlag .}}
{{- end}}
{{- end}}`
