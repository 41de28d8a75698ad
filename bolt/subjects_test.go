package bolt_test

import (
	"path/filepath"
	"strings"
	"testing"

	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/mls/mlstest"
)

// How users are named may be chosen until there is one, and is kept from then on:
// over a restart, a compaction, a backup and an export.
func TestTheEncodingOfUsersIsKeptOnceThereAreSome(t *testing.T) {
	path := filepath.Join(t.TempDir(), "welcomed.db")
	options := bolt.Options{Clock: storetest.NewClock()}
	s := open(t, path, options)
	for _, encoding := range []string{"base64url", "", "base64url"} {
		must(t, s.UseUserEncoding(t.Context(), encoding))
	}
	commits := s.Commits()
	must(t, s.UseUserEncoding(t.Context(), "base64url"))
	if s.Commits() != commits {
		t.Error("what was noted was written again")
	}
	id := delivery.DeviceID{User: "YWxpY2U", Name: "phone"}
	item := newKeyPackage(t, mlstest.NewSigner(1, "alice"))
	_, err := s.Publish(t.Context(), delivery.Unauthenticated(), id, []delivery.NewKeyPackage{item})
	must(t, err)
	requireEncoding(t, s)
	must(t, s.Close())
	requireEncoding(t, open(t, path, options))

	small, moved := filepath.Join(t.TempDir(), "small.db"), filepath.Join(t.TempDir(), "moved.db")
	must(t, bolt.Compact(t.Context(), path, small, nil))
	requireEncoding(t, open(t, small, options))
	must(t, imported(moved, export(t, path, false)))
	requireEncoding(t, open(t, moved, options))
}

// requireEncoding wants base64url to be what the store goes on with, and closes it.
func requireEncoding(t *testing.T, s *bolt.Store) {
	t.Helper()
	must(t, s.UseUserEncoding(t.Context(), "base64url"))
	err := s.UseUserEncoding(t.Context(), "")
	if err == nil || !strings.Contains(err.Error(), "with the encoding base64url of an identity provider's subjects, not none") {
		t.Errorf("another encoding: %v", err)
	}
	must(t, s.Close())
}

// A database from before there was a choice has users that are named as they are.
func TestAnOlderDatabaseHasPlainUsers(t *testing.T) {
	path, v := oldSample(t, 4)
	s := v.open(t, path)
	must(t, s.UseUserEncoding(t.Context(), ""))
	err := s.UseUserEncoding(t.Context(), "base64url")
	if err == nil || !strings.Contains(err.Error(), "with the encoding none of an identity provider's subjects, not base64url") {
		t.Errorf("another encoding: %v", err)
	}
}
