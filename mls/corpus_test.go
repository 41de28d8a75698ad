package mls_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"welcomed/mls"
	"welcomed/mls/mlstest/corpus"
)

func loadCorpora(t *testing.T) []*corpus.Corpus {
	t.Helper()
	mixed, err := corpus.Mixed()
	if err != nil {
		t.Fatal(err)
	}
	thousand, err := corpus.Thousand()
	if err != nil {
		t.Fatal(err)
	}
	return []*corpus.Corpus{mixed, thousand}
}

func TestCorpusKeyPackagesAreAccepted(t *testing.T) {
	for _, c := range loadCorpora(t) {
		for i, want := range c.KeyPackages {
			if testing.Short() && i%10 != 0 {
				continue
			}
			kp, err := mls.ReadKeyPackage(want.Bytes)
			if err != nil {
				t.Errorf("KeyPackage %d: %v", i, err)
				continue
			}
			checkCorpusKeyPackage(t, i, kp, want)
		}
	}
}

func checkCorpusKeyPackage(t *testing.T, i int, kp *mls.KeyPackage, want corpus.KeyPackage) {
	t.Helper()
	if kp.CipherSuite != want.CipherSuite || kp.LastResort() != want.LastResort || kp.LeafNode.Lifetime != want.Lifetime {
		t.Errorf("KeyPackage %d: suite %s, last resort %v, lifetime %v; want %s, %v, %v", i,
			kp.CipherSuite, kp.LastResort(), kp.LeafNode.Lifetime, want.CipherSuite, want.LastResort, want.Lifetime)
	}
	if string(kp.LeafNode.Credential.Identity) != want.Identity {
		t.Errorf("KeyPackage %d: identity %q, want %q", i, kp.LeafNode.Credential.Identity, want.Identity)
	}
	wantRef, wantErr := want.Ref, error(nil)
	if !want.CipherSuite.Known() {
		wantRef, wantErr = "", &mls.Error{Code: mls.CodeUnsupportedCipherSuite}
	}
	if kp.Ref() != wantRef {
		t.Errorf("KeyPackage %d: ref %s, want %s", i, kp.Ref(), wantRef)
	}
	if err := kp.Verify(); !errors.Is(err, wantErr) {
		t.Errorf("KeyPackage %d: Verify: %v, want %v", i, err, wantErr)
	}
}

func TestCorpusWelcomesNameTheirRecipients(t *testing.T) {
	for _, c := range loadCorpora(t) {
		for i, want := range c.Welcomes {
			w, err := mls.ReadWelcome(want.Bytes)
			if err != nil {
				t.Errorf("Welcome %d: %v", i, err)
				continue
			}
			var members []mls.KeyPackageRef
			for j, s := range w.Secrets {
				members = append(members, s.NewMember)
				checkSlice(t, w, j)
			}
			if !slices.Equal(members, want.NewMembers) {
				t.Errorf("Welcome %d: new members %v, want %v", i, members, want.NewMembers)
			}
			for j, k := range want.Recipients {
				if c.KeyPackages[k].Ref != w.Secrets[j].NewMember {
					t.Errorf("Welcome %d: secrets[%d] is not for KeyPackage %d", i, j, k)
				}
			}
			if err := w.Verify(); w.CipherSuite.Known() != (err == nil) {
				t.Errorf("Welcome %d of suite %s: Verify: %v", i, w.CipherSuite, err)
			}
		}
	}
}

// checkSlice holds that slice i of w is a Welcome that differs from w in nothing
// but the list of recipients.
func checkSlice(t *testing.T, w *mls.Welcome, i int) {
	t.Helper()
	s, err := mls.ReadWelcome(w.Slice(i))
	if err != nil {
		t.Errorf("slice %d: %v", i, err)
		return
	}
	if s.CipherSuite != w.CipherSuite || len(s.Secrets) != 1 ||
		s.Secrets[0].NewMember != w.Secrets[i].NewMember ||
		!bytes.Equal(s.Secrets[0].Bytes(), w.Secrets[i].Bytes()) ||
		!bytes.Equal(s.EncryptedGroupInfo, w.EncryptedGroupInfo) {
		t.Errorf("slice %d is not the recipient's part of the Welcome", i)
	}
}
