package codes

// A Refusal says what a code means to the client that gets it.
type Refusal struct {
	Means  string // a sentence
	Repeat Repeat
	// Do is what can be done. It stands behind the words of the error in an answer's
	// detail, and in what explain says. It is no sentence.
	Do string
}

// Repeat says whether the very same request can succeed when it is sent again.
type Repeat string

const (
	RepeatNo    Repeat = "no"    // it is refused again
	RepeatNow   Repeat = "now"   // at once
	RepeatLater Repeat = "later" // when Retry-After is over
	RepeatLess  Repeat = "less"  // as later; a request for less can succeed at once
)

// Means returns a Repeat in words.
func (r Repeat) Means() string {
	switch r {
	case RepeatNow:
		return "Yes, at once."
	case RepeatLater:
		return "Yes, after as many seconds as Retry-After says; without it, in some minutes."
	case RepeatLess:
		return "Ask for less, which can succeed at once. The same request can succeed after as many seconds as Retry-After says."
	}
	return "No: the same request is refused again."
}

// Refusals has all codes of problems, and of refused KeyPackages.
var Refusals = map[string]Refusal{
	// 400: the request.
	"bad_identifier": {"A user id or a device id is not one.", RepeatNo,
		"ids are 1 to 255 printable ASCII characters without space and / \\ ? # % \" < > ^ { } and backtick, percent-encoded in a path: encode others as base64url"},
	"bad_request": {"The request cannot be read, or a value in it is not allowed.", RepeatNo,
		"correct what is named: the same request is refused again"},
	"empty_refs": {"The list of refs is empty, which would withdraw everything.", RepeatNo,
		"send the refs whose private keys you hold; say all=1 only if all are lost"},
	"malformed_message": {"The bytes are not an object of MLS.", RepeatNo,
		"send one MLS object as RFC 9420 encodes it: its bytes as message/mls, or in JSON as base64, encoded once"},
	"no_key_packages": {"The request has no KeyPackages.", RepeatNo,
		"send at least one KeyPackage; to take what is there off the shelf, sync or delete"},
	"too_many_key_packages": {"The request has more KeyPackages than one may have.", RepeatNo,
		"send them in several requests; limits in GET /v1 says how many each may have"},
	"wrong_message_type": {"The bytes are another object of MLS than this route takes.", RepeatNo,
		"send a KeyPackage where one is published, and a Welcome where one is posted"},

	// 401 and 403: who asks.
	"bad_subject": {"The token is valid, and what it says is no user id or device id.", RepeatNo,
		"a new token does not help: its subject or device is no id here; the operator maps them with --oidc-user-claim, --oidc-device-claim and --oidc-user-encoding"},
	"device_removed": {"The credentials are older than the removal of their device.", RepeatNo,
		"sign in anew on this device: its credentials are older than its removal"},
	"forbidden": {"The caller may not use this path: it is another user's or device's, or a service's. Without authentication nobody is a service.", RepeatNo,
		"see that the path is right, and that the request has a token which may use it; asking again does not help"},
	"invalid_token": {"The token is not known, was revoked or has expired.", RepeatNo,
		"get a new token and try again, or sign in anew if the device was removed; nothing was done"},
	"not_a_service": {"On-Behalf-Of came with a token that is not of a service.", RepeatNo,
		"send On-Behalf-Of with a service's token only"},
	"proxied_without_auth": {"The server has no authentication, and the request came through a proxy or from another machine.", RepeatNo,
		"ask from the server's machine without a proxy; the operator sets --auth token or --auth oidc to serve others"},
	"read_only": {"The token may only read.", RepeatNo,
		"use a token that may write"},
	"unauthenticated": {"The request has no token.", RepeatNo,
		"send Authorization: Bearer with a token"},

	// 404, 405 and 408.
	"method_not_allowed": {"The path does not have this method.", RepeatNo,
		"use a method that Allow names"},
	"not_found": {"There is no such path or thing, or the caller may not know of it.", RepeatNo,
		"see that path and id are right, and that the caller is the one who made it; what has ended long ago is forgotten"},
	"request_timeout": {"The body did not come in time.", RepeatNow,
		"send the body faster, or less at a time, and repeat the request"},

	// 409: the state of things.
	"cancelled": {"The Welcome was cancelled by its poster.", RepeatNo,
		"post a new Welcome"},
	"consumed": {"A claim has consumed the KeyPackage, so it cannot be withdrawn.", RepeatNo,
		"acknowledge or reject its Welcome instead"},
	"device_limit": {"The user has as many devices as are allowed.", RepeatNo,
		"remove devices that are gone: GET /v1/users/{user}/devices says which were seen last"},
	"init_key_reused": {"Another KeyPackage of the device has this init_key.", RepeatNo,
		"make a new KeyPackage with a new init_key; do not sign an old one anew"},
	"key_package_spent": {"All KeyPackages of the request were stored before and are used up, or one has the init_key of one that is.", RepeatNo,
		"make new KeyPackages: these had been stored and are used up"},
	"no_matching_key_package": {"No recipient of the Welcome has a KeyPackage that it matches; with require=all, not every recipient has one.", RepeatNo,
		"recipients says why for each: reserve other KeyPackages, commit anew and post the new Welcome"},
	"not_delivered": {"The device was not given this Welcome yet.", RepeatNo,
		"claim the Welcome first"},
	"damaged": {"The server has found its copy damaged.", RepeatNo,
		"the server's copy is damaged: reject the Welcome if it cannot be joined without, and ask to be added again"},
	"not_yours": {"Another device has published the same bytes first.", RepeatNo,
		"publish the others and new ones; a service gives these back to their owner with PUT on the KeyPackage"},
	"posted_differently": {"The caller has posted the same Welcome before with another hold, require, ratchet tree or context.", RepeatNo,
		"repeat exactly what was posted first, or cancel that and make a new Welcome"},
	"stock_full": {"The KeyPackages do not fit on the shelf of the device, on all shelves of the user, or beside them.", RepeatNo,
		"publish at most room; sync so that what you hold no keys of is withdrawn"},
	"too_many_tokens": {"The owner of the token has as many as are allowed.", RepeatNo,
		"end tokens that no device uses"},

	// 412 to 431: other requests.
	"duplicate_recipient": {"The Welcome names a KeyPackage twice.", RepeatNo,
		"name each KeyPackage once in secrets"},
	"idempotency_key_reused": {"The Idempotency-Key came with another request before.", RepeatNo,
		"use a new Idempotency-Key for another request; repeat the first exactly to have its answer"},
	"inventory_changed": {"The inventory has changed since its digest was read.", RepeatNo,
		"read the inventory again, and sync with its digest"},
	"invalid_key_package": {"A KeyPackage of the request is refused.", RepeatNo,
		"invalid says what is wrong with each: leave those out or make new ones; nothing was stored"},
	"precondition_failed": {"The ETag in If-Match is not the present one.", RepeatNo,
		"read it again, and send the ETag that it has now"},
	"precondition_required": {"If-Match is missing.", RepeatNo,
		"read the inventory, and send its digest as If-Match"},
	"range_not_satisfiable": {"The range is outside what there is.", RepeatNo,
		"ask for a range within the size that Content-Range names"},
	"too_large": {"The body, or something in it, is too large.", RepeatNo,
		"send less; limits in GET /v1 says how much"},
	"too_many": {"The request names more users, devices or refs than one may.", RepeatNo,
		"ask for fewer users, devices or refs at a time; limits in GET /v1 says how many"},
	"too_many_headers": {"The request has more header fields than are read.", RepeatNo,
		"send fewer header fields"},
	"too_many_recipients": {"The Welcome has more recipients than one may have.", RepeatNo,
		"post Welcomes for fewer recipients each; limits in GET /v1 says how many"},
	"unsupported_media_type": {"The Content-Type is none of this route, or the body is compressed.", RepeatNo,
		"send Content-Type application/json or message/mls, as the route takes them, without Content-Encoding"},
	"wrong_suite": {"The KeyPackage has another cipher suite than the one that is replaced.", RepeatNo,
		"replace with KeyPackages of the cipher suite in the query, or leave cipher_suite out"},

	// 422: what is wrong with a KeyPackage.
	"bad_certificate": {"The credential has no certificate, or one that cannot be read.", RepeatNo,
		"send a chain of X.509 certificates in DER, the leaf first"},
	"bad_encryption_key": {"encryption_key is not a key of the cipher suite.", RepeatNo,
		"make a new KeyPackage: encryption_key is no key of the cipher suite"},
	"bad_init_key": {"init_key is not a key of the cipher suite.", RepeatNo,
		"make a new KeyPackage: init_key is no key of the cipher suite"},
	"bad_leaf_signature": {"The signature of the leaf node is wrong.", RepeatNo,
		"sign the leaf node last, with the signature key that it has"},
	"bad_lifetime": {"The lifetime ends before it begins.", RepeatNo,
		"set not_before before not_after, in seconds since 1970"},
	"bad_signature": {"The signature of the KeyPackage is wrong.", RepeatNo,
		"sign the KeyPackage last, with its leaf's signature key"},
	"bad_signature_key": {"signature_key is not a key of the cipher suite.", RepeatNo,
		"use a signature key of the cipher suite"},
	"certificate_key_mismatch": {"signature_key is not the key of the first certificate.", RepeatNo,
		"use the signature key that the first certificate names"},
	"credential_not_listed": {"The capabilities do not list the credential's type.", RepeatNo,
		"list the credential's type in capabilities"},
	"duplicate_extension": {"A list of extensions has a type twice.", RepeatNo,
		"have each extension type once in a list"},
	"extension_not_listed": {"The capabilities do not list the type of an extension of the leaf node.", RepeatNo,
		"list the types of the leaf node's extensions in capabilities"},
	"init_key_is_encryption_key": {"init_key and encryption_key are the same.", RepeatNo,
		"use different keys for init_key and encryption_key"},
	"unsupported_cipher_suite": {"The server does not accept the cipher suite.", RepeatNo,
		"use a cipher suite that cipher_suites in GET /v1 lists"},
	"unsupported_version": {"The object is not of MLS 1.0.", RepeatNo,
		"use MLS 1.0, which is version 1"},
	"wrong_leaf_source": {"The leaf node was made for a group and not for a KeyPackage.", RepeatNo,
		"publish KeyPackages whose leaf node has the source key_package"},

	// 422: what is wrong with a Welcome.
	"bad_encrypted_group_info": {"encrypted_group_info is too short to be decrypted.", RepeatNo,
		"post the Welcome as the MLS library made it: encrypted_group_info is too short"},
	"bad_encrypted_group_secrets": {"encrypted_group_secrets is too short to be decrypted.", RepeatNo,
		"post the Welcome as the MLS library made it: encrypted_group_secrets is too short"},
	"bad_kem_output": {"kem_output does not have the size of the cipher suite.", RepeatNo,
		"post the Welcome as the MLS library made it: kem_output is none of the cipher suite"},
	"bad_new_member": {"new_member is not as long as a KeyPackageRef of the cipher suite.", RepeatNo,
		"name each recipient by its KeyPackageRef, which has the size of the cipher suite's hash"},
	"no_recipients": {"The Welcome has no recipients.", RepeatNo,
		"post a Welcome only if its Commit adds somebody"},

	// 429: what ends by itself; Retry-After says when.
	"caller_budget": {"The user has taken as many KeyPackages of others as may be for now.", RepeatLater,
		"wait as long as Retry-After says; a repeat with the same Idempotency-Key is free"},
	"list_budget": {"The user has listed as many KeyPackages as may be for now.", RepeatLater,
		"reserve instead of listing, or wait as long as Retry-After says"},
	"pair_budget": {"The user has taken as many KeyPackages of one other user as may be for now. detail names that user.", RepeatLess,
		"reserve again without this user, and add them after Retry-After; others need not wait"},
	"target_budget": {"All others together have taken as many of this user's KeyPackages as may be for now.", RepeatLater,
		"reserve a KeyPackage of this user: that may give the last resort; or wait as long as Retry-After says"},
	"too_many_checks": {"The server has read and checked as much for the caller as may be for now.", RepeatLater,
		"publish fewer at a time, and wait as long as Retry-After says"},
	"too_many_publications": {"As many new KeyPackages were published for the user as may be for now.", RepeatLater,
		"wait as long as Retry-After says; what is on the shelf stays there"},
	"too_many_requests": {"The caller has as many requests under way as are allowed.", RepeatLater,
		"let other requests of yours end first"},
	"too_many_waits": {"The caller has as many claims waiting as are allowed.", RepeatLater,
		"end a claim that waits first"},
	"too_much_stored": {"The server has stored as many bytes for the user as may be for now.", RepeatLater,
		"wait as long as Retry-After says; a repeat of a Welcome or a reservation is free"},

	// Of a KeyPackage only, in "invalid".
	"expired": {"The lifetime of the KeyPackage is over.", RepeatNo,
		"make a new KeyPackage; if its not_after has not passed, the device's clock is wrong"},
	"lifetime_too_long": {"The KeyPackage lives longer than the operator allows.", RepeatNo,
		"make KeyPackages that live at most max_lifetime_seconds, see limits in GET /v1"},
	"not_yet_valid": {"The lifetime of the KeyPackage begins too far in the future.", RepeatNo,
		"correct the device's clock, or have not_before be an hour before now"},
	"spent": {"The KeyPackage was stored before and is used up.", RepeatNo,
		"leave it out; its private key may go"},
	"wrong_identity": {"The credential does not name the device that publishes the KeyPackage.", RepeatNo,
		"use a basic credential that names the user and device of the path, as the operator wants it (--credential-identity)"},

	// 5xx: the server.
	"internal": {"A fault of the server.", RepeatLater,
		"repeat the very same request; if it goes on, tell the operator the Request-Id: the server's log has the cause"},
	"auth_unavailable": {"The server cannot check the token, because its issuer does not answer.", RepeatLater,
		"repeat the very same request"},
	"clock_not_trusted": {"The server does not trust its clock, so it does nothing that needs the time.", RepeatLater,
		"repeat the very same request"},
	"outcome_unknown": {"The disk failed in the middle of a change. Nobody knows whether it was made.", RepeatLater,
		"repeat the very same request: if the change was made, it is not made twice"},
	"overloaded": {"The server has no memory or no place left for the request.", RepeatLater,
		"repeat the very same request"},
	"shutting_down": {"The server is told to stop.", RepeatLater,
		"repeat the very same request"},
	"store_full": {"There is no room on the disk, or the store has reached its size limit.", RepeatLater,
		"repeat the very same request in some minutes: it succeeds once the operator has made room or enough has expired; claims and acknowledgements work meanwhile"},
	"store_unavailable": {"The store takes no changes until its operator has mended it.", RepeatLater,
		"repeat the very same request"},
}
