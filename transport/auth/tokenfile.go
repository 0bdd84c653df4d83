package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// TokenPrefix begins every token of [NewToken], so that scanners and people know one when they see
// it where it shouldn't be.
const TokenPrefix = "lct_"

const (
	tokenBytes   = 32
	maxTokenFile = 1 << 20
	maxTokens    = 10_000
	maxTokenName = 64
)

var (
	errTokenName = fmt.Errorf("a name has 1 to %d letters, digits and characters of ._@+:/- and doesn't begin with %s", maxTokenName, TokenPrefix)
	errTokenLine = errors.New("want a name and the token's SHA-256 in hex")
)

// NewToken makes a token of 256 random bits, and the line that lets its owner in, without a
// newline. The line doesn't give the token away. An error says that the name can't be used; that
// it is new in a file is for the reader of that file to see.
func NewToken(name string) (token, line string, err error) {
	if !tokenName(name) {
		return "", "", errTokenName
	}
	random := make([]byte, tokenBytes)
	_, _ = rand.Read(random) // never fails
	token = TokenPrefix + base64.RawURLEncoding.EncodeToString(random)
	hash := sha256.Sum256([]byte(token))
	return token, name + " " + hex.EncodeToString(hash[:]), nil
}

func readTokens(path string) ([]entry, error) {
	data, err := readFile(path, maxTokenFile)
	if err != nil {
		return nil, fmt.Errorf("token file: %w", err)
	}
	entries, err := parseTokens(string(data))
	if err != nil {
		return nil, fmt.Errorf("token file %s: %w", path, err)
	}
	return entries, nil
}

// readFile reads a file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s: over %d bytes", path, limit)
	}
	return data, nil
}

// tokenFile collects the entries of a file, with the lines where they were seen.
type tokenFile struct {
	entries []entry
	names   map[string]int
	hashes  map[[sha256.Size]byte]int
}

func parseTokens(text string) ([]entry, error) {
	file := tokenFile{names: make(map[string]int), hashes: make(map[[sha256.Size]byte]int)}
	number := 0
	for line := range strings.Lines(text) {
		number++
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		e, err := parseToken(fields)
		if err == nil {
			err = file.add(e, number)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	return file.entries, nil
}

func parseToken(fields []string) (entry, error) {
	if len(fields) != 2 || len(fields[1]) != hex.EncodedLen(sha256.Size) {
		return entry{}, errTokenLine
	}
	if !tokenName(fields[0]) {
		return entry{}, errTokenName
	}
	e := entry{name: fields[0]}
	if _, err := hex.Decode(e.hash[:], []byte(fields[1])); err != nil {
		return entry{}, errTokenLine // err quotes a character
	}
	return e, nil
}

func (f *tokenFile) add(e entry, line int) error {
	if first, ok := f.names[e.name]; ok {
		return fmt.Errorf("the same name as in line %d", first)
	}
	if first, ok := f.hashes[e.hash]; ok {
		return fmt.Errorf("the same token as in line %d", first)
	}
	if len(f.entries) == maxTokens {
		return fmt.Errorf("over %d tokens", maxTokens)
	}
	f.names[e.name], f.hashes[e.hash] = line, line
	f.entries = append(f.entries, e)
	return nil
}

// tokenName reports whether a name can be shown and logged. One that looks like a token is most
// likely one.
func tokenName(name string) bool {
	if name == "" || len(name) > maxTokenName || strings.HasPrefix(name, TokenPrefix) {
		return false
	}
	for i := range len(name) {
		if !alphanumeric(name[i]) && !strings.ContainsRune("._@+:/-", rune(name[i])) {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
