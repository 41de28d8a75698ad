package mls

import "fmt"

// A Code says why an object was refused, in a form that programs can match on.
// Codes never change their meaning; new ones may be added.
type Code string

const (
	// CodeMalformed: the bytes are not an encoding of the expected struct, or
	// are one in two different ways.
	CodeMalformed Code = "malformed_message"
	// CodeWrongMessageType: the bytes are some other MLS object.
	CodeWrongMessageType Code = "wrong_message_type"
	// CodeUnsupportedVersion: the protocol version is not mls10.
	CodeUnsupportedVersion Code = "unsupported_version"
	// CodeUnsupportedCipherSuite: the hash, sizes and signature scheme of the
	// cipher suite are not known here, so nothing that needs them can be checked.
	CodeUnsupportedCipherSuite Code = "unsupported_cipher_suite"

	// CodeBadInitKey: init_key is not a public key of the suite's KEM.
	CodeBadInitKey Code = "bad_init_key"
	// CodeBadEncryptionKey: leaf_node.encryption_key is not a public key of the
	// suite's KEM.
	CodeBadEncryptionKey Code = "bad_encryption_key"
	// CodeBadSignatureKey: leaf_node.signature_key is not a public key of the
	// suite's signature scheme.
	CodeBadSignatureKey Code = "bad_signature_key"
	// CodeInitKeyIsEncryptionKey: init_key and leaf_node.encryption_key are the
	// same key (RFC 9420 s10.1).
	CodeInitKeyIsEncryptionKey Code = "init_key_is_encryption_key"
	// CodeWrongLeafSource: leaf_node_source is update or commit, so the leaf
	// belongs to a group and not to a KeyPackage (s7.3).
	CodeWrongLeafSource Code = "wrong_leaf_source"
	// CodeBadLifetime: the lifetime ends before it begins.
	CodeBadLifetime Code = "bad_lifetime"
	// CodeCredentialNotListed: the credential's type is missing from
	// leaf_node.capabilities.credentials (s7.2).
	CodeCredentialNotListed Code = "credential_not_listed"
	// CodeExtensionNotListed: the type of an extension of the leaf is missing
	// from leaf_node.capabilities.extensions (s7.3).
	CodeExtensionNotListed Code = "extension_not_listed"
	// CodeDuplicateExtension: an extension list has a type twice (s13.4).
	CodeDuplicateExtension Code = "duplicate_extension"
	// CodeBadCertificate: an x509 credential has no certificate, or no public
	// key can be found in the first one.
	CodeBadCertificate Code = "bad_certificate"
	// CodeCertificateKeyMismatch: the first certificate of an x509 credential is
	// for another key than signature_key (s5.3).
	CodeCertificateKeyMismatch Code = "certificate_key_mismatch"
	// CodeBadLeafSignature: the LeafNode's signature does not verify (s7.3).
	CodeBadLeafSignature Code = "bad_leaf_signature"
	// CodeBadSignature: the KeyPackage's signature does not verify (s10.1).
	CodeBadSignature Code = "bad_signature"

	// CodeNoRecipients: the Welcome has no secrets, so it is for nobody.
	CodeNoRecipients Code = "no_recipients"
	// CodeBadNewMember: a new_member is not as long as the suite's hash.
	CodeBadNewMember Code = "bad_new_member"
	// CodeDuplicateRecipient: two entries of the Welcome have one new_member.
	CodeDuplicateRecipient Code = "duplicate_recipient"
	// CodeBadKEMOutput: a kem_output does not have the size of the suite's KEM.
	CodeBadKEMOutput Code = "bad_kem_output"
	// CodeBadGroupSecrets: the ciphertext of an encrypted_group_secrets is too
	// short to hold a joiner secret of the suite.
	CodeBadGroupSecrets Code = "bad_encrypted_group_secrets"
	// CodeBadGroupInfo: encrypted_group_info is shorter than an AEAD tag.
	CodeBadGroupInfo Code = "bad_encrypted_group_info"
)

// Codes lists every code, in the order above.
var Codes = []Code{
	CodeMalformed, CodeWrongMessageType, CodeUnsupportedVersion, CodeUnsupportedCipherSuite,
	CodeBadInitKey, CodeBadEncryptionKey, CodeBadSignatureKey, CodeInitKeyIsEncryptionKey,
	CodeWrongLeafSource, CodeBadLifetime, CodeCredentialNotListed, CodeExtensionNotListed,
	CodeDuplicateExtension, CodeBadCertificate, CodeCertificateKeyMismatch, CodeBadLeafSignature,
	CodeBadSignature, CodeNoRecipients, CodeBadNewMember, CodeDuplicateRecipient,
	CodeBadKEMOutput, CodeBadGroupSecrets, CodeBadGroupInfo,
}

// ErrMalformed is what every decoding failure matches with [errors.Is]: an
// *Error whose code is CodeMalformed.
var ErrMalformed error = &Error{Code: CodeMalformed}

// An Error is a refusal. Every error of this package is one.
type Error struct {
	Code   Code
	Detail string // what was being done and what is wrong; no secrets, for people
}

// Error returns the detail, or the code where there is none.
func (e *Error) Error() string {
	if e.Detail == "" {
		return string(e.Code)
	}
	return e.Detail
}

// Is reports whether target is an *Error that has the same code and no detail of
// its own, which makes &Error{Code: c} a pattern for every error with code c.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Detail == ""
}

func refuse(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, args...)}
}
