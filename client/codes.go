package client

// A Code says why the server refused something. Codes are stable, and a newer server may
// have others. The Detail of an [Error] says what to do about it, and docs/errors.md has
// all of them in a table.
type Code string

// Codes with status 400.
const (
	CodeBadIdentifier      Code = "bad_identifier"
	CodeBadRequest         Code = "bad_request"
	CodeEmptyRefs          Code = "empty_refs"
	CodeMalformedMessage   Code = "malformed_message"
	CodeNoKeyPackages      Code = "no_key_packages"
	CodeTooManyKeyPackages Code = "too_many_key_packages"
	CodeWrongMessageType   Code = "wrong_message_type"
)

// Codes with status 401 and 403.
const (
	CodeInvalidToken       Code = "invalid_token"
	CodeUnauthenticated    Code = "unauthenticated"
	CodeBadSubject         Code = "bad_subject"
	CodeDeviceRemoved      Code = "device_removed"
	CodeForbidden          Code = "forbidden"
	CodeNotAService        Code = "not_a_service"
	CodeProxiedWithoutAuth Code = "proxied_without_auth"
	CodeReadOnly           Code = "read_only"
)

// Codes with status 404 to 408.
const (
	CodeNotFound         Code = "not_found"
	CodeMethodNotAllowed Code = "method_not_allowed"
	CodeRequestTimeout   Code = "request_timeout"
)

// Codes with status 409 and 410.
const (
	CodeCancelled            Code = "cancelled"
	CodeConsumed             Code = "consumed"
	CodeDeviceLimit          Code = "device_limit"
	CodeInitKeyReused        Code = "init_key_reused"
	CodeKeyPackageSpent      Code = "key_package_spent"
	CodeNoMatchingKeyPackage Code = "no_matching_key_package"
	CodeNotDelivered         Code = "not_delivered"
	CodeNotYours             Code = "not_yours"
	CodePostedDifferently    Code = "posted_differently"
	CodeStockFull            Code = "stock_full"
	CodeTooManyTokens        Code = "too_many_tokens"
	CodeDamaged              Code = "damaged"
)

// Codes with status 412 to 416, 428 and 431.
const (
	CodeInventoryChanged     Code = "inventory_changed"
	CodePreconditionFailed   Code = "precondition_failed"
	CodeTooLarge             Code = "too_large"
	CodeUnsupportedMediaType Code = "unsupported_media_type"
	CodeRangeNotSatisfiable  Code = "range_not_satisfiable"
	CodePreconditionRequired Code = "precondition_required"
	CodeTooManyHeaders       Code = "too_many_headers"
)

// Codes with status 422.
const (
	CodeBadCertificate           Code = "bad_certificate"
	CodeBadEncryptedGroupInfo    Code = "bad_encrypted_group_info"
	CodeBadEncryptedGroupSecrets Code = "bad_encrypted_group_secrets"
	CodeBadEncryptionKey         Code = "bad_encryption_key"
	CodeBadInitKey               Code = "bad_init_key"
	CodeBadKEMOutput             Code = "bad_kem_output"
	CodeBadLeafSignature         Code = "bad_leaf_signature"
	CodeBadLifetime              Code = "bad_lifetime"
	CodeBadNewMember             Code = "bad_new_member"
	CodeBadSignature             Code = "bad_signature"
	CodeBadSignatureKey          Code = "bad_signature_key"
	CodeCertificateKeyMismatch   Code = "certificate_key_mismatch"
	CodeCredentialNotListed      Code = "credential_not_listed"
	CodeDuplicateExtension       Code = "duplicate_extension"
	CodeDuplicateRecipient       Code = "duplicate_recipient"
	CodeExtensionNotListed       Code = "extension_not_listed"
	CodeIdempotencyKeyReused     Code = "idempotency_key_reused"
	CodeInitKeyIsEncryptionKey   Code = "init_key_is_encryption_key"
	CodeInvalidKeyPackage        Code = "invalid_key_package"
	CodeNoRecipients             Code = "no_recipients"
	CodeTooMany                  Code = "too_many"
	CodeTooManyRecipients        Code = "too_many_recipients"
	CodeUnsupportedCipherSuite   Code = "unsupported_cipher_suite"
	CodeUnsupportedVersion       Code = "unsupported_version"
	CodeWrongLeafSource          Code = "wrong_leaf_source"
	CodeWrongSuite               Code = "wrong_suite"
)

// Codes with status 429.
const (
	CodeCallerBudget        Code = "caller_budget"
	CodeListBudget          Code = "list_budget"
	CodePairBudget          Code = "pair_budget"
	CodeTargetBudget        Code = "target_budget"
	CodeTooManyChecks       Code = "too_many_checks"
	CodeTooManyPublications Code = "too_many_publications"
	CodeTooManyRequests     Code = "too_many_requests"
	CodeTooManyWaits        Code = "too_many_waits"
	CodeTooMuchStored       Code = "too_much_stored"
)

// Codes with status 500 to 507.
const (
	CodeInternal         Code = "internal"
	CodeAuthUnavailable  Code = "auth_unavailable"
	CodeClockNotTrusted  Code = "clock_not_trusted"
	CodeOutcomeUnknown   Code = "outcome_unknown"
	CodeOverloaded       Code = "overloaded"
	CodeShuttingDown     Code = "shutting_down"
	CodeStoreUnavailable Code = "store_unavailable"
	CodeStoreFull        Code = "store_full"
)

// Codes that only an [InvalidKeyPackage] has, besides those of status 422 above.
const (
	CodeExpired         Code = "expired"           // its not_after has passed
	CodeNotYetValid     Code = "not_yet_valid"     // its not_before is further ahead than clocks differ
	CodeLifetimeTooLong Code = "lifetime_too_long" // for this server
	CodeSpent           Code = "spent"             // it was published before, and is used up
)
