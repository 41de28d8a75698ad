package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os/signal"
	"syscall"

	"welcomed/client"
)

// A back end adds people to a group on behalf of one of its users.
func Example() {
	ctx := context.Background()
	backend, library, done := exampleServer()
	defer done()

	bob := backend.For("bob")
	reservation, err := bob.Reserve(ctx, client.Reserving{Users: []string{"alice", "carol"}})
	if err != nil {
		log.Fatal(err)
	}
	for _, u := range reservation.Users {
		fmt.Println(u.User, u.Status)
	}

	welcome := library.Commit(reservation.KeyPackages())
	posted, err := bob.Post(ctx, client.Posting{Welcome: welcome, Hold: true, RequireAll: true})
	if err != nil {
		log.Fatal(err)
	}
	if library.CommitIsAccepted() {
		_, err = bob.Release(ctx, posted.ID)
	} else {
		_, err = bob.Cancel(ctx, posted.ID)
	}
	if err != nil {
		log.Fatal(err)
	}

	outcome, err := bob.Outcome(ctx, posted.ID)
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range outcome.Recipients {
		fmt.Println(r.User, r.Device, r.Status)
	}
	// Output:
	// alice success
	// carol unknown_user
	// alice phone pending
}

// What the server refuses has a code.
func ExampleCodeOf() {
	backend, library, done := exampleServer()
	defer done()

	_, err := backend.Post(context.Background(), client.Posting{Welcome: library.WelcomeForNobodyHere()})
	switch client.CodeOf(err) {
	case client.CodeNoMatchingKeyPackage:
		e, _ := errors.AsType[*client.Error](err)
		fmt.Println("reserve again:", e.Recipients[0].Status)
	default:
		log.Fatal(err)
	}
	// Output: reserve again: unknown
}

// The app on a device.
func ExampleDevice() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	app := openApp() // has the MLS library and a database

	device := &client.Device{
		Client:       &client.Client{URL: "https://mls.example.org", Token: client.StaticToken(app.Token)},
		ID:           client.DeviceID{User: "alice", Name: "phone"},
		Keys:         app,
		CipherSuites: []uint16{1},
		Log:          slog.Default(),

		Join: func(ctx context.Context, w client.Welcome) error {
			group, err := app.OpenWelcome(w.Welcome, w.RatchetTree)
			if errors.Is(err, errNoPrivateKey) {
				return &client.CannotJoin{Reason: client.ReasonNoMatchingKeyPackage}
			}
			if err != nil {
				return &client.CannotJoin{Reason: client.ReasonUndecryptable, Detail: err.Error()}
			}
			// One transaction: the group, the id, and the end of the private key. If it
			// fails, the Welcome is tried again later.
			return app.SaveGroup(ctx, group, w.ID)
		},
	}
	if err := device.Run(ctx); err != nil {
		log.Fatal(err)
	}
}
