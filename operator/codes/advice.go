package codes

// Advice is what whoever is refused can do, for each code of a 4xx. It stands behind
// the words of the error in an answer's detail, in what explain says, and in
// docs/lifecycle.md.
var Advice = map[string]string{
	// 400: the request.
	"bad_identifier":        "ids are 1 to 255 printable ASCII characters without space and / \\ ? # % \" < > ^ { } and backtick, percent-encoded in a path: encode others as base64url",
	"bad_request":           "correct what is named: the same request is refused again",
	"empty_refs":            "send the refs whose private keys you hold; say all=1 only if all are lost",
	"malformed_message":     "send one MLS object as RFC 9420 encodes it: its bytes as message/mls, or in JSON as base64, encoded once",
	"no_key_packages":       "send at least one KeyPackage; to take what is there off the shelf, sync or delete",
	"too_many_key_packages": "send them in several requests; limits in GET /v1 says how many each may have",
	"wrong_message_type":    "send a KeyPackage where one is published, and a Welcome where one is posted",

	// 401 and 403: who asks.
	"bad_subject":          "a new token does not help: its subject or device is no id here; the operator maps them with --oidc-user-claim, --oidc-device-claim and --oidc-user-encoding",
	"device_removed":       "sign in anew on this device: its credentials are older than its removal",
	"forbidden":            "use a token of the user and device in the path; asking again does not help",
	"invalid_token":        "get a new token and try again, or sign in anew if the device was removed; nothing was done",
	"not_a_service":        "send On-Behalf-Of with a service's token only",
	"proxied_without_auth": "ask from the server's machine without a proxy; the operator sets --auth token or --auth oidc to serve others",
	"read_only":            "use a token that may write",
	"unauthenticated":      "send Authorization: Bearer with a token",

	// 404, 405 and 408.
	"method_not_allowed": "use a method that Allow names",
	"not_found":          "see that path and id are right, and that the caller is the one who made it; what has ended long ago is forgotten",
	"request_timeout":    "send the body faster, or less at a time, and repeat the request",

	// 409: the state of things.
	"cancelled":               "post a new Welcome",
	"consumed":                "acknowledge or reject its Welcome instead",
	"device_limit":            "remove devices that are gone: GET /v1/users/{user}/devices says which were seen last",
	"init_key_reused":         "make a new KeyPackage with a new init_key; do not sign an old one anew",
	"key_package_spent":       "make new KeyPackages: these had been stored and are used up",
	"no_matching_key_package": "recipients says why for each: reserve other KeyPackages, commit anew and post the new Welcome",
	"not_delivered":           "claim the Welcome first",
	"damaged":                 "the server's copy is damaged: reject the Welcome if it cannot be joined without, and ask to be added again",
	"not_yours":               "publish the others and new ones; a service gives these back to their owner with PUT on the KeyPackage",
	"posted_differently":      "repeat exactly what was posted first, or cancel that and make a new Welcome",
	"stock_full":              "publish at most room; sync so that what you hold no keys of is withdrawn",
	"too_many_tokens":         "end tokens that no device uses",

	// 412 to 431: other requests.
	"duplicate_recipient":    "name each KeyPackage once in secrets",
	"idempotency_key_reused": "use a new Idempotency-Key for another request; repeat the first exactly to have its answer",
	"inventory_changed":      "read the inventory again, and sync with its digest",
	"invalid_key_package":    "invalid says what is wrong with each: leave those out or make new ones; nothing was stored",
	"precondition_failed":    "read it again, and send the ETag that it has now",
	"precondition_required":  "read the inventory, and send its digest as If-Match",
	"range_not_satisfiable":  "ask for a range within the size that Content-Range names",
	"too_large":              "send less; limits in GET /v1 says how much",
	"too_many":               "ask for fewer users, devices or refs at a time; limits in GET /v1 says how many",
	"too_many_headers":       "send fewer header fields",
	"too_many_recipients":    "post Welcomes for fewer recipients each; limits in GET /v1 says how many",
	"unsupported_media_type": "send Content-Type application/json or message/mls, as the route takes them, without Content-Encoding",
	"wrong_suite":            "replace with KeyPackages of the cipher suite in the query, or leave cipher_suite out",

	// 422: what is wrong with a KeyPackage.
	"bad_certificate":            "send a chain of X.509 certificates in DER, the leaf first",
	"bad_encryption_key":         "make a new KeyPackage: encryption_key is no key of the cipher suite",
	"bad_init_key":               "make a new KeyPackage: init_key is no key of the cipher suite",
	"bad_leaf_signature":         "sign the leaf node last, with the signature key that it has",
	"bad_lifetime":               "set not_before before not_after, in seconds since 1970",
	"bad_signature":              "sign the KeyPackage last, with its leaf's signature key",
	"bad_signature_key":          "use a signature key of the cipher suite",
	"certificate_key_mismatch":   "use the signature key that the first certificate names",
	"credential_not_listed":      "list the credential's type in capabilities",
	"duplicate_extension":        "have each extension type once in a list",
	"extension_not_listed":       "list the types of the leaf node's extensions in capabilities",
	"init_key_is_encryption_key": "use different keys for init_key and encryption_key",
	"unsupported_cipher_suite":   "use a cipher suite that cipher_suites in GET /v1 lists",
	"unsupported_version":        "use MLS 1.0, which is version 1",
	"wrong_leaf_source":          "publish KeyPackages whose leaf node has the source key_package",

	// 422: what is wrong with a Welcome.
	"bad_encrypted_group_info":    "post the Welcome as the MLS library made it: encrypted_group_info is too short",
	"bad_encrypted_group_secrets": "post the Welcome as the MLS library made it: encrypted_group_secrets is too short",
	"bad_kem_output":              "post the Welcome as the MLS library made it: kem_output is none of the cipher suite",
	"bad_new_member":              "name each recipient by its KeyPackageRef, which has the size of the cipher suite's hash",
	"no_recipients":               "post a Welcome only if its Commit adds somebody",

	// 429: what ends by itself; Retry-After says when.
	"caller_budget":         "wait as long as Retry-After says; a repeat with the same Idempotency-Key is free",
	"list_budget":           "reserve instead of listing, or wait as long as Retry-After says",
	"pair_budget":           "reserve again without this user, and add them after Retry-After; others need not wait",
	"target_budget":         "reserve a KeyPackage of this user: that may give the last resort; or wait as long as Retry-After says",
	"too_many_checks":       "publish fewer at a time, and wait as long as Retry-After says",
	"too_many_publications": "wait as long as Retry-After says; what is on the shelf stays there",
	"too_many_requests":     "let other requests of yours end first",
	"too_many_waits":        "end a claim that waits first",
	"too_much_stored":       "wait as long as Retry-After says; a repeat of a Welcome or a reservation is free",
}
