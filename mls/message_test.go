package mls_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"welcomed/mls"
	"welcomed/mls/mlstest"
)

func TestFraming(t *testing.T) {
	bySuite(t, func(t *testing.T, s *mlstest.Signer) {
		keyPackage := s.KeyPackage()
		welcome := mlstest.WelcomeFor(keyPackage)
		for name, b := range map[string][]byte{"bare": keyPackage, "wrapped": mls.Wrap(mls.WireFormatKeyPackage, keyPackage)} {
			kp, err := mls.ReadKeyPackage(b)
			if err != nil || !bytes.Equal(kp.Bytes(), keyPackage) {
				t.Errorf("%s KeyPackage: %v", name, err)
			}
			if _, err := mls.ReadWelcome(b); codeOf(err) != mls.CodeWrongMessageType {
				t.Errorf("%s KeyPackage read as a Welcome: %v", name, err)
			}
		}
		for name, b := range map[string][]byte{"bare": welcome, "wrapped": mls.Wrap(mls.WireFormatWelcome, welcome)} {
			w, err := mls.ReadWelcome(b)
			if err != nil || !bytes.Equal(w.Bytes(), welcome) {
				t.Errorf("%s Welcome: %v", name, err)
			}
			if _, err := mls.ReadKeyPackage(b); codeOf(err) != mls.CodeWrongMessageType {
				t.Errorf("%s Welcome read as a KeyPackage: %v", name, err)
			}
		}
	})
}

func TestFramingDefects(t *testing.T) {
	s := mlstest.NewSigner(1, "alice/phone")
	keyPackage := s.KeyPackage()
	version2 := s.KeyPackage(func(t *mlstest.Template) { t.Version = 2 })
	welcome := mlstest.WelcomeFor(keyPackage)
	wrap := func(version, format uint16, bare []byte) []byte {
		header := binary.BigEndian.AppendUint16(nil, version)
		return append(binary.BigEndian.AppendUint16(header, format), bare...)
	}
	for _, test := range []struct {
		name  string
		input []byte
		code  mls.Code
	}{
		{"empty", nil, mls.CodeMalformed},
		{"only a header", wrap(1, 5, nil), mls.CodeMalformed},
		{"KeyPackage in an MLSMessage twice", wrap(1, 5, wrap(1, 5, keyPackage)), mls.CodeMalformed},
		{"KeyPackage of mls10 in an MLSMessage of version 2", wrap(2, 5, keyPackage), mls.CodeMalformed},
		{"KeyPackage of version 2 in an MLSMessage of mls10", wrap(1, 5, version2), mls.CodeMalformed},
		{"KeyPackage and MLSMessage of version 2", wrap(2, 5, version2), mls.CodeUnsupportedVersion},
		{"KeyPackage named a Welcome", wrap(1, 3, keyPackage), mls.CodeWrongMessageType},
		{"Welcome in an MLSMessage of version 2", wrap(2, 3, welcome), mls.CodeMalformed},
		{"only the header of a Welcome", wrap(1, 3, nil), mls.CodeMalformed},
		{"KeyPackage in an unknown wire format", wrap(1, 6, keyPackage), mls.CodeMalformed},
		{"KeyPackage in wire format 0", wrap(1, 0, keyPackage), mls.CodeMalformed},
		{"KeyPackage and a byte", append(wrap(1, 5, keyPackage), 0), mls.CodeMalformed},
		{"text", []byte("{\"key_package\":\"...\"}"), mls.CodeMalformed},
	} {
		if _, err := mls.ReadKeyPackage(test.input); codeOf(err) != test.code {
			t.Errorf("%s: %v (%s), want %s", test.name, err, codeOf(err), test.code)
		}
	}
	for _, test := range []struct {
		name  string
		input []byte
		code  mls.Code
	}{
		{"Welcome in an MLSMessage of version 2", wrap(2, 3, welcome), mls.CodeUnsupportedVersion},
		{"Welcome named a KeyPackage", wrap(1, 5, welcome), mls.CodeWrongMessageType},
		{"Welcome and a byte", append(wrap(1, 3, welcome), 0), mls.CodeMalformed},
		{"empty", nil, mls.CodeMalformed},
	} {
		if _, err := mls.ReadWelcome(test.input); codeOf(err) != test.code {
			t.Errorf("%s: %v (%s), want %s", test.name, err, codeOf(err), test.code)
		}
	}
}

