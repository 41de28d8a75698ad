package malformed

import (
	"crypto/elliptic"
	"encoding/hex"
	"math/big"
	"slices"

	"welcomed/mls"
	"welcomed/mls/mlstest"
)

// vectors are the fields of a KeyPackage that begin with a length.
var vectors = []string{
	"init_key", "leaf_node.encryption_key", "leaf_node.signature_key",
	"leaf_node.capabilities.versions", "leaf_node.capabilities.cipher_suites", "leaf_node.capabilities.extensions",
	"leaf_node.capabilities.proposals", "leaf_node.capabilities.credentials",
	"leaf_node.extensions", "leaf_node.signature", "extensions", "signature",
}

// An innerVector is a vector inside a field.
type innerVector struct {
	name, field string
	content     []byte
	encode      func(vector []byte) []byte // the field, with the vector as it is encoded
	base        []mlstest.Option
}

func innerVectors(s *mlstest.Signer) []innerVector {
	behind := func(head ...byte) func([]byte) []byte {
		return func(vector []byte) []byte { return slices.Concat(head, vector) }
	}
	listed := func(head ...byte) func([]byte) []byte {
		return func(vector []byte) []byte { return mlstest.Vector(slices.Concat(head, vector)) }
	}
	certificate, unknown := mlstest.Certificate(s.PublicKey()), []byte("whatever")
	x509 := []mlstest.Option{mlstest.WithCertificates(certificate)}
	return []innerVector{
		{"identity", "leaf_node.credential", []byte(s.Identity()), behind(0, 1), nil},
		{"certificates", "leaf_node.credential", mlstest.Vector(certificate), behind(0, 2), x509},
		{"cert_data", "leaf_node.credential", certificate, func(vector []byte) []byte { return behind(0, 2)(mlstest.Vector(vector)) }, x509},
		{"credential of an unknown type", "leaf_node.credential", unknown, behind(0xf0, 0x0d), []mlstest.Option{mlstest.WithCredential(0xf00d, mlstest.Vector(unknown))}},
		{"extension_data of the leaf", "leaf_node.extensions", []byte("leaf"), listed(0xf0, 0xaa), nil},
		{"extension_data", "extensions", []byte("whole"), listed(0xf0, 0xab), nil},
	}
}

// lengths are what can be wrong with the length of a vector.
func lengths(s *mlstest.Signer) (defects []defect) {
	add := func(name, field string, change func([]byte) []byte, base ...mlstest.Option) {
		defects = append(defects, defect{name, mls.CodeMalformed, inField(field, change), base})
	}
	for _, d := range lengthDefects {
		for _, field := range vectors {
			add(field+": "+d.name, field, d.change)
		}
		for _, v := range innerVectors(s) {
			add(v.name+": "+d.name, v.field, to(v.encode(d.change(mlstest.Vector(v.content)))...), v.base...)
		}
	}
	odd := func(encoded []byte) []byte { return mlstest.Vector(append(contentOf(encoded), 0)) }
	for _, list := range []string{"versions", "cipher_suites", "extensions", "proposals", "credentials"} {
		add("capabilities."+list+": an odd number of bytes", "leaf_node.capabilities."+list, odd)
	}
	for _, list := range []string{"leaf_node.extensions", "extensions"} {
		add(list+": half a type", list, to(1, 0xf0))
		add(list+": a type without data", list, to(2, 0xf0, 0xaa))
		add(list+": data that goes on after the list", list, to(4, 0xf0, 0xaa, 2, 0))
		add(list+": a byte after the last", list, to(5, 0xf0, 0xaa, 1, 0, 0))
	}
	add("init_key: length in two bytes, as in TLS 1.3", "init_key", func(b []byte) []byte { return append([]byte{0}, b...) })
	add("init_key: without its length", "init_key", to(slices.Repeat([]byte{0xc1}, 32)...))
	add("signature: length one less than there is", "signature", shorter)
	return defects
}

