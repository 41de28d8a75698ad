package main

import (
	"context"
	"encoding/hex"
	"math"
	"runtime"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

// A pair is a KeyPackage of 400 B and a Welcome of 1 KB for it, with a device
// of its own. Refs and names are random: what is neighbour in one order is not
// in another.
type pair struct {
	device     delivery.DeviceID
	ref        mls.KeyPackageRef
	initKey    []byte
	keyPackage []byte
	welcome    []byte
	id         delivery.WelcomeID
}

// groupInfo makes a Welcome for one recipient come to 1 KB.
const groupInfo = 870

func newPair() *pair {
	p := &pair{
		initKey:    mlstest.Random(32),
		keyPackage: mlstest.Random(400),
	}
	p.ref = mls.CipherSuite(1).RefOf(p.keyPackage) // which the store compares when it hands it out
	p.device = delivery.DeviceID{User: delivery.UserID(hex.EncodeToString(mlstest.Random(8))), Name: "phone"}
	p.welcome = mlstest.WelcomeSize(groupInfo, 1, p.ref)
	p.id = delivery.IDOf(delivery.Unauthenticated(), p.welcome)
	return p
}

func newPairs(ctx context.Context, n int) ([]*pair, error) {
	pairs := make([]*pair, n)
	_, _, err := drive(ctx, runtime.NumCPU(), n, 0, math.MaxInt64, func(i int) error {
		pairs[i] = newPair()
		return nil
	})
	return pairs, err
}

// key is the ref as bytes.
func (p *pair) key() []byte { return []byte(p.ref) }
