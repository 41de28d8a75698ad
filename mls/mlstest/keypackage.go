package mlstest

import (
	"encoding/binary"

	"welcomed/mls"
)

// A Template is a KeyPackage before it is encoded. Its fields are those of the
// structs of RFC 9420 s10 and s7.2; each can be changed by an Option.
type Template struct {
	Version        mls.ProtocolVersion
	CipherSuite    mls.CipherSuite
	InitKey        []byte
	EncryptionKey  []byte
	SignatureKey   []byte
	Credential     mls.CredentialType
	CredentialBody []byte // what follows credential_type
	Capabilities   mls.Capabilities
	Source         mls.LeafNodeSource
	Lifetime       mls.Lifetime // only encoded if Source is key_package
	ParentHash     []byte       // only encoded if Source is commit
	LeafExtensions []mls.Extension
	Extensions     []mls.Extension

	// ChangeLeafSignature and ChangeSignature are given a good signature and
	// return what is to stand in its place.
	ChangeLeafSignature func([]byte) []byte
	ChangeSignature     func([]byte) []byte

	// ChangeField is given the encoding of every field, in the order of the
	// encoding, and returns what is to stand in its place. Fields have their names
	// in the RFC, those of the leaf with a prefix ("leaf_node.capabilities.versions").
	// What is changed is signed.
	ChangeField func(name string, encoded []byte) []byte

	// Sign makes both signatures, in place of the signer's SignWithLabel.
	Sign func(label string, content []byte) []byte
}

// An Option changes a KeyPackage before it is signed. A func literal will do
// where there is no named option.
type Option func(*Template)

// WithLifetime sets the lifetime, in seconds since the Unix epoch. It is 0 to
// NoEnd without this option.
func WithLifetime(notBefore, notAfter uint64) Option {
	return func(t *Template) { t.Lifetime = mls.Lifetime{NotBefore: notBefore, NotAfter: notAfter} }
}

// LastResort marks the KeyPackage as one of last resort, with extension 0x000A.
func LastResort() Option { return WithExtension(mls.ExtensionLastResort, nil) }

// LastResortComponent marks it with component 0x0004 of app_data_dictionary. idSize
// is the size of a component id in bytes: 2, or 4 as in drafts 06 to 08.
func LastResortComponent(idSize int) Option {
	component := append(make([]byte, idSize-1), 4, 0)
	return WithExtension(mls.ExtensionAppDataDictionary, Vector(component))
}

// WithExtension adds an extension to the KeyPackage, and its type to the
// capabilities.
func WithExtension(extension mls.ExtensionType, data []byte) Option {
	return func(t *Template) {
		t.Extensions = append(t.Extensions, mls.Extension{Type: extension, Data: data})
		t.Capabilities.Extensions = append(t.Capabilities.Extensions, extension)
	}
}

// WithLeafExtension adds an extension to the LeafNode, and its type to the
// capabilities.
func WithLeafExtension(extension mls.ExtensionType, data []byte) Option {
	return func(t *Template) {
		t.LeafExtensions = append(t.LeafExtensions, mls.Extension{Type: extension, Data: data})
		t.Capabilities.Extensions = append(t.Capabilities.Extensions, extension)
	}
}

// WithPadding makes the KeyPackage about n bytes larger, by an extension of a
// type for private use.
func WithPadding(n int) Option { return WithExtension(0xf0ad, make([]byte, n)) }

// WithInitKey sets init_key, which is a new KEMKey without this option.
func WithInitKey(key []byte) Option { return func(t *Template) { t.InitKey = key } }

// WithEncryptionKey sets leaf_node.encryption_key, which is a new KEMKey without
// this option.
func WithEncryptionKey(key []byte) Option { return func(t *Template) { t.EncryptionKey = key } }

// WithCapabilities changes the capabilities, which are mls10, the suite and the
// credential type, and the extensions in use. It sees what options before it did.
func WithCapabilities(change func(*mls.Capabilities)) Option {
	return func(t *Template) { change(&t.Capabilities) }
}

