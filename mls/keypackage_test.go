package mls_test

import (
	"bytes"
	"crypto/elliptic"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"math/big"
	"strings"
	"testing"

	"welcomed/mls"
	"welcomed/mls/mlstest"
)

func bySuite(t *testing.T, test func(*testing.T, *mlstest.Signer)) {
	for _, suite := range mlstest.Suites {
		t.Run(suite.String(), func(t *testing.T) { test(t, mlstest.NewSigner(suite, "alice/phone")) })
	}
}

// readAndVerify is what a server does with the bytes of a stranger.
func readAndVerify(b []byte) error {
	kp, err := mls.ReadKeyPackage(b)
	if err != nil {
		return err
	}
	return kp.Verify()
}

func codeOf(err error) mls.Code {
	if e := (*mls.Error)(nil); errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func TestKeyPackageIsReadAsItWasMade(t *testing.T) {
	bySuite(t, func(t *testing.T, s *mlstest.Signer) {
		initKey := mlstest.KEMKey(s.Suite())
		b := s.KeyPackage(mlstest.WithLifetime(7, 9), mlstest.WithInitKey(initKey), mlstest.LastResort(),
			mlstest.WithLeafExtension(0xf0aa, []byte("leaf")))
		kp, err := mls.ParseKeyPackage(b)
		if err != nil {
			t.Fatal(err)
		}
		if err := kp.Verify(); err != nil {
			t.Error(err)
		}
		leaf := kp.LeafNode
		if kp.Version != mls.MLS10 || kp.CipherSuite != s.Suite() || !bytes.Equal(kp.InitKey, initKey) ||
			!bytes.Equal(leaf.SignatureKey, s.PublicKey()) || string(leaf.Credential.Identity) != s.Identity() ||
			leaf.Lifetime != (mls.Lifetime{NotBefore: 7, NotAfter: 9}) ||
			len(leaf.Extensions) != 1 || string(leaf.Extensions[0].Data) != "leaf" ||
			len(kp.Extensions) != 1 || kp.Extensions[0].Type != mls.ExtensionLastResort {
			t.Errorf("read as %+v", kp)
		}
		if !bytes.Equal(kp.Bytes(), b) {
			t.Error("Bytes is not the input")
		}
		if len(kp.Ref()) != s.Suite().RefSize() {
			t.Errorf("ref of %d bytes", len(kp.Ref()))
		}
	})
}

func TestKeyPackageTruncated(t *testing.T) {
	bySuite(t, func(t *testing.T, s *mlstest.Signer) {
		b := s.KeyPackage(mlstest.LastResort(), mlstest.WithLeafExtension(0xf0aa, []byte("leaf")))
		for n := range b {
			if readAndVerify(b[:n]) == nil {
				t.Errorf("the first %d of %d bytes are accepted", n, len(b))
			}
			if readAndVerify(mls.Wrap(mls.WireFormatKeyPackage, b[:n])) == nil {
				t.Errorf("the first %d of %d bytes are accepted in an MLSMessage", n, len(b))
			}
			if _, err := mls.ParseKeyPackage(b[:n]); !errors.Is(err, mls.ErrMalformed) {
				t.Errorf("the first %d of %d bytes: %v, want ErrMalformed", n, len(b), err)
			}
		}
		if _, err := mls.ParseKeyPackage(append(bytes.Clone(b), 0)); !errors.Is(err, mls.ErrMalformed) {
			t.Errorf("a byte more: %v, want ErrMalformed", err)
		}
	})
}

func TestKeyPackageBitFlipped(t *testing.T) {
	bySuite(t, func(t *testing.T, s *mlstest.Signer) {
		step := map[mls.CipherSuite]int{1: 1, 2: 7, 3: 7, 4: 31, 5: 101, 6: 31, 7: 101}[s.Suite()]
		b := s.KeyPackage()
		for i := 0; i < 8*len(b); i += step {
			flipped := bytes.Clone(b)
			flipped[i/8] ^= 1 << (i % 8)
			if readAndVerify(flipped) == nil {
				t.Errorf("accepted with bit %d of byte %d flipped", i%8, i/8)
			}
		}
	})
}

// A field of a KeyPackage, encoded.
type field struct{ name, hex string }

var wellFormed = []field{
	{"version", "0001"},
	{"cipher_suite", "0001"},
	{"init_key", "20" + strings.Repeat("11", 32)},
	{"leaf_node.encryption_key", "20" + strings.Repeat("22", 32)},
	{"leaf_node.signature_key", "20" + strings.Repeat("33", 32)},
	{"leaf_node.credential", "0001" + "05616c696365"},
	{"leaf_node.capabilities.versions", "020001"},
	{"leaf_node.capabilities.cipher_suites", "020001"},
	{"leaf_node.capabilities.extensions", "02f0aa"},
	{"leaf_node.capabilities.proposals", "00"},
	{"leaf_node.capabilities.credentials", "020001"},
	{"leaf_node.leaf_node_source", "01"},
	{"leaf_node.lifetime", "0000000000000000" + "ffffffffffffffff"},
	{"leaf_node.extensions", "04f0aa0100"},
	{"leaf_node.signature", "4040" + strings.Repeat("44", 64)},
	{"extensions", "04f0aa0100"},
	{"signature", "4040" + strings.Repeat("55", 64)},
}

func encodeWith(t *testing.T, name, replacement string) []byte {
	t.Helper()
	var all strings.Builder
	for _, f := range wellFormed {
		if f.name == name {
			f.hex = replacement
		}
		all.WriteString(f.hex)
	}
	b, err := hex.DecodeString(all.String())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestKeyPackageMalformed(t *testing.T) {
	if _, err := mls.ParseKeyPackage(encodeWith(t, "", "")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, field, hex string }{
		{"init_key length in 2 bytes though 1 would do", "init_key", "4020" + strings.Repeat("11", 32)},
		{"init_key length in 4 bytes though 1 would do", "init_key", "80000020" + strings.Repeat("11", 32)},
		{"init_key length in 8 bytes as in QUIC", "init_key", "c000000000000020" + strings.Repeat("11", 32)},
		{"init_key longer than the input", "init_key", "bfffffff" + strings.Repeat("11", 32)},
		{"encryption_key length not minimal", "leaf_node.encryption_key", "4020" + strings.Repeat("22", 32)},
		{"signature_key length not minimal", "leaf_node.signature_key", "4020" + strings.Repeat("33", 32)},
		{"identity length not minimal", "leaf_node.credential", "0001" + "4005616c696365"},
		{"certificate list longer than the input", "leaf_node.credential", "0002" + "bfffffff"},
		{"certificate longer than the list", "leaf_node.credential", "0002" + "020200"},
		{"certificate length not minimal", "leaf_node.credential", "0002" + "03400100"},
		{"credential of unknown type longer than the input", "leaf_node.credential", "f001" + "bfffffff"},
		{"versions of odd length", "leaf_node.capabilities.versions", "03000100"},
		{"cipher_suites of odd length", "leaf_node.capabilities.cipher_suites", "0100"},
		{"capabilities.extensions of odd length", "leaf_node.capabilities.extensions", "03f0aa00"},
		{"proposals of odd length", "leaf_node.capabilities.proposals", "0100"},
		{"credentials of odd length", "leaf_node.capabilities.credentials", "03000100"},
		{"cipher_suites length not minimal", "leaf_node.capabilities.cipher_suites", "40020001"},
		{"leaf_node_source 0", "leaf_node.leaf_node_source", "00"},
		{"leaf_node_source 4", "leaf_node.leaf_node_source", "04"},
		{"leaf extension cut off after its type", "leaf_node.extensions", "02f0aa"},
		{"leaf extension with half a type", "leaf_node.extensions", "01f0"},
		{"leaf extension longer than the list", "leaf_node.extensions", "04f0aa0200"},
		{"leaf extension followed by one byte", "leaf_node.extensions", "05f0aa010000"},
		{"leaf extension length not minimal", "leaf_node.extensions", "05f0aa400100"},
		{"extension longer than the list", "extensions", "04f0aa0200"},
		{"extension followed by one byte", "extensions", "05f0aa010000"},
		{"extension length not minimal", "extensions", "05f0aa400100"},
		{"leaf signature length not minimal", "leaf_node.signature", "80000040" + strings.Repeat("44", 64)},
		{"signature length not minimal", "signature", "80000040" + strings.Repeat("55", 64)},
		{"signature longer than the input", "signature", "4041" + strings.Repeat("55", 64)},
		{"signature missing", "signature", ""},
		{"bytes after the signature", "signature", "4040" + strings.Repeat("55", 65)},
	} {
		b := encodeWith(t, test.field, test.hex)
		_, err := mls.ParseKeyPackage(b)
		if !errors.Is(err, mls.ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", test.name, err)
		}
		if _, err := mls.ReadKeyPackage(b); !errors.Is(err, mls.ErrMalformed) {
			t.Errorf("%s: read: %v, want ErrMalformed", test.name, err)
		}
		if _, err := mls.ReadKeyPackage(mls.Wrap(mls.WireFormatKeyPackage, b)); !errors.Is(err, mls.ErrMalformed) {
			t.Errorf("%s: read from an MLSMessage: %v, want ErrMalformed", test.name, err)
		}
	}
}

// All leaf sources can be read, so that the wrong ones can be named.
func TestKeyPackageLeafSources(t *testing.T) {
	for _, test := range []struct {
		source, rest string
		want         mls.LeafNodeSource
	}{
		{"01", "0000000000000000ffffffffffffffff", mls.LeafNodeSourceKeyPackage},
		{"02", "", mls.LeafNodeSourceUpdate},
		{"03", "03aabbcc", mls.LeafNodeSourceCommit},
	} {
		b := encodeWith(t, "leaf_node.lifetime", test.rest)
		b[bytes.Index(b, []byte{2, 0, 1, 1})+3] = test.source[1] - '0'
		kp, err := mls.ParseKeyPackage(b)
		if err != nil || kp.LeafNode.Source != test.want {
			t.Errorf("source %s: %v", test.source, err)
		}
	}
}

func TestKeyPackageWithOneDefect(t *testing.T) {
	bySuite(t, func(t *testing.T, s *mlstest.Signer) {
		for _, test := range append(defects(s), curveDefects(s)...) {
			b := s.KeyPackage(test.defect)
			kp, err := mls.ReadKeyPackage(b)
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
				continue
			}
			if err := kp.Verify(); codeOf(err) != test.code {
				t.Errorf("%s: %v (%s), want %s", test.name, err, codeOf(err), test.code)
			}
			checkVerdicts(t, test.name, kp.Verify(), kp.Checks())
		}
	})
}

// checkVerdicts holds that Verify is the first failure of Checks.
func checkVerdicts(t *testing.T, name string, verdict error, checks []mls.Check) {
	t.Helper()
	for _, c := range checks {
		if c.Err != nil {
			if verdict == nil || c.Err.Error() != verdict.Error() {
				t.Errorf("%s: Verify says %v, but the check %q %v", name, verdict, c.Name, c.Err)
			}
			return
		}
	}
	if verdict != nil {
		t.Errorf("%s: Verify says %v, but no check does", name, verdict)
	}
}

type defect struct {
	name   string
	code   mls.Code
	defect mlstest.Option
}

func defects(s *mlstest.Signer) []defect {
	return []defect{
		{"none", "", func(*mlstest.Template) {}},
		{"protocol version 2", mls.CodeUnsupportedVersion, func(t *mlstest.Template) { t.Version = 2 }},
		{"protocol version 0", mls.CodeUnsupportedVersion, func(t *mlstest.Template) { t.Version = 0 }},
		{"cipher suite 0", mls.CodeUnsupportedCipherSuite, func(t *mlstest.Template) { t.CipherSuite = 0 }},
		{"cipher suite 8", mls.CodeUnsupportedCipherSuite, func(t *mlstest.Template) { t.CipherSuite = 8 }},
		{"private cipher suite", mls.CodeUnsupportedCipherSuite, func(t *mlstest.Template) { t.CipherSuite = 0xf007 }},
		{"init_key empty", mls.CodeBadInitKey, func(t *mlstest.Template) { t.InitKey = []byte{} }},
		{"init_key a byte short", mls.CodeBadInitKey, func(t *mlstest.Template) { t.InitKey = mlstest.KEMKey(s.Suite())[1:] }},
		{"init_key a byte long", mls.CodeBadInitKey, func(t *mlstest.Template) { t.InitKey = append(mlstest.KEMKey(s.Suite()), 0) }},
		{"encryption_key a byte short", mls.CodeBadEncryptionKey, func(t *mlstest.Template) { t.EncryptionKey = mlstest.KEMKey(s.Suite())[1:] }},
		{"encryption_key a byte long", mls.CodeBadEncryptionKey, func(t *mlstest.Template) { t.EncryptionKey = append(mlstest.KEMKey(s.Suite()), 0) }},
		{"signature_key empty", mls.CodeBadSignatureKey, func(t *mlstest.Template) { t.SignatureKey = nil }},
		{"signature_key a byte short", mls.CodeBadSignatureKey, func(t *mlstest.Template) { t.SignatureKey = t.SignatureKey[1:] }},
		{"signature_key a byte long", mls.CodeBadSignatureKey, func(t *mlstest.Template) { t.SignatureKey = append(bytes.Clone(t.SignatureKey), 0) }},
		{"init_key is the encryption_key", mls.CodeInitKeyIsEncryptionKey, func(t *mlstest.Template) {
			t.InitKey = mlstest.KEMKey(s.Suite())
			t.EncryptionKey = t.InitKey
		}},
		{"leaf from an update", mls.CodeWrongLeafSource, func(t *mlstest.Template) { t.Source = mls.LeafNodeSourceUpdate }},
		{"leaf from a commit", mls.CodeWrongLeafSource, func(t *mlstest.Template) {
			t.Source, t.ParentHash = mls.LeafNodeSourceCommit, []byte("parent")
		}},
		{"lifetime ends a second before it begins", mls.CodeBadLifetime, mlstest.WithLifetime(1000, 999)},
		{"lifetime backwards by all there is", mls.CodeBadLifetime, mlstest.WithLifetime(mlstest.NoEnd, 0)},
		{"no credential type listed", mls.CodeCredentialNotListed, mlstest.WithCapabilities(func(c *mls.Capabilities) { c.Credentials = nil })},
		{"only another credential type listed", mls.CodeCredentialNotListed, mlstest.WithCapabilities(func(c *mls.Capabilities) {
			c.Credentials = []mls.CredentialType{mls.CredentialX509}
		})},
		{"leaf extension not listed", mls.CodeExtensionNotListed, func(t *mlstest.Template) {
			t.LeafExtensions = []mls.Extension{{Type: 0xf0aa}}
		}},
		{"GREASE leaf extension not listed", mls.CodeExtensionNotListed, func(t *mlstest.Template) {
			t.LeafExtensions = []mls.Extension{{Type: 0x0a0a}}
		}},
		{"leaf extension 0 not listed", mls.CodeExtensionNotListed, func(t *mlstest.Template) {
			t.LeafExtensions = []mls.Extension{{Type: 0}}
		}},
		{"leaf extension 6 not listed", mls.CodeExtensionNotListed, func(t *mlstest.Template) {
			t.LeafExtensions = []mls.Extension{{Type: 6}}
		}},
		{"leaf extension twice", mls.CodeDuplicateExtension, func(t *mlstest.Template) {
			mlstest.WithLeafExtension(0xf0aa, nil)(t)
			mlstest.WithLeafExtension(0xf0ab, nil)(t)
			mlstest.WithLeafExtension(0xf0aa, []byte("other data"))(t)
		}},
		{"extension twice", mls.CodeDuplicateExtension, func(t *mlstest.Template) {
			mlstest.LastResort()(t)
			mlstest.LastResort()(t)
		}},
		{"x509 credential without a certificate", mls.CodeBadCertificate, mlstest.WithCredential(mls.CredentialX509, []byte{0})},
		{"x509 credential with an empty certificate", mls.CodeBadCertificate, mlstest.WithCredential(mls.CredentialX509, []byte{1, 0})},
		{"x509 certificate with bytes after it", mls.CodeBadCertificate, mlstest.WithCertificates(append(mlstest.Certificate(s.PublicKey()), 0))},
		{"x509 certificate for another key", mls.CodeCertificateKeyMismatch, mlstest.WithCertificates(mlstest.Certificate(mlstest.Random(32)))},
		{"x509 certificate second in the chain", mls.CodeCertificateKeyMismatch,
			mlstest.WithCertificates(mlstest.Certificate(mlstest.Random(32)), mlstest.Certificate(s.PublicKey()))},
		{"leaf signature empty", mls.CodeBadLeafSignature, func(t *mlstest.Template) { t.ChangeLeafSignature = func([]byte) []byte { return nil } }},
		{"leaf signature with a wrong bit", mls.CodeBadLeafSignature, func(t *mlstest.Template) { t.ChangeLeafSignature = flipLastBit }},
		{"leaf signature with a byte after it", mls.CodeBadLeafSignature, func(t *mlstest.Template) { t.ChangeLeafSignature = addByte }},
		{"leaf signature under the other label", mls.CodeBadLeafSignature, func(t *mlstest.Template) { signLeafAs(t, s, "KeyPackageTBS") }},
		{"signature empty", mls.CodeBadSignature, func(t *mlstest.Template) { t.ChangeSignature = func([]byte) []byte { return nil } }},
		{"signature with a wrong bit", mls.CodeBadSignature, func(t *mlstest.Template) { t.ChangeSignature = flipLastBit }},
		{"signature with a byte after it", mls.CodeBadSignature, func(t *mlstest.Template) { t.ChangeSignature = addByte }},
		{"signature by somebody else", mls.CodeBadSignature, func(t *mlstest.Template) {
			t.ChangeSignature = func([]byte) []byte {
				return mlstest.NewSigner(s.Suite(), "mallory").SignWithLabel("KeyPackageTBS", []byte("anything"))
			}
		}},
	}
}

// curveDefects are the defects of points, which X25519 and the EdDSAs do not have.
func curveDefects(s *mlstest.Signer) []defect {
	curve := curveOf(s.Suite())
	if curve == nil {
		return nil
	}
	compressed := func() []byte { return compress(curve, mlstest.KEMKey(s.Suite())) }
	return []defect{
		{"init_key not on the curve", mls.CodeBadInitKey, func(t *mlstest.Template) { t.InitKey = flipLastBit(mlstest.KEMKey(s.Suite())) }},
		{"init_key compressed", mls.CodeBadInitKey, func(t *mlstest.Template) { t.InitKey = compressed() }},
		{"init_key the point at infinity", mls.CodeBadInitKey, func(t *mlstest.Template) { t.InitKey = []byte{0} }},
		{"encryption_key not on the curve", mls.CodeBadEncryptionKey, func(t *mlstest.Template) { t.EncryptionKey = flipLastBit(mlstest.KEMKey(s.Suite())) }},
		{"signature_key not on the curve", mls.CodeBadSignatureKey, func(t *mlstest.Template) { t.SignatureKey = flipLastBit(bytes.Clone(t.SignatureKey)) }},
		{"signature_key the point at infinity", mls.CodeBadSignatureKey, func(t *mlstest.Template) { t.SignatureKey = []byte{0} }},
		{"x509 certificate for the point on the other side of the curve", mls.CodeCertificateKeyMismatch, func(t *mlstest.Template) {
			other := compress(curve, t.SignatureKey)
			other[0] ^= 1
			mlstest.WithCertificates(mlstest.Certificate(other))(t)
		}},
		{"signature_key compressed, with an X that no point has", mls.CodeBadSignatureKey, func(t *mlstest.Template) {
			t.SignatureKey = append([]byte{2}, bytes.Repeat([]byte{0xff}, len(t.SignatureKey)/2)...)
		}},
		{"signature r||s in place of DER", mls.CodeBadSignature, func(t *mlstest.Template) {
			t.ChangeSignature = func(signature []byte) []byte { return rawSignature(curve, signature) }
		}},
	}
}

func curveOf(suite mls.CipherSuite) elliptic.Curve {
	return map[mls.CipherSuite]elliptic.Curve{2: elliptic.P256(), 5: elliptic.P521(), 7: elliptic.P384()}[suite]
}

func compress(curve elliptic.Curve, point []byte) []byte {
	size := len(point) / 2
	return elliptic.MarshalCompressed(curve, new(big.Int).SetBytes(point[1:1+size]), new(big.Int).SetBytes(point[1+size:]))
}

func rawSignature(curve elliptic.Curve, signature []byte) []byte {
	var v struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(signature, &v); err != nil {
		panic(err)
	}
	size := (curve.Params().BitSize + 7) / 8
	b := make([]byte, 2*size)
	v.R.FillBytes(b[:size])
	v.S.FillBytes(b[size:])
	return b
}

func flipLastBit(b []byte) []byte { b[len(b)-1] ^= 1; return b }

func addByte(b []byte) []byte { return append(b, 0) }

// signLeafAs gives the leaf a signature over the right content with a wrong label.
func signLeafAs(t *mlstest.Template, s *mlstest.Signer, label string) {
	t.InitKey, t.EncryptionKey = mlstest.KEMKey(s.Suite()), mlstest.KEMKey(s.Suite())
	var content []byte
	t.Encode(func(l string, tbs []byte) []byte {
		if l == "LeafNodeTBS" {
			content = bytes.Clone(tbs)
		}
		return nil
	})
	t.ChangeLeafSignature = func([]byte) []byte { return s.SignWithLabel(label, content) }
}

// What is unusual and yet must be accepted: real clients do each of these.
func TestKeyPackageUnusual(t *testing.T) {
	grease := mlstest.WithCapabilities(func(c *mls.Capabilities) {
		c.CipherSuites = append(c.CipherSuites, 0x0a0a)
		c.Extensions = append(c.Extensions, 0x1a1a)
		c.Proposals = append(c.Proposals, 0x2a2a)
		c.Credentials = append(c.Credentials, 0x3a3a)
	})
	bySuite(t, func(t *testing.T, s *mlstest.Signer) {
		tests := map[string]mlstest.Option{
			"GREASE in capabilities":                    grease,
			"GREASE in a leaf extension that is listed": mlstest.WithLeafExtension(0x4a4a, []byte{1}),
			"GREASE in an extension that is not listed": func(t *mlstest.Template) { t.Extensions = []mls.Extension{{Type: 0x5a5a}} },
			"suite not in capabilities.cipher_suites":   mlstest.WithCapabilities(func(c *mls.Capabilities) { c.CipherSuites = nil }),
			"version not in capabilities.versions":      mlstest.WithCapabilities(func(c *mls.Capabilities) { c.Versions = nil }),
			"default types listed in capabilities":      mlstest.WithCapabilities(func(c *mls.Capabilities) { c.Extensions = []mls.ExtensionType{1, 2, 3, 4, 5} }),
			"default proposals listed in capabilities":  mlstest.WithCapabilities(func(c *mls.Capabilities) { c.Proposals = []mls.ProposalType{1, 2, 3, 4, 5, 6, 7} }),
			"default leaf extension that is not listed": func(t *mlstest.Template) { t.LeafExtensions = []mls.Extension{{Type: 1, Data: []byte("app")}} },
			"one type in both extension lists": func(t *mlstest.Template) {
				mlstest.WithLeafExtension(0xf0aa, nil)(t)
				mlstest.WithExtension(0xf0aa, nil)(t)
			},
			"lifetime of everything":            mlstest.WithLifetime(0, mlstest.NoEnd),
			"lifetime of a second":              mlstest.WithLifetime(1000, 1000),
			"empty identity":                    mlstest.WithCredential(mls.CredentialBasic, []byte{0}),
			"credential of a type nobody knows": mlstest.WithCredential(0xf00d, mlstest.Vector([]byte("whatever"))),
			"x509 credential":                   mlstest.WithCertificates(mlstest.Certificate(s.PublicKey()), mlstest.Certificate(mlstest.Random(32))),
			"large":                             mlstest.WithPadding(20000),
		}
		if curve := curveOf(s.Suite()); curve != nil {
			tests["signature_key compressed, as ts-mls has it"] = func(t *mlstest.Template) { t.SignatureKey = compress(curve, t.SignatureKey) }
			tests["signature_key compressed, the certificate's point not"] = func(t *mlstest.Template) {
				mlstest.WithCertificates(mlstest.Certificate(t.SignatureKey))(t)
				t.SignatureKey = compress(curve, t.SignatureKey)
			}
			tests["the certificate's point compressed, signature_key not"] = func(t *mlstest.Template) {
				mlstest.WithCertificates(mlstest.Certificate(compress(curve, t.SignatureKey)))(t)
			}
		}
		for name, option := range tests {
			if err := readAndVerify(s.KeyPackage(option)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// Whoever sees an ECDSA signature can make another for the same content, and so a
// KeyPackage with another ref and the same init_key. It verifies, which is why a
// server has to look at the init_key to see what it has had before.
func TestKeyPackageMalleable(t *testing.T) {
	for _, suite := range []mls.CipherSuite{2, 5, 7} {
		order := curveOf(suite).Params().N
		s := mlstest.NewSigner(suite, "alice/phone")
		var original []byte
		twin := s.KeyPackage(func(t *mlstest.Template) {
			t.ChangeSignature = func(signature []byte) []byte {
				original = signature
				var v struct{ R, S *big.Int }
				if _, err := asn1.Unmarshal(signature, &v); err != nil {
					panic(err)
				}
				v.S.Sub(order, v.S)
				b, err := asn1.Marshal(v)
				if err != nil {
					panic(err)
				}
				return b
			}
		})
		kp, err := mls.ParseKeyPackage(twin)
		if err != nil {
			t.Fatal(err)
		}
		if err := kp.Verify(); err != nil {
			t.Errorf("%s: %v", suite, err)
		}
		if bytes.Equal(kp.Signature, original) {
			t.Errorf("%s: the signature is the same", suite)
		}
	}
}

func TestLastResort(t *testing.T) {
	s := mlstest.NewSigner(1, "alice/phone")
	dictionary := func(entries ...byte) mlstest.Option {
		return mlstest.WithExtension(mls.ExtensionAppDataDictionary, mlstest.Vector(entries))
	}
	for _, test := range []struct {
		name   string
		option mlstest.Option
		want   bool
	}{
		{"no marker", mlstest.WithPadding(10), false},
		{"extension 0x000A", mlstest.LastResort(), true},
		{"extension 0x000A with data", mlstest.WithExtension(mls.ExtensionLastResort, []byte{0}), false},
		{"extension 0x000A of the leaf", mlstest.WithLeafExtension(mls.ExtensionLastResort, nil), false},
		{"component with a 16-bit id", mlstest.LastResortComponent(2), true},
		{"component with a 32-bit id", mlstest.LastResortComponent(4), true},
		{"component with a 16-bit id after another", dictionary(0, 3, 1, 9, 0, 4, 0), true},
		{"component with a 32-bit id after another", dictionary(0, 0, 0, 3, 1, 9, 0, 0, 0, 4, 0), true},
		{"component with data", dictionary(0, 4, 1, 9), false},
		{"component with a 32-bit id and data", dictionary(0, 0, 0, 4, 1, 9), false},
		{"another component", dictionary(0, 5, 0), false},
		{"component id 0x00040000", dictionary(0, 4, 0, 0, 0), false},
		{"16-bit ids that could be read as a marker with 32 bits", dictionary(0, 0, 0, 4, 0, 4, 0, 0, 5, 0), false},
		{"empty dictionary", dictionary(), false},
		{"dictionary cut off", mlstest.WithExtension(mls.ExtensionAppDataDictionary, []byte{3, 0, 4}), false},
		{"dictionary with bytes after it", mlstest.WithExtension(mls.ExtensionAppDataDictionary, []byte{3, 0, 4, 0, 0}), false},
		{"dictionary of no bytes", mlstest.WithExtension(mls.ExtensionAppDataDictionary, nil), false},
	} {
		kp, err := mls.ParseKeyPackage(s.KeyPackage(test.option))
		if err != nil {
			t.Fatal(err)
		}
		if kp.LastResort() != test.want {
			t.Errorf("%s: %v, want %v", test.name, kp.LastResort(), test.want)
		}
	}
}

func TestKeyPackageRefNotation(t *testing.T) {
	for _, suite := range mlstest.Suites {
		ref := mls.KeyPackageRef(mlstest.Random(suite.RefSize()))
		if got, err := mls.ParseKeyPackageRef(ref.String()); got != ref || err != nil {
			t.Errorf("%s is read as %s: %v", ref, got, err)
		}
	}
	good := strings.Repeat("ab", 32)
	for name, s := range map[string]string{
		"empty":         "",
		"a byte short":  good[2:],
		"a byte long":   good + "00",
		"a digit long":  good + "0",
		"upper case":    strings.ToUpper(good),
		"not a digit":   good[:63] + "g",
		"with a prefix": "0x" + good,
		"with a space":  good + " ",
		"40 bytes":      strings.Repeat("ab", 40),
	} {
		if _, err := mls.ParseKeyPackageRef(s); !errors.Is(err, mls.ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
}
