package mls

import (
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// A CredentialType is the type of a credential (RFC 9420 s17.5).
type CredentialType uint16

// The credential types of RFC 9420 s5.3.
const (
	CredentialBasic CredentialType = 1
	CredentialX509  CredentialType = 2
)

// String returns the RFC's name of the type, or the number in hexadecimal.
func (t CredentialType) String() string {
	switch t {
	case CredentialBasic:
		return "basic"
	case CredentialX509:
		return "x509"
	}
	return fmt.Sprintf("0x%04x", uint16(t))
}

// mostCertificates is more than any chain has.
const mostCertificates = 64

// A Credential says who a client is (RFC 9420 s5.3). Which field is set depends
// on the type.
type Credential struct {
	Type         CredentialType
	Identity     []byte   // basic
	Certificates [][]byte // x509: DER, the client's own first
	Opaque       []byte   // any other type: see below
}

// credential reads
//
//	struct {
//	    opaque cert_data<V>;
//	} Certificate;
//
//	struct {
//	    CredentialType credential_type;
//	    select (Credential.credential_type) {
//	        case basic:
//	            opaque identity<V>;
//
//	        case x509:
//	            Certificate certificates<V>;
//	    };
//	} Credential;
//
// The RFC does not say how long a credential of another type is. Every draft and
// every implementation so far makes it one opaque<V>; one that does not will be
// refused as malformed, or by its signature.
func (d *decoder) credential() (c Credential) {
	c.Type = CredentialType(d.uint16("leaf_node.credential.credential_type"))
	switch c.Type {
	case CredentialBasic:
		c.Identity = d.vector("leaf_node.credential.identity")
	case CredentialX509:
		d.few("leaf_node.credential.certificates", mostCertificates, func(d *decoder) {
			c.Certificates = append(c.Certificates, d.vector("cert_data"))
		})
	default:
		c.Opaque = d.vector("leaf_node.credential")
	}
	return c
}

// certificateKey returns the bits of subjectPublicKey in an X.509 certificate. It
// does not ask crypto/x509, which has no Ed448 and judges much that is the
// Authentication Service's to judge.
//
//	Certificate  ::=  SEQUENCE  {
//	    tbsCertificate       TBSCertificate, ... }
//
//	TBSCertificate  ::=  SEQUENCE  {
//	    version         [0]  EXPLICIT Version DEFAULT v1,
//	    serialNumber         CertificateSerialNumber,
//	    signature            AlgorithmIdentifier,
//	    issuer               Name,
//	    validity             Validity,
//	    subject              Name,
//	    subjectPublicKeyInfo SubjectPublicKeyInfo, ... }
//
//	SubjectPublicKeyInfo  ::=  SEQUENCE  {
//	    algorithm            AlgorithmIdentifier,
//	    subjectPublicKey     BIT STRING  }
func certificateKey(der []byte) (key []byte, ok bool) {
	input := cryptobyte.String(der)
	var certificate, tbs, info cryptobyte.String
	ok = input.ReadASN1(&certificate, asn1.SEQUENCE) && input.Empty() &&
		certificate.ReadASN1(&tbs, asn1.SEQUENCE) &&
		tbs.SkipOptionalASN1(asn1.Tag(0).Constructed().ContextSpecific()) &&
		tbs.SkipASN1(asn1.INTEGER) &&
		tbs.SkipASN1(asn1.SEQUENCE) && // signature
		tbs.SkipASN1(asn1.SEQUENCE) && // issuer
		tbs.SkipASN1(asn1.SEQUENCE) && // validity
		tbs.SkipASN1(asn1.SEQUENCE) && // subject
		tbs.ReadASN1(&info, asn1.SEQUENCE) &&
		info.SkipASN1(asn1.SEQUENCE) && // algorithm
		info.ReadASN1BitStringAsBytes(&key) && info.Empty()
	return key, ok
}
