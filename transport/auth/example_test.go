package auth_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/lastcall-go/lastcall/transport/auth"
	"github.com/lastcall-go/lastcall/transport/grant"
)

// A file of tokens, which admits a request with one of them.
func ExampleTokens() {
	token, line, err := auth.NewToken("alice") // lastcall token does the same
	if err != nil {
		log.Fatal(err)
	}
	folder, err := os.MkdirTemp("", "tokens")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	file := filepath.Join(folder, "tokens")
	if err := os.WriteFile(file, []byte(line+"\n"), 0o600); err != nil {
		log.Fatal(err)
	}
	tokens, err := auth.OpenTokens(file, grant.Grant{}) // the Authorizer of a transport.Handler
	if err != nil {
		log.Fatal(err)
	}

	request := httptest.NewRequest(http.MethodGet, "/ws", nil)
	_, err = tokens.Authorize(request)
	fmt.Println("without a token:", err != nil)
	request.Header.Set("Authorization", "Bearer "+token)
	granted, err := tokens.Authorize(request)
	fmt.Println("with it:", granted.Principal, err)

	// Output:
	// without a token: true
	// with it: alice <nil>
}
