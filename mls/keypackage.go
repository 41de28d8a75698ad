package mls

import "bytes"

// A KeyPackage is what a client publishes so that it can be added to a group
// while it is offline (RFC 9420 s10). Its slices are parts of the input it was
// read from, which must not change as long as they are in use.
type KeyPackage struct {
	Version     ProtocolVersion
	CipherSuite CipherSuite
	InitKey     []byte
	LeafNode    LeafNode
	Extensions  []Extension
	Signature   []byte

	raw []byte
	tbs []byte // KeyPackageTBS: everything before signature
}

// ParseKeyPackage reads a bare KeyPackage, which ends where b ends. A cipher
// suite that is not known is no failure: Verify refuses it. Every error is
// ErrMalformed.
//
//	struct {
//	    ProtocolVersion version;
//	    CipherSuite cipher_suite;
//	    HPKEPublicKey init_key;
//	    LeafNode leaf_node;
//	    Extension extensions<V>;
//	    /* SignWithLabel(., "KeyPackageTBS", KeyPackageTBS) */
//	    opaque signature<V>;
//	} KeyPackage;
func ParseKeyPackage(b []byte) (*KeyPackage, error) {
	d := decoder{rest: b}
	if len(b) > maxLength {
		d.fail("size", "more than any vector can hold")
	}
	kp := &KeyPackage{
		Version:     ProtocolVersion(d.uint16("version")),
		CipherSuite: CipherSuite(d.uint16("cipher_suite")),
		InitKey:     d.vector("init_key"),
		LeafNode:    d.leafNode(),
		Extensions:  d.extensions("extensions"),
	}
	kp.raw, kp.tbs = b, b[:len(b)-len(d.rest)]
	kp.Signature = d.vector("signature")
	if err := d.finish("KeyPackage"); err != nil {
		return nil, err
	}
	return kp, nil
}

// Bytes returns the bare encoding, exactly as it was received.
func (kp *KeyPackage) Bytes() []byte { return kp.raw }

// Ref returns the KeyPackageRef (RFC 9420 s5.2): the suite's hash over the bare
// encoding. It is empty if the suite is not known.
func (kp *KeyPackage) Ref() KeyPackageRef {
	return kp.CipherSuite.RefOf(kp.raw)
}

// LastResort reports whether the client allows that the KeyPackage is used more
// than once, when it has no other left. Both encodings in use count: the empty
// extension 0x000A, and the empty component 0x0004 in app_data_dictionary, with
// component ids of 16 or of 32 bits. With data in it the marker means nothing.
func (kp *KeyPackage) LastResort() bool {
	for _, e := range kp.Extensions {
		if e.marksLastResort() {
			return true
		}
	}
	return false
}

// Verify makes every check of RFC 9420 s10.1 and s7.3 that needs neither the
// group nor a clock, and returns the first failure as an *Error. It costs two
// signature verifications: well under a millisecond for the suites 1 to 3, several
// for suite 5.
func (kp *KeyPackage) Verify() error { return verify(kp, keyPackageRules) }

// Checks makes the checks of Verify, all of them, and returns each with its
// verdict. One that could not be made because of another failure has that
// failure as its verdict.
func (kp *KeyPackage) Checks() []Check { return report(kp, keyPackageRules) }

var keyPackageRules = []rule[*KeyPackage]{
	{"protocol version is mls10", (*KeyPackage).checkVersion},
	{"cipher suite is supported", (*KeyPackage).checkCipherSuite},
	{"leaf is meant for a KeyPackage", (*KeyPackage).checkSource},
	{"lifetime begins before it ends", (*KeyPackage).checkLifetime},
	{"no extension type twice", (*KeyPackage).checkDuplicates},
	{"credential type is listed in capabilities", (*KeyPackage).checkCredentialListed},
	{"leaf extensions are listed in capabilities", (*KeyPackage).checkExtensionsListed},
	{"init_key differs from encryption_key", (*KeyPackage).checkKeysDiffer},
	{"certificate is for signature_key", (*KeyPackage).checkCertificate},
	{"init_key is valid", (*KeyPackage).checkInitKey},
	{"encryption_key is valid", (*KeyPackage).checkEncryptionKey},
	{"signature_key is valid", (*KeyPackage).checkSignatureKey},
	{"LeafNode signature", (*KeyPackage).checkLeafSignature},
	{"KeyPackage signature", (*KeyPackage).checkSignature},
}

func (kp *KeyPackage) checkVersion() error {
	if kp.Version != MLS10 {
		return refuse(CodeUnsupportedVersion, "KeyPackage has protocol version %s, not mls10", kp.Version)
	}
	return nil
}

func (kp *KeyPackage) checkCipherSuite() error {
	_, err := kp.CipherSuite.lookup()
	return err
}

func (kp *KeyPackage) checkSource() error {
	if s := kp.LeafNode.Source; s != LeafNodeSourceKeyPackage {
		return refuse(CodeWrongLeafSource, "leaf_node_source is %s, not key_package", s)
	}
	return nil
}