// shorter returns a vector of at least 64 bytes with a length that is one less.
func shorter(encoded []byte) []byte {
	n := len(contentOf(encoded)) - 1
	if n < 1<<6 {
		return append([]byte{byte(n)}, contentOf(encoded)...)
	}
	return append([]byte{1<<6 | byte(n>>8), byte(n)}, contentOf(encoded)...)
}

// contents are what can be wrong with what stands in a KeyPackage.
func contents(s *mlstest.Signer) []defect {
	unlisted := func(t mls.ExtensionType) mlstest.Option {
		return func(tmpl *mlstest.Template) {
			tmpl.LeafExtensions = append(tmpl.LeafExtensions, mls.Extension{Type: t})
		}
	}
	again := func(list func(*mlstest.Template) *[]mls.Extension, data string) mlstest.Option {
		return func(t *mlstest.Template) {
			l := list(t)
			*l = append(*l, mls.Extension{Type: 0xf0ac}, mls.Extension{Type: (*l)[0].Type, Data: []byte(data)})
			t.Capabilities.Extensions = append(t.Capabilities.Extensions, 0xf0ac)
		}
	}
	leaf := func(t *mlstest.Template) *[]mls.Extension { return &t.LeafExtensions }
	whole := func(t *mlstest.Template) *[]mls.Extension { return &t.Extensions }
	x509 := func(key []byte) []mlstest.Option {
		return []mlstest.Option{mlstest.WithCertificates(mlstest.Certificate(key))}
	}
	chain := func(certificates ...[]byte) mlstest.Option { return mlstest.WithCertificates(certificates...) }
	own, other := mlstest.Certificate(s.PublicKey()), mlstest.Certificate(mlstest.Random(32))
	credentials := func(list ...mls.CredentialType) mlstest.Option {
		return mlstest.WithCapabilities(func(c *mls.Capabilities) { c.Credentials = list })
	}
	source := func(source mls.LeafNodeSource) mlstest.Option {
		return func(t *mlstest.Template) { t.Source, t.ParentHash = source, []byte("parent") }
	}
	return []defect{
		{"version 0", mls.CodeUnsupportedVersion, func(t *mlstest.Template) { t.Version = 0 }, nil},
		{"version 2", mls.CodeUnsupportedVersion, func(t *mlstest.Template) { t.Version = 2 }, nil},
		{"version little-endian", mls.CodeUnsupportedVersion, func(t *mlstest.Template) { t.Version = 0x0100 }, nil},
		{"cipher_suite 0", mls.CodeUnsupportedCipherSuite, func(t *mlstest.Template) { t.CipherSuite = 0 }, nil},
		{"cipher_suite 8, which there is not", mls.CodeUnsupportedCipherSuite, func(t *mlstest.Template) { t.CipherSuite = 8 }, nil},
		{"cipher_suite little-endian", mls.CodeUnsupportedCipherSuite, func(t *mlstest.Template) { t.CipherSuite = 0x0100 }, nil},
		{"cipher_suite for private use", mls.CodeUnsupportedCipherSuite, func(t *mlstest.Template) { t.CipherSuite = 0xf007 }, nil},
		{"cipher_suite of GREASE", mls.CodeUnsupportedCipherSuite, func(t *mlstest.Template) { t.CipherSuite = 0x0a0a }, nil},
		{"cipher_suite of another curve", mls.CodeBadInitKey, func(t *mlstest.Template) { t.CipherSuite = 2 }, nil},

		{"init_key is encryption_key", mls.CodeInitKeyIsEncryptionKey, func(t *mlstest.Template) { t.InitKey = t.EncryptionKey }, nil},
		{"leaf_node_source 0", mls.CodeMalformed, source(0), nil},
		{"leaf_node_source update", mls.CodeWrongLeafSource, source(mls.LeafNodeSourceUpdate), nil},
		{"leaf_node_source commit", mls.CodeWrongLeafSource, source(mls.LeafNodeSourceCommit), nil},
		{"leaf_node_source 4, which there is not", mls.CodeMalformed, source(4), nil},
		{"leaf_node_source 255", mls.CodeMalformed, source(255), nil},
		{"leaf_node_source update, with a lifetime", mls.CodeMalformed, inField("leaf_node.leaf_node_source", to(2)), nil},
		{"lifetime ends a second before it begins", mls.CodeBadLifetime, mlstest.WithLifetime(1000, 999), nil},
		{"lifetime backwards by all there is", mls.CodeBadLifetime, mlstest.WithLifetime(mlstest.NoEnd, 0), nil},
		{"lifetime with not_after 0", mls.CodeBadLifetime, mlstest.WithLifetime(1, 0), nil},

		{"credential type not listed", mls.CodeCredentialNotListed, credentials(), nil},
		{"only another credential type listed", mls.CodeCredentialNotListed, credentials(mls.CredentialX509, 3), nil},
		{"x509 not listed", mls.CodeCredentialNotListed, credentials(mls.CredentialBasic), x509(s.PublicKey())},
		{"credential of an unknown type not listed", mls.CodeCredentialNotListed, credentials(mls.CredentialBasic),
			[]mlstest.Option{mlstest.WithCredential(0xf00d, mlstest.Vector([]byte("whatever")))}},
		{"x509 without a certificate", mls.CodeBadCertificate, chain(), x509(s.PublicKey())},
		{"x509 with an empty certificate", mls.CodeBadCertificate, chain(nil), x509(s.PublicKey())},
		{"x509 with a certificate that is none", mls.CodeBadCertificate, chain([]byte("-----BEGIN CERTIFICATE-----")), x509(s.PublicKey())},
		{"x509 with a byte after the certificate", mls.CodeBadCertificate, chain(append(slices.Clone(own), 0)), x509(s.PublicKey())},
		{"x509 with a certificate that is cut off", mls.CodeBadCertificate, chain(own[:len(own)/2]), x509(s.PublicKey())},
		{"x509 with a bare public key for a certificate", mls.CodeBadCertificate, chain(s.PublicKey()), x509(s.PublicKey())},
		{"x509 with a certificate for another key", mls.CodeCertificateKeyMismatch, chain(other), x509(s.PublicKey())},
		{"x509 with its certificate second in the chain", mls.CodeCertificateKeyMismatch, chain(other, own), x509(s.PublicKey())},

		{"leaf extension not listed", mls.CodeExtensionNotListed, unlisted(0xf0ad), nil},
		{"leaf extension of GREASE not listed", mls.CodeExtensionNotListed, unlisted(0x0a0a), nil},
		{"leaf extension 0 not listed", mls.CodeExtensionNotListed, unlisted(0), nil},
		{"leaf extension 6 not listed", mls.CodeExtensionNotListed, unlisted(6), nil},
		{"leaf extension last_resort not listed", mls.CodeExtensionNotListed, unlisted(mls.ExtensionLastResort), nil},
		{"leaf extension twice", mls.CodeDuplicateExtension, again(leaf, "leaf"), nil},
		{"leaf extension twice, with other data", mls.CodeDuplicateExtension, again(leaf, "other"), nil},
		{"extension twice", mls.CodeDuplicateExtension, again(whole, "whole"), nil},
		{"extension twice, with other data", mls.CodeDuplicateExtension, again(whole, "other"), nil},
		{"last_resort twice", mls.CodeDuplicateExtension, func(t *mlstest.Template) {
			t.Extensions = append(t.Extensions, t.Extensions[len(t.Extensions)-1])
		}, []mlstest.Option{mlstest.LastResort()}},
		{"application_id twice", mls.CodeDuplicateExtension, func(t *mlstest.Template) {
			id := mls.Extension{Type: mls.ExtensionApplicationID, Data: mlstest.Vector([]byte("app"))}
			t.LeafExtensions = append(t.LeafExtensions, id, id)
		}, nil},
	}
}