// WithCredential sets the credential, which is the basic one of the signer's
// identity without this option: its type, and everything that follows the type.
// The type becomes the one that the capabilities list.
func WithCredential(credential mls.CredentialType, body []byte) Option {
	return func(t *Template) {
		t.Credential, t.CredentialBody = credential, body
		t.Capabilities.Credentials = []mls.CredentialType{credential}
	}
}

// KeyPackage returns a new bare KeyPackage, signed as a LeafNode and as a whole,
// with a new init_key and encryption_key.
func (s *Signer) KeyPackage(options ...Option) []byte {
	t := &Template{
		Version:        mls.MLS10,
		CipherSuite:    s.suite,
		SignatureKey:   s.public,
		Credential:     mls.CredentialBasic,
		CredentialBody: Vector([]byte(s.identity)),
		Capabilities: mls.Capabilities{
			Versions:     []mls.ProtocolVersion{mls.MLS10},
			CipherSuites: []mls.CipherSuite{s.suite},
			Credentials:  []mls.CredentialType{mls.CredentialBasic},
		},
		Source:   mls.LeafNodeSourceKeyPackage,
		Lifetime: mls.Lifetime{NotBefore: 0, NotAfter: NoEnd},
	}
	for _, o := range options {
		o(t)
	}
	if t.InitKey == nil {
		t.InitKey = KEMKey(s.suite)
	}
	if t.EncryptionKey == nil {
		t.EncryptionKey = KEMKey(s.suite)
	}
	if t.Sign == nil {
		t.Sign = s.SignWithLabel
	}
	return t.Encode(t.Sign)
}

// Encode returns the bare KeyPackage, with the signatures that sign returns for
// the labels LeafNodeTBS and KeyPackageTBS.
func (t *Template) Encode(sign func(label string, content []byte) []byte) []byte {
	b := t.appendField(nil, "version", appendUint16(nil, uint16(t.Version)))
	b = t.appendField(b, "cipher_suite", appendUint16(nil, uint16(t.CipherSuite)))
	b = t.appendField(b, "init_key", Vector(t.InitKey))

	leaf := t.leafNodeTBS()
	signature := change(sign("LeafNodeTBS", leaf), t.ChangeLeafSignature)
	b = append(b, t.appendField(leaf, "leaf_node.signature", Vector(signature))...)

	b = t.appendField(b, "extensions", appendExtensions(nil, t.Extensions))
	signature = change(sign("KeyPackageTBS", b), t.ChangeSignature)
	return t.appendField(b, "signature", Vector(signature))
}

func (t *Template) appendField(b []byte, name string, encoded []byte) []byte {
	if t.ChangeField != nil {
		encoded = t.ChangeField(name, encoded)
	}
	return append(b, encoded...)
}

func change(signature []byte, by func([]byte) []byte) []byte {
	if by == nil {
		return signature
	}
	return by(signature)
}

func (t *Template) leafNodeTBS() (b []byte) {
	add := func(name string, encoded []byte) { b = t.appendField(b, "leaf_node."+name, encoded) }
	add("encryption_key", Vector(t.EncryptionKey))
	add("signature_key", Vector(t.SignatureKey))
	add("credential", append(appendUint16(nil, uint16(t.Credential)), t.CredentialBody...))
	add("capabilities.versions", appendUint16s(nil, t.Capabilities.Versions))
	add("capabilities.cipher_suites", appendUint16s(nil, t.Capabilities.CipherSuites))
	add("capabilities.extensions", appendUint16s(nil, t.Capabilities.Extensions))
	add("capabilities.proposals", appendUint16s(nil, t.Capabilities.Proposals))
	add("capabilities.credentials", appendUint16s(nil, t.Capabilities.Credentials))
	add("leaf_node_source", []byte{byte(t.Source)})
	switch t.Source {
	case mls.LeafNodeSourceKeyPackage:
		add("lifetime.not_before", binary.BigEndian.AppendUint64(nil, t.Lifetime.NotBefore))
		add("lifetime.not_after", binary.BigEndian.AppendUint64(nil, t.Lifetime.NotAfter))
	case mls.LeafNodeSourceCommit:
		add("parent_hash", Vector(t.ParentHash))
	}
	add("extensions", appendExtensions(nil, t.LeafExtensions))
	return b
}
