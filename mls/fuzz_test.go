package mls_test

import (
	"bytes"
	"errors"
	"testing"

	"welcomed/mls"
	"welcomed/mls/mlstest"
)

func seeds(f *testing.F) {
	for _, suite := range mlstest.Suites {
		s := mlstest.NewSigner(suite, "alice/phone")
		for _, kp := range [][]byte{
			s.KeyPackage(),
			s.KeyPackage(mlstest.LastResort(), mlstest.WithLeafExtension(0x4a4a, []byte("leaf"))),
			s.KeyPackage(mlstest.LastResortComponent(4), mlstest.WithCertificates(mlstest.Certificate(s.PublicKey()))),
			s.KeyPackage(func(t *mlstest.Template) { t.Source, t.ParentHash = mls.LeafNodeSourceCommit, []byte("parent") }),
			s.KeyPackage(mlstest.WithCredential(0xf00d, mlstest.Vector([]byte("whatever")))),
		} {
			f.Add(kp)
			f.Add(mls.Wrap(mls.WireFormatKeyPackage, kp))
		}
		welcome := mlstest.WelcomeSize(20, suite, refsOf(suite, 2)...)
		f.Add(welcome)
		f.Add(mls.Wrap(mls.WireFormatWelcome, welcome))
	}
}

func checkRefusal(t *testing.T, err error) {
	if e := (*mls.Error)(nil); !errors.As(err, &e) || e.Code == "" || e.Detail == "" {
		t.Errorf("refused with %#v", err)
	}
}

// checkUnwrapped holds that bare is input, without its framing at most.
func checkUnwrapped(t *testing.T, f mls.WireFormat, input, bare []byte) {
	if !bytes.Equal(input, bare) && !bytes.Equal(input, mls.Wrap(f, bare)) {
		t.Errorf("Bytes is %x", bare)
	}
}

func FuzzReadKeyPackage(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, input []byte) {
		kp, err := mls.ReadKeyPackage(input)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		checkUnwrapped(t, mls.WireFormatKeyPackage, input, kp.Bytes())
		if b := encodeAgain(kp); !bytes.Equal(b, kp.Bytes()) {
			t.Errorf("encoded again as %x", b)
		}
		checkVerdicts(t, "input", kp.Verify(), kp.Checks())
		if got := len(kp.Ref()); got != kp.CipherSuite.RefSize() {
			t.Errorf("ref of %d bytes", got)
		}
		kp.LastResort()
		again, err := mls.ReadKeyPackage(mls.Wrap(mls.WireFormatKeyPackage, kp.Bytes()))
		if kp.Version == mls.MLS10 && (err != nil || !bytes.Equal(again.Bytes(), kp.Bytes())) {
			t.Errorf("wrapped and read again: %v", err)
		}
	})
}

// encodeAgain is what a client that understands every field would write.
func encodeAgain(kp *mls.KeyPackage) []byte {
	leaf := kp.LeafNode
	t := mlstest.Template{
		Version:        kp.Version,
		CipherSuite:    kp.CipherSuite,
		InitKey:        kp.InitKey,
		EncryptionKey:  leaf.EncryptionKey,
		SignatureKey:   leaf.SignatureKey,
		Credential:     leaf.Credential.Type,
		CredentialBody: credentialBody(leaf.Credential),
		Capabilities:   leaf.Capabilities,
		Source:         leaf.Source,
		Lifetime:       leaf.Lifetime,
		ParentHash:     leaf.ParentHash,
		LeafExtensions: leaf.Extensions,
		Extensions:     kp.Extensions,
	}
	return t.Encode(func(label string, _ []byte) []byte {
		if label == "LeafNodeTBS" {
			return leaf.Signature
		}
		return kp.Signature
	})
}

func credentialBody(c mls.Credential) []byte {
	switch c.Type {
	case mls.CredentialBasic:
		return mlstest.Vector(c.Identity)
	case mls.CredentialX509:
		var list []byte
		for _, der := range c.Certificates {
			list = append(list, mlstest.Vector(der)...)
		}
		return mlstest.Vector(list)
	}
	return mlstest.Vector(c.Opaque)
}

func FuzzReadWelcome(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, input []byte) {
		w, err := mls.ReadWelcome(input)
		if err != nil {
			checkRefusal(t, err)
			return
		}
		checkUnwrapped(t, mls.WireFormatWelcome, input, w.Bytes())
		var secrets []byte
		for i, s := range w.Secrets {
			secrets = append(secrets, s.Bytes()...)
			checkSlice(t, w, i)
		}
		if b := mls.SliceWelcome(w.CipherSuite, secrets, w.EncryptedGroupInfo); !bytes.Equal(b, w.Bytes()) {
			t.Errorf("encoded again as %x", b)
		}
		checkVerdicts(t, "input", w.Verify(), w.Checks())
		again, err := mls.ReadWelcome(mls.Wrap(mls.WireFormatWelcome, w.Bytes()))
		if err != nil || !bytes.Equal(again.Bytes(), w.Bytes()) {
			t.Errorf("wrapped and read again: %v", err)
		}
	})
}
