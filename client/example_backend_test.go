package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"welcomed/client"
)

// A backend is the part of an application that knows its users. It has a service's token of
// the server, and gives each device a token of the device's own.
type backend struct{ welcomed *client.Client }

// ServeHTTP lets a signed-in user sign a device up (POST /devices/{name}) and out (DELETE).
func (b backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, _, signedIn := r.BasicAuth() // an application has sessions
	if !signedIn {
		http.Error(w, "sign in", http.StatusUnauthorized)
		return
	}
	device := client.DeviceID{User: user, Name: strings.TrimPrefix(r.URL.Path, "/devices/")}
	var token client.Token
	var err error
	switch r.Method {
	case http.MethodPost:
		token, err = b.welcomed.CreateToken(r.Context(), device, client.NewToken{})
	case http.MethodDelete:
		err = b.welcomed.RemoveDevice(r.Context(), device) // revokes its token too
	}
	switch client.CodeOf(err) {
	case client.CodeBadIdentifier:
		http.Error(w, "no name for a device", http.StatusBadRequest)
	case client.CodeTooManyTokens:
		http.Error(w, "sign out first", http.StatusConflict)
	default:
		if err != nil {
			log.Printf("welcomed: %v", err)
			http.Error(w, "try again later", http.StatusBadGateway)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"token": token.Token})
	}
}

// A back end signs users up and out. Their devices speak to the server themselves, with the
// tokens that they were given.
func Example_backEnd() {
	ctx := context.Background()
	service, library, done := exampleServer()
	defer done()
	app := httptest.NewServer(backend{service})
	defer app.Close()

	// Bob's laptop signs up, and adds Alice's phone to a group.
	answer, err := http.Post(strings.Replace(app.URL, "//", "//bob:secret@", 1)+"/devices/laptop", "", nil)
	if err != nil {
		log.Fatal(err)
	}
	var signedUp struct{ Token string }
	if err := json.NewDecoder(answer.Body).Decode(&signedUp); err != nil {
		log.Fatal(err)
	}
	laptop := &client.Client{URL: service.URL, Token: client.StaticToken(signedUp.Token)}
	reservation, err := laptop.Reserve(ctx, client.Reserving{Users: []string{"alice"}})
	if err != nil {
		log.Fatal(err)
	}
	posted, err := laptop.Post(ctx, client.Posting{Welcome: library.Commit(reservation.KeyPackages())})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(posted.Recipients[0].User, posted.Recipients[0].Status)

	// It signs out: from then on its token is worth nothing.
	request, _ := http.NewRequest(http.MethodDelete, app.URL+"/devices/laptop", nil)
	request.SetBasicAuth("bob", "secret")
	if answer, err = http.DefaultClient.Do(request); err != nil {
		log.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	_, err = laptop.Outcome(ctx, posted.ID)
	fmt.Println(client.CodeOf(err))
	// Output:
	// alice pending
	// invalid_token
}
