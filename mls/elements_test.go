package mls_test

import (
	"strings"
	"testing"

	"welcomed/mls"
	"welcomed/mls/mlstest"
)

// TestManyTinyElementsAreNotRead: each takes 24 bytes or more in memory, before a
// signature is checked, and one on the wire.
func TestManyTinyElementsAreNotRead(t *testing.T) {
	signer := mlstest.NewSigner(1, "alice")
	extensions := func(n int) []mlstest.Option {
		list := make([]mlstest.Option, n)
		for i := range list {
			list[i] = mlstest.WithExtension(mls.ExtensionType(0x1000+i), nil)
		}
		return list
	}
	leafExtensions := func(n int) []mlstest.Option {
		list := make([]mlstest.Option, n)
		for i := range list {
			list[i] = mlstest.WithLeafExtension(mls.ExtensionType(0x1000+i), nil)
		}
		return list
	}
	chain := func(n int) []mlstest.Option { return []mlstest.Option{mlstest.WithCertificates(make([][]byte, n)...)} }
	for _, row := range []struct {
		what    string
		options []mlstest.Option
		refused string // a part of the refusal; "": it is read
	}{
		{"certificates of any chain", chain(64), ""},
		{"one certificate more", chain(65), "more than 64 elements"},
		{"empty certificates", chain(60_000), "more than 64 elements"},
		{"extensions of any KeyPackage", extensions(256), ""},
		{"one extension more", extensions(257), "more than 256 elements"},
		{"one extension of the leaf more", leafExtensions(257), "more than 256 elements"},
	} {
		_, err := mls.ReadKeyPackage(signer.KeyPackage(row.options...))
		if row.refused == "" && err != nil || row.refused != "" && (err == nil || !strings.Contains(err.Error(), row.refused)) {
			t.Errorf("%s: %v", row.what, err)
		}
	}
}