// A keyField is a field that is a public key.
type keyField struct {
	name string
	code mls.Code
	of   func(*mlstest.Template) *[]byte
}

var keyFields = []keyField{
	{"init_key", mls.CodeBadInitKey, func(t *mlstest.Template) *[]byte { return &t.InitKey }},
	{"encryption_key", mls.CodeBadEncryptionKey, func(t *mlstest.Template) *[]byte { return &t.EncryptionKey }},
	{"signature_key", mls.CodeBadSignatureKey, func(t *mlstest.Template) *[]byte { return &t.SignatureKey }},
}

// defect is what by makes of the key.
func (k keyField) defect(what string, by func(key []byte) []byte) defect {
	return defect{k.name + " " + what, k.code, func(t *mlstest.Template) {
		key := k.of(t)
		*key = by(slices.Clone(*key))
	}, nil}
}

// keys are what can be wrong with a key of any suite.
func keys(s *mlstest.Signer) (defects []defect) {
	for _, k := range keyFields {
		defects = append(defects,
			k.defect("empty", func([]byte) []byte { return []byte{} }),
			k.defect("a byte short", func(key []byte) []byte { return key[1:] }),
			k.defect("a byte long", func(key []byte) []byte { return append(key, 0) }),
			k.defect("in hexadecimal", func(key []byte) []byte { return []byte(hex.EncodeToString(key)) }),
			k.defect("all zeros", func(key []byte) []byte { return make([]byte, len(key)) }))
		if curveOf(s.Suite()) == nil {
			defects = append(defects, k.defect("of low order", func(key []byte) []byte { return append([]byte{1}, make([]byte, len(key)-1)...) }))
		}
	}
	return defects
}

