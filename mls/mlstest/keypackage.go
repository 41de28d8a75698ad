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
	return t.Encode(s.SignWithLabel)
}

// Encode returns the bare KeyPackage, with the signatures that sign returns for
// the labels LeafNodeTBS and KeyPackageTBS.
func (t *Template) Encode(sign func(label string, content []byte) []byte) []byte {
	leaf := t.leafNodeTBS()
	leaf = appendVector(leaf, change(sign("LeafNodeTBS", leaf), t.ChangeLeafSignature))

	b := appendUint16(nil, uint16(t.Version))
	b = appendUint16(b, uint16(t.CipherSuite))
	b = appendVector(b, t.InitKey)
	b = append(b, leaf...)
	b = appendExtensions(b, t.Extensions)
	return appendVector(b, change(sign("KeyPackageTBS", b), t.ChangeSignature))
}

func change(signature []byte, by func([]byte) []byte) []byte {
	if by == nil {
		return signature
	}
	return by(signature)
}

func (t *Template) leafNodeTBS() []byte {
	b := appendVector(nil, t.EncryptionKey)
	b = appendVector(b, t.SignatureKey)
	b = appendUint16(b, uint16(t.Credential))
	b = append(b, t.CredentialBody...)
	b = appendUint16s(b, t.Capabilities.Versions)
	b = appendUint16s(b, t.Capabilities.CipherSuites)
	b = appendUint16s(b, t.Capabilities.Extensions)
	b = appendUint16s(b, t.Capabilities.Proposals)
	b = appendUint16s(b, t.Capabilities.Credentials)
	b = append(b, byte(t.Source))
	switch t.Source {
	case mls.LeafNodeSourceKeyPackage:
		b = binary.BigEndian.AppendUint64(b, t.Lifetime.NotBefore)
		b = binary.BigEndian.AppendUint64(b, t.Lifetime.NotAfter)
	case mls.LeafNodeSourceCommit:
		b = appendVector(b, t.ParentHash)
	}
	return appendExtensions(b, t.LeafExtensions)
}
