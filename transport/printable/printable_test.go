package printable

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// attacks are texts that would do something to a terminal or its reader, and how they are shown.
var attacks = map[string]struct{ text, shown string }{
	"a title":                      {"\x1b]0;evil\x07", `\x1b]0;evil\x07`},
	"a cleared screen":             {"\x1b[2J\x1b[H", `\x1b[2J\x1b[H`},
	"a control sequence of C1":     {"\u009b31m", `\x9b31m`},
	"an overwritten line":          {"safe\rrm -rf /", "safe rm -rf /"},
	"backspaces":                   {"rm\b\bls", `rm\x08\x08ls`},
	"a second line":                {"done\nlastcall: all is well", "done lastcall: all is well"},
	"a line separator":             {"one\u2028two\u2029three", "one two three"},
	"a next line of C1":            {"one\u0085two", "one two"},
	"text from right to left":      {"a\u202egnp.exe", `a\u202egnp.exe`},
	"an isolate":                   {"a\u2066b\u2069", `a\u2066b\u2069`},
	"marks of direction":           {"\u200ea\u200fb\u061cc", `\u200ea\u200fb\u061cc`},
	"spaces of no width":           {"pay\u200bpal\ufeff", `pay\u200bpal\ufeff`},
	"a join of no width":           {"a\u200db\u2060c", `a\u200db\u2060c`},
	"a soft hyphen":                {"a\u00adb", `a\xadb`},
	"tags":                         {"a\U000e0041", `a\U000e0041`},
	"a private character":          {"a\ue000", `a\ue000`},
	"an ideographic space":         {"a\u3000b", "a b"},
	"an interlinear annotation":    {"a\ufff9b", `a\ufff9b`},
	"delete":                       {"a\x7f", `a\x7f`},
	"zero":                         {"a\x00b", `a\x00b`},
	"bytes that are not UTF-8":     {"a\xff\x9bb", `a\xff\x9bb`},
	"half of a character":          {"a\xe2\x80", `a\xe2\x80`},
	"a hyperlink":                  {"\x1b]8;;http://evil\x1b\\here\x1b]8;;\x1b\\", `\x1b]8;;http://evil\x1b\here\x1b]8;;\x1b\`},
	"what a clipboard is set with": {"\x1b]52;c;ZXZpbA==\x07", `\x1b]52;c;ZXZpbA==\x07`},
}

func TestNoAttackIsLeftInALine(t *testing.T) {
	for name, attack := range attacks {
		if got := Line(attack.text); got != attack.shown || !Is(got) {
			t.Errorf("%s: %q is shown as %q, want %q", name, attack.text, got, attack.shown)
		}
		if Is(attack.text) {
			t.Errorf("%s: %q is taken for printable", name, attack.text)
		}
	}
}

func TestTextOfAllLanguagesStays(t *testing.T) {
	for _, text := range []string{"", "plain text", "Größe naïve", "日本語 한국어", "שלום العربية", "e\u0301", "😀 →", "\ufffd", `a\b "c"`} {
		if Line(text) != text || !Is(text) || JSON([]byte(text)) != text {
			t.Errorf("%q is shown as %q, %q", text, Line(text), JSON([]byte(text)))
		}
	}
}

func TestAttacksInJSONAreEscapedAndStayTheSameValue(t *testing.T) {
	for name, attack := range attacks {
		if !utf8.ValidString(attack.text) {
			continue // JSON has none
		}
		text, err := json.Marshal(map[string]string{"text": attack.text})
		if err != nil {
			t.Fatal(err)
		}
		safe := JSON(append(text, '\n'))
		var value map[string]string
		if err := json.Unmarshal([]byte(safe), &value); err != nil || value["text"] != attack.text {
			t.Errorf("%s: %q became %q, %v", name, attack.text, value["text"], err)
		}
		if !Is(strings.TrimSuffix(safe, "\n")) {
			t.Errorf("%s: %q is left", name, safe)
		}
	}
}