func curveOf(suite mls.CipherSuite) elliptic.Curve {
	return map[mls.CipherSuite]elliptic.Curve{2: elliptic.P256(), 5: elliptic.P521(), 7: elliptic.P384()}[suite]
}

// points are what can be wrong with a key that is a point.
func points(s *mlstest.Signer) []defect {
	curve := curveOf(s.Suite())
	infinity := func([]byte) []byte { return []byte{0} }
	hybrid := func(key []byte) []byte { key[0] = 6 | key[len(key)-1]&1; return key }
	bare := func(key []byte) []byte { return key[1:] }
	tooLarge := func(key []byte) []byte { // x + p, where that has as many bytes, else p
		x := new(big.Int).SetBytes(key[1 : 1+len(key)/2])
		if x.Add(x, curve.Params().P).BitLen() > 8*(len(key)/2) {
			x.Set(curve.Params().P)
		}
		x.FillBytes(key[1 : 1+len(key)/2])
		return key
	}
	noPoint := func(key []byte) []byte { return append([]byte{2}, slices.Repeat([]byte{0xff}, len(key)/2)...) }
	var defects []defect
	for _, k := range keyFields {
		defects = append(defects,
			k.defect("not on the curve", flipBit),
			k.defect("the point at infinity", infinity),
			k.defect("a point in the hybrid form", hybrid),
			k.defect("a point without its first byte", bare),
			k.defect("a point with a coordinate past the field", tooLarge),
			k.defect("compressed, with an X that no point has", noPoint))
		if k.name != "signature_key" { // of which ts-mls makes compressed ones
			defects = append(defects, k.defect("a compressed point", func(key []byte) []byte { return compress(curve, key) }))
		}
	}
	return defects
}

func compress(curve elliptic.Curve, point []byte) []byte {
	size := len(point) / 2
	return elliptic.MarshalCompressed(curve, new(big.Int).SetBytes(point[1:1+size]), new(big.Int).SetBytes(point[1+size:]))
}
