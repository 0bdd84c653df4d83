package auth_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lastcall-go/lastcall/transport/auth"
)

// key is 32 bytes with the canary among them.
func key() auth.Secret { return auth.Secret((canary + strings.Repeat("k", 32))[:32]) }

func TestASecretIsReadFromBase64(t *testing.T) {
	text := base64.StdEncoding.EncodeToString(key())
	for _, text := range []string{text, text + "\n", " " + text + "\r\n"} {
		secret, err := auth.ReadSecret(write(t, "", text))
		if err != nil || !bytes.Equal(secret, key()) {
			t.Errorf("%q: got %d bytes, %v", text, len(secret), err)
		}
		mustNotTell(t, secret, auth.ForwardOptions{Secret: secret, Base: base()})
	}
}

func TestABadSecretIsRefusedAndNotTold(t *testing.T) {
	for _, text := range []string{
		"", canary, string(key()), base64.StdEncoding.EncodeToString(key()[:31]), base64.StdEncoding.EncodeToString(append(key(), 'k')),
		base64.StdEncoding.EncodeToString(key()) + canary, strings.Repeat("A", 2000),
	} {
		secret, err := auth.ReadSecret(write(t, "", text))
		if err == nil || secret != nil {
			t.Errorf("%q: got %d bytes", text, len(secret))
		}
		mustNotTell(t, err)
	}
	if _, err := auth.ReadSecret(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
