// Package client speaks to a welcomed server, for the app on a device and for the back end of
// an application.
//
// It has two layers.
//
//   - [Client] has a method for each route of the API. It repeats a request where a repeat
//     can help, and returns an [*Error] with the server's Code where the server says no.
//   - [Device] does what the app on a device has to do all day: it keeps KeyPackages on the
//     server, claims Welcomes, and has the application join with each of them once.
//
// The package knows nothing of MLS. A KeyPackage and a Welcome are bytes: the application's
// MLS library makes them and reads them. A Client sends either framing, and gets KeyPackages
// bare and Welcomes as an MLSMessage.
//
// What a client does and why is in docs/lifecycle.md of the server, which this package
// follows. Fields of answers that it does not know are ignored, so an older client works
// with a newer server of the same API version.
package client