// A bare KeyPackage of suite N begins like an MLSMessage of wire format N. Where it
// is damaged, it must not be called something else.
func TestDamagedKeyPackageIsNotCalledAnotherMessage(t *testing.T) {
	bySuite(t, func(t *testing.T, s *mlstest.Signer) {
		b := s.KeyPackage()
		for n := len(b) / 2; n < len(b); n++ {
			_, asKeyPackage := mls.ReadKeyPackage(b[:n])
			_, asWelcome := mls.ReadWelcome(b[:n])
			if !errors.Is(asKeyPackage, mls.ErrMalformed) || !errors.Is(asWelcome, mls.ErrMalformed) {
				t.Fatalf("the first %d bytes: %v; as a Welcome: %v", n, asKeyPackage, asWelcome)
			}
		}
	})
}

// The bytes of a wrapped KeyPackage of suite 1 can be those of a bare one of suite
// 5 as well. Here they are on purpose, by the choice of init_key; by chance they
// are in the working group's messages.json. It is the wrapped one that counts,
// because the bare one's init_key is empty.
func TestKeyPackageInBothFramings(t *testing.T) {
	s := mlstest.NewSigner(1, "alice/phone")
	const beforeInitKey, initKeySize, used = 5, 32, 30
	after := len(s.KeyPackage()) - beforeInitKey - used

	initKey := make([]byte, initKeySize) // mostly empty vectors and times
	copy(initKey, []byte{0, 1})          // credential_type: basic
	initKey[8] = 1                       // leaf_node_source: key_package
	binary.BigEndian.PutUint16(initKey[28:], 0x4000|uint16(after))

	keyPackage := s.KeyPackage(mlstest.WithInitKey(initKey))
	wrapped := mls.Wrap(mls.WireFormatKeyPackage, keyPackage)
	bare, err := mls.ParseKeyPackage(wrapped)
	if err != nil || bare.CipherSuite != 5 || len(bare.InitKey) != 0 {
		t.Fatalf("the input is not what this test is about: %+v, %v", bare, err)
	}
	if bare.Verify() == nil {
		t.Error("the bare one is accepted")
	}
	kp, err := mls.ReadKeyPackage(wrapped)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(kp.Bytes(), keyPackage) {
		t.Error("it is read as bare")
	}
	if err := kp.Verify(); err != nil {
		t.Error(err)
	}
}

func TestNames(t *testing.T) {
	for want, got := range map[string]interface{ String() string }{
		"mls10":           mls.MLS10,
		"0x0002":          mls.ProtocolVersion(2),
		"0x0000":          mls.CipherSuite(0),
		"0x004d":          mls.CipherSuite(77),
		"0x0008":          mls.CipherSuite(8),
		"mls_welcome":     mls.WireFormatWelcome,
		"mls_key_package": mls.WireFormatKeyPackage,
		"0xf001":          mls.WireFormat(0xf001),
		"basic":           mls.CredentialBasic,
		"x509":            mls.CredentialX509,
		"0x0003":          mls.CredentialType(3),
		"key_package":     mls.LeafNodeSourceKeyPackage,
		"commit":          mls.LeafNodeSourceCommit,
		"0x09":            mls.LeafNodeSource(9),
		"0x000a":          mls.ExtensionLastResort,
		"MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519": mls.CipherSuite(1),
	} {
		if got.String() != want {
			t.Errorf("%v, want %s", got, want)
		}
	}
}
