package client_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"

	"welcomed/auth"
	"welcomed/bolt"
	"welcomed/client"
	"welcomed/delivery"
	"welcomed/mls/mlstest"
	"welcomed/server"
)

// What the examples have besides what they show.

// exampleServer starts a server on which Alice's phone has published, and returns a client
// with a service's token and what stands for an MLS library.
func exampleServer() (backend *client.Client, library mlsLibrary, done func()) {
	dir, err := os.MkdirTemp("", "welcomed-example-")
	check(err)
	limits := delivery.DefaultLimits()
	store, err := bolt.Open(filepath.Join(dir, "welcomed.db"), bolt.Options{Limits: limits})
	check(err)
	token, text := auth.NewToken(delivery.TokenOwner{Service: "backend"})
	_, err = store.AddToken(context.Background(), token)
	check(err)
	listener := httptest.NewServer(server.New(server.Options{Store: store, Limits: limits, Auth: auth.Tokens(store)}).API())
	backend = &client.Client{URL: listener.URL, Token: client.StaticToken(text)}
	_, err = backend.For("alice").Publish(context.Background(), phone, "", keyPackages(2)...)
	check(err)
	return backend, mlsLibrary{}, func() {
		listener.Close()
		check(store.Close())
		check(os.RemoveAll(dir))
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

type mlsLibrary struct{}

func (mlsLibrary) Commit(list []client.OfferedKeyPackage) (welcome []byte) {
	var all [][]byte
	for _, k := range list {
		all = append(all, k.Bytes)
	}
	return mlstest.WelcomeFor(all...)
}

func (mlsLibrary) CommitIsAccepted() bool { return true }

func (mlsLibrary) WelcomeForNobodyHere() []byte { return mlstest.WelcomeFor(keyPackages(1)...) }

type exampleApp struct {
	*fileStore
	Token string
}

var errNoPrivateKey = errors.New("no private key")

func openApp() exampleApp { return exampleApp{} }

func (exampleApp) OpenWelcome(welcome, tree []byte) (group any, err error) { return nil, nil }

func (exampleApp) SaveGroup(ctx context.Context, group any, welcomeID string) error { return nil }