func (kp *KeyPackage) checkLifetime() error {
	if l := kp.LeafNode.Lifetime; l.NotBefore > l.NotAfter {
		return refuse(CodeBadLifetime, "lifetime ends (%d) before it begins (%d)", l.NotAfter, l.NotBefore)
	}
	return nil
}

func (kp *KeyPackage) checkDuplicates() error {
	if t, found := duplicateExtension(kp.LeafNode.Extensions); found {
		return refuse(CodeDuplicateExtension, "leaf_node.extensions has type %s twice", t)
	}
	if t, found := duplicateExtension(kp.Extensions); found {
		return refuse(CodeDuplicateExtension, "extensions has type %s twice", t)
	}
	return nil
}

func (kp *KeyPackage) checkCredentialListed() error {
	for _, t := range kp.LeafNode.Capabilities.Credentials {
		if t == kp.LeafNode.Credential.Type {
			return nil
		}
	}
	return refuse(CodeCredentialNotListed, "credential type %s is not listed in capabilities.credentials", kp.LeafNode.Credential.Type)
}

func (kp *KeyPackage) checkExtensionsListed() error {
	listed := make(map[ExtensionType]bool, len(kp.LeafNode.Capabilities.Extensions))
	for _, t := range kp.LeafNode.Capabilities.Extensions {
		listed[t] = true
	}
	for _, e := range kp.LeafNode.Extensions {
		if !e.Type.isDefault() && !listed[e.Type] {
			return refuse(CodeExtensionNotListed, "leaf_node.extensions has type %s, which capabilities.extensions does not list", e.Type)
		}
	}
	return nil
}

func (kp *KeyPackage) checkKeysDiffer() error {
	if bytes.Equal(kp.InitKey, kp.LeafNode.EncryptionKey) {
		return refuse(CodeInitKeyIsEncryptionKey, "init_key and leaf_node.encryption_key are the same key")
	}
	return nil
}

func (kp *KeyPackage) checkCertificate() error {
	c := kp.LeafNode.Credential
	if c.Type != CredentialX509 {
		return nil
	}
	if len(c.Certificates) == 0 {
		return refuse(CodeBadCertificate, "x509 credential has no certificate")
	}
	key, ok := certificateKey(c.Certificates[0])
	if !ok {
		return refuse(CodeBadCertificate, "first certificate of the x509 credential: no subject public key found")
	}
	// A certificate usually has its point uncompressed, and some clients compress
	// signature_key: one key in two encodings.
	s, err := kp.CipherSuite.lookup()
	if err == nil && !s.signature.sameKey(key, kp.LeafNode.SignatureKey) {
		err = refuse(CodeCertificateKeyMismatch, "first certificate of the x509 credential is not for leaf_node.signature_key")
	}
	return err
}

func (kp *KeyPackage) checkInitKey() error {
	s, err := kp.CipherSuite.lookup()
	if err == nil && !s.validKEMKey(kp.InitKey) {
		err = refuse(CodeBadInitKey, "init_key is not a public key of %s", s.name)
	}
	return err
}

func (kp *KeyPackage) checkEncryptionKey() error {
	s, err := kp.CipherSuite.lookup()
	if err == nil && !s.validKEMKey(kp.LeafNode.EncryptionKey) {
		err = refuse(CodeBadEncryptionKey, "leaf_node.encryption_key is not a public key of %s", s.name)
	}
	return err
}

func (kp *KeyPackage) checkSignatureKey() error {
	s, err := kp.CipherSuite.lookup()
	if err == nil && !s.signature.validKey(kp.LeafNode.SignatureKey) {
		err = refuse(CodeBadSignatureKey, "leaf_node.signature_key is not a public key of %s", s.name)
	}
	return err
}

// checkLeafSignature checks the signature over
//
//	struct {
//	    ... /* LeafNode without signature */
//	    select (LeafNodeTBS.leaf_node_source) {
//	        case key_package:
//	            struct{};
//	        case update, commit:
//	            opaque group_id<V>;
//	            uint32 leaf_index;
//	    };
//	} LeafNodeTBS;
//
// which only the group can check for another source than key_package.
func (kp *KeyPackage) checkLeafSignature() error {
	s, err := kp.CipherSuite.lookup()
	if err != nil {
		return err
	}
	if err := kp.checkSource(); err != nil {
		return err
	}
	l := &kp.LeafNode
	if !s.signature.verifyWithLabel(l.SignatureKey, "LeafNodeTBS", l.tbs, l.Signature) {
		return refuse(CodeBadLeafSignature, "LeafNode signature does not verify under leaf_node.signature_key")
	}
	return nil
}

// checkSignature uses the leaf's signature_key; s10.1 says "the public key in
// leaf_node.credential", which no credential but x509 has.
func (kp *KeyPackage) checkSignature() error {
	s, err := kp.CipherSuite.lookup()
	if err == nil && !s.signature.verifyWithLabel(kp.LeafNode.SignatureKey, "KeyPackageTBS", kp.tbs, kp.Signature) {
		err = refuse(CodeBadSignature, "KeyPackage signature does not verify under leaf_node.signature_key")
	}
	return err
}
