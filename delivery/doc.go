// Package delivery is the domain of welcomed: KeyPackages that devices publish,
// Welcomes that adders post, and the match between them.
//
// It promises that a joiner is only ever given a Welcome that its
// still-unconsumed KeyPackage can open, that the match and the consumption of
// both are one transaction, and that nothing is lost when a reply is. The
// promise is kept by a [Store]; package storetest is the suite that every
// store passes.
//
// The package knows what the states are and which transition is allowed when
// (keypackage.go and welcome.go have the diagrams). It refuses to know how
// bytes are stored and how a request arrives.
package delivery
