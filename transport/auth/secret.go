package auth

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	secretBytes   = 32
	maxSecretFile = 1 << 10

	// signatureHeader and signatureIssuer are what GitLab's endpoints look for.
	signatureHeader = "Gitlab-Workhorse-Api-Request"
	signatureIssuer = "gitlab-workhorse"

	// signatureLife bounds the use of a signature that was overheard. It leaves room for two clocks
	// that disagree.
	signatureLife = 5 * time.Minute
)

// Secret is the key that a gateway and its pre-authorization endpoint share.
type Secret []byte

// ReadSecret reads a file with the base64 of 32 bytes. An error shows nothing of them.
func ReadSecret(path string) (Secret, error) {
	data, err := readFile(path, maxSecretFile)
	if err != nil {
		return nil, fmt.Errorf("secret file: %w", err)
	}
	secret, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(data)))
	if err != nil || len(secret) != secretBytes {
		return nil, fmt.Errorf("secret file %s: want the base64 of %d bytes", path, secretBytes)
	}
	return secret, nil
}

// Format implements [fmt.Formatter]: it shows nothing of the secret.
func (s Secret) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, "[secret]") }

// sign returns a JWT, HS256, that identifies the gateway, for a few minutes. It says nothing about when it
// was made: some libraries refuse one from a clock that is ahead of theirs.
func (s Secret) sign(now time.Time) (string, error) {
	claims := jwt.RegisteredClaims{
		Issuer:    signatureIssuer,
		ExpiresAt: jwt.NewNumericDate(now.Add(signatureLife)),
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(s))
}
