package mls

import "fmt"

// A LeafNodeSource says where a LeafNode comes from (RFC 9420 s7.2).
type LeafNodeSource uint8

// The sources of RFC 9420 s7.2. Only the first belongs in a KeyPackage.
const (
	LeafNodeSourceKeyPackage LeafNodeSource = 1
	LeafNodeSourceUpdate     LeafNodeSource = 2
	LeafNodeSourceCommit     LeafNodeSource = 3
)

// String returns the RFC's name of the source.
func (s LeafNodeSource) String() string {
	switch s {
	case LeafNodeSourceKeyPackage:
		return "key_package"
	case LeafNodeSourceUpdate:
		return "update"
	case LeafNodeSourceCommit:
		return "commit"
	}
	return fmt.Sprintf("0x%02x", uint8(s))
}

// A Lifetime is when a LeafNode may be used, both ends included, in seconds since
// the Unix epoch (RFC 9420 s7.2). All of uint64 occurs in practice, so compare
// as uint64: time.Unix would turn 2^64-1 into 1969.
type Lifetime struct {
	NotBefore, NotAfter uint64
}

// A ProposalType is the type of a proposal (RFC 9420 s17.4).
type ProposalType uint16

// Capabilities is what a client says it supports (RFC 9420 s7.2). The lists are
// in the order of the encoding and may hold GREASE and other unknown values.
type Capabilities struct {
	Versions     []ProtocolVersion
	CipherSuites []CipherSuite
	Extensions   []ExtensionType
	Proposals    []ProposalType
	Credentials  []CredentialType
}

// A LeafNode describes a client to a group (RFC 9420 s7.2).
type LeafNode struct {
	EncryptionKey []byte
	SignatureKey  []byte
	Credential    Credential
	Capabilities  Capabilities
	Source        LeafNodeSource
	Lifetime      Lifetime // only if Source is LeafNodeSourceKeyPackage
	ParentHash    []byte   // only if Source is LeafNodeSourceCommit
	Extensions    []Extension
	Signature     []byte

	tbs []byte // everything before signature, which is LeafNodeTBS for key_package
}

// leafNode reads
//
//	struct {
//	    HPKEPublicKey encryption_key;
//	    SignaturePublicKey signature_key;
//	    Credential credential;
//	    Capabilities capabilities;
//
//	    LeafNodeSource leaf_node_source;
//	    select (LeafNode.leaf_node_source) {
//	        case key_package:
//	            Lifetime lifetime;
//
//	        case update:
//	            struct{};
//
//	        case commit:
//	            opaque parent_hash<V>;
//	    };
//
//	    Extension extensions<V>;
//	    /* SignWithLabel(., "LeafNodeTBS", LeafNodeTBS) */
//	    opaque signature<V>;
//	} LeafNode;
//
//	struct {
//	    uint64 not_before;
//	    uint64 not_after;
//	} Lifetime;
func (d *decoder) leafNode() (l LeafNode) {
	start := d.rest
	l.EncryptionKey = d.vector("leaf_node.encryption_key")
	l.SignatureKey = d.vector("leaf_node.signature_key")
	l.Credential = d.credential()
	l.Capabilities = d.capabilities()
	switch l.Source = LeafNodeSource(d.uint8("leaf_node.leaf_node_source")); l.Source {
	case LeafNodeSourceKeyPackage:
		l.Lifetime.NotBefore = d.uint64("leaf_node.lifetime.not_before")
		l.Lifetime.NotAfter = d.uint64("leaf_node.lifetime.not_after")
	case LeafNodeSourceUpdate:
	case LeafNodeSourceCommit:
		l.ParentHash = d.vector("leaf_node.parent_hash")
	default:
		d.fail("leaf_node.leaf_node_source", "not key_package, update or commit")
	}
	l.Extensions = d.extensions("leaf_node.extensions")
	l.tbs = start[:len(start)-len(d.rest)]
	l.Signature = d.vector("leaf_node.signature")
	return l
}

// capabilities reads
//
//	struct {
//	    ProtocolVersion versions<V>;
//	    CipherSuite cipher_suites<V>;
//	    ExtensionType extensions<V>;
//	    ProposalType proposals<V>;
//	    CredentialType credentials<V>;
//	} Capabilities;
func (d *decoder) capabilities() Capabilities {
	return Capabilities{
		Versions:     uint16s[ProtocolVersion](d, "leaf_node.capabilities.versions"),
		CipherSuites: uint16s[CipherSuite](d, "leaf_node.capabilities.cipher_suites"),
		Extensions:   uint16s[ExtensionType](d, "leaf_node.capabilities.extensions"),
		Proposals:    uint16s[ProposalType](d, "leaf_node.capabilities.proposals"),
		Credentials:  uint16s[CredentialType](d, "leaf_node.capabilities.credentials"),
	}
}
