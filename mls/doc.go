// Package mls reads the two MLS (RFC 9420) objects that a server keeps for
// clients that are offline: the KeyPackage and the Welcome.
//
// It turns bytes into values or into an [*Error] with a stable [Code], computes
// KeyPackageRefs, checks signatures and everything else about an object that can
// be checked without a group and without a clock, and cuts a Welcome down to one
// recipient. Bytes are kept exactly as they came: nothing is ever re-encoded, so
// a ref computed here is the ref every client computes.
//
// It refuses to know the time (lifetimes are numbers to it), who may do what,
// and anything that is encrypted. It does no I/O and never panics on input.
//
// Reading is strict: varints are minimal, no byte is left over at any level, and
// no memory is taken on the word of a length prefix. What s7.3 and s10.1 of the RFC do not demand is not demanded
// here either, because real clients depend on that: GREASE is an unknown value
// like any other, KeyPackage.extensions need not be listed in capabilities, the
// suite itself need not be listed there, and default types may be. One thing is
// accepted that the RFC excludes: a signature_key that is a compressed ECDSA point,
// which is what ts-mls writes.
package mls
