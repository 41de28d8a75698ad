// What the API takes and answers. Names are those of the API, and bytes are Uint8Arrays.
// An answer may have fields that are not here yet; they stay in it.

export type Bytes = Uint8Array<ArrayBufferLike>;

/** RFC 3339, in UTC. */
export type Time = string;

/** Lower-case hex. */
export type KeyPackageRef = string;

export type CipherSuite = number;

export type Framing = "bare" | "mls_message";

/** A value that is known today, or one that a later server has. */
type Open<T extends string> = T | (string & {});

export interface DeviceName {
  user: string;
  device: string;
}

export interface About {
  version: string;
  time: Time;
  cipher_suites: CipherSuite[];
  /** `reserved`: a Welcome can only name a KeyPackage that its poster has reserved. */
  match: Open<"any" | "reserved">;
  identifiers: { max_bytes: number; pattern: string };
  /** Their names end in `_bytes` and `_seconds` where they are no numbers of something. */
  limits: Record<string, number>;
  /** A burst of 0 is any number. That of `store` is in bytes. */
  budgets: Record<string, Record<string, number>>;
  proxy: { response_seconds: number; request_bytes: number; header_bytes: number };
  ready: boolean;
}

// Publishing

export interface KeyPackageInfo {
  ref: KeyPackageRef;
  cipher_suite: CipherSuite;
  last_resort: boolean;
  /** Seconds since 1970: up to 2^64-1, so it is a text. */
  not_before: string;
  not_after: string;
}

export interface Stock {
  available: number;
  not_yet_valid?: number;
  /** Publish again. */
  low: boolean;
}

export interface PublishedKeyPackage extends KeyPackageInfo {
  /** When it leaves the shelf at the latest. */
  off_shelf_by?: Time;
  status: Open<
    | "stored"
    | "already_stored"
    | "spent"
    | "not_after_restore"
    | "not_yet_valid"
    | "too_short_lived"
    | "superseded"
  >;
  usable_from?: Time;
}

export interface Publications {
  key_packages: PublishedKeyPackage[];
  stock: Stock & { room: number };
  restore_epoch: string;
}

export interface SuiteCounts {
  cipher_suite: CipherSuite;
  available: number;
  not_yet_valid?: number;
  reserved: number;
  retired: number;
  matched: number;
  delivered: number;
}

export interface Inventory {
  counts: SuiteCounts[];
  last_resort: {
    ref: KeyPackageRef;
    cipher_suite: CipherSuite;
    handed_out_at?: Time;
    usable_from?: Time;
  }[];
  given_back?: { ref: KeyPackageRef; cipher_suite: CipherSuite; given_back_at: Time; reason: GiveBackReason }[];
  /** Of all KeyPackages whose private keys are still needed. */
  refs: KeyPackageRef[];
  digest: string;
  restore_epoch: string;
}

export interface Comparison {
  in_sync: boolean;
  counts: SuiteCounts[];
}

export interface Synced {
  withdrawn: KeyPackageRef[];
  /** How many of `withdrawn` were on the shelf and less than a day old. */
  withdrawn_fresh: number;
  /** The server does not know these: publish them as they are. */
  unknown: KeyPackageRef[];
  /** Their private keys are needed no more. */
  spent: KeyPackageRef[];
  digest: string;
}

export interface Devices {
  devices: DeviceInfo[];
}

export interface DeviceInfo {
  device: string;
  seen_at?: Time;
  idle_since?: Time;
  counts: SuiteCounts[];
  welcomes_pending: number;
}

// Adding somebody

export interface ListedKeyPackage extends KeyPackageInfo {
  off_shelf_by?: Time;
  bytes: Bytes;
}

export interface Listing {
  user: string;
  devices: { device: string; key_packages: ListedKeyPackage[] }[];
  /** There are more: list again with this as `after`. */
  next?: string;
}

export interface ReserveRequest {
  users?: string[];
  devices?: DeviceName[];
  except?: DeviceName[];
  cipher_suites?: CipherSuite[];
  max_idle_days?: number;
}

export interface ReservedDevice {
  device: string;
  status: Open<
    | "reserved"
    | "last_resort"
    | "exhausted"
    | "not_yet_valid"
    | "incompatible"
    | "unknown_device"
    | "given_back"
    | "idle"
    | "damaged"
  >;
  key_package?: ListedKeyPackage;
  cipher_suites?: CipherSuite[];
  usable_from?: Time;
  idle_since?: Time;
}

export interface ReservedUser {
  user: string;
  status: Open<"success" | "partial" | "exhausted" | "incompatible" | "unknown_user" | "left_out">;
  devices: ReservedDevice[];
}

export interface Reservation {
  reservation?: string;
  cipher_suite?: CipherSuite;
  users: ReservedUser[];
}

export type GiveBackReason = Open<"unused" | "incompatible" | "invalid">;

export interface GiveBackRequest {
  reservation: string;
  refs?: KeyPackageRef[];
  reason?: GiveBackReason;
}

export interface GivenBack {
  key_packages: {
    ref: KeyPackageRef;
    status: Open<"given_back" | "last_resort" | "used" | "ended" | "not_held">;
  }[];
}

export interface KeyPackageStatus extends KeyPackageInfo {
  user: string;
  device: string;
  state: Open<
    "available" | "reserved" | "retired" | "matched" | "consumed" | "expired" | "withdrawn"
  >;
  published_at?: Time;
  reserved_at?: Time;
  handed_out_at?: Time;
  usable_from?: Time;
  ended_at?: Time;
  /** The id of the Welcome that names it. */
  matched_by_welcome?: string;
}

export interface Posting {
  /** Bare or in an MLSMessage. */
  welcome: Bytes;
  ratchet_tree?: Bytes;
  context?: Bytes;
}

export interface Recipient {
  ref: KeyPackageRef;
  user?: string;
  device?: string;
  status: Open<
    | "held"
    | "pending"
    | "delivered"
    | "acknowledged"
    | "rejected"
    | "lapsed"
    | "cancelled"
    | "withdrawn"
    | "expired"
    | "damaged"
    | "unknown"
    | "consumed"
    | "taken"
    | "wrong_suite"
    | "not_reserved"
    | "mailbox_full"
  >;
  matched_by_welcome?: string;
  released_at?: Time;
  delivered_at?: Time;
  withheld_at?: Time;
  ended_at?: Time;
  reason?: RejectReason;
  detail?: string;
}

export interface Posted {
  id: string;
  recipients: Recipient[];
}

export interface Outcome extends Posted {
  posted_at?: Time;
  /** Now, for any recipient. */
  held: boolean;
  require: Open<"any" | "all">;
  cancelled: boolean;
}

// Joining

export interface ClaimRequest {
  /** Only Welcomes for these KeyPackages. */
  refs?: KeyPackageRef[];
  /** Not these Welcomes. */
  skip?: string[];
  max?: number;
}

export interface Delivery {
  id: string;
  ref: KeyPackageRef;
  /** In an MLSMessage, unless `framing` was `bare`. It has only this device's secrets. */
  welcome: Bytes;
  posted_by?: string;
  posted_at: Time;
  /** Until then it is given again, unless it is settled. */
  redelivered_until: Time;
  context?: Bytes;
  /** A larger tree has to be fetched: `ratchet_tree_size` is more than 0. */
  ratchet_tree?: Bytes;
  ratchet_tree_size?: number;
  /** It was given to this device before, which may have joined. */
  redelivered: boolean;
}

export interface Claim {
  welcomes: Delivery[];
  /** Claim again, there are others. */
  more: boolean;
  withheld: number;
  stock: Stock;
}

export type RejectReason = Open<
  "no_matching_key_package" | "undecryptable" | "declined" | "unsupported" | "other"
>;

// Events

/** Whose events are read. */
export interface Following {
  /** A service may leave it out: then those of all users are. */
  user?: string;
  /** Only what concerns this device of the user. A token of a device has to name it. */
  device?: string;
}

export interface Event {
  type: Open<"welcome" | "stock" | "key_package" | "outcome" | "open">;
  /** Where to go on, as `after`. It is not to be looked into. */
  id: string;
  /** When it happened; not of `open`. */
  at?: Time;
  /** Whose event it is. Of `outcome` that is who has posted. */
  user?: string;
  /** Not of `outcome`. */
  device?: string;
  /** The id of the Welcome. */
  welcome?: string;
  ref?: KeyPackageRef;
  /** Of `outcome`: whose KeyPackage it was. */
  recipient?: DeviceName;
  /** Of `outcome`. */
  status?: Recipient["status"];
  /** Of an `outcome` that is `rejected`. */
  reason?: RejectReason;
  /** Of `stock`, as it was then. */
  stock?: Stock;
  /** Of `open`: events are missing. Look at everything again. */
  gap?: EventGap;
}

export type EventGap = Open<"expired" | "restored" | "damaged">;

export interface EventPage {
  events: Event[];
  /** Where to go on, also if there was no event. */
  next: string;
  /** Another page can be read at once. */
  more: boolean;
  gap?: EventGap;
}

// Tokens

export interface Token {
  id: string;
  user?: string;
  device?: string;
  service?: string;
  read_only: boolean;
  created_by?: string;
  created_at: Time;
  expires_at?: Time;
}

export interface Tokens {
  tokens: Token[];
}

export interface NewToken extends Token {
  /** The secret, which no other answer has. */
  token: string;
}

// What is refused

export interface ProblemBody {
  type: string;
  title: string;
  status: number;
  code: ProblemCode;
  detail?: string;
  request_id: string;
  invalid?: { index: number; ref?: KeyPackageRef; code: Open<KnownKeyPackageCode>; detail: string }[];
  room?: number;
  recipients?: Recipient[];
}

/** What to tell refusals apart by. Empty if a proxy has answered. */
export type ProblemCode = Open<KnownProblemCode | "">;

/** What each means, and what to do, is in docs/errors.md, and at `type` of the refusal. */
export type KnownProblemCode =
  | "auth_unavailable"
  | "bad_encrypted_group_info"
  | "bad_encrypted_group_secrets"
  | "bad_identifier"
  | "bad_kem_output"
  | "bad_new_member"
  | "bad_request"
  | "bad_subject"
  | "caller_budget"
  | "cancelled"
  | "clock_not_trusted"
  | "consumed"
  | "damaged"
  | "device_limit"
  | "device_removed"
  | "duplicate_recipient"
  | "empty_refs"
  | "forbidden"
  | "idempotency_key_reused"
  | "init_key_reused"
  | "internal"
  | "invalid_key_package"
  | "invalid_token"
  | "inventory_changed"
  | "key_package_spent"
  | "list_budget"
  | "malformed_message"
  | "method_not_allowed"
  | "no_key_packages"
  | "no_matching_key_package"
  | "no_recipients"
  | "not_a_service"
  | "not_delivered"
  | "not_found"
  | "not_yours"
  | "outcome_unknown"
  | "overloaded"
  | "pair_budget"
  | "posted_differently"
  | "precondition_failed"
  | "precondition_required"
  | "proxied_without_auth"
  | "range_not_satisfiable"
  | "read_only"
  | "request_timeout"
  | "shutting_down"
  | "stock_full"
  | "store_full"
  | "store_unavailable"
  | "target_budget"
  | "too_large"
  | "too_many"
  | "too_many_checks"
  | "too_many_headers"
  | "too_many_key_packages"
  | "too_many_publications"
  | "too_many_recipients"
  | "too_many_requests"
  | "too_many_tokens"
  | "too_many_waits"
  | "too_much_stored"
  | "unauthenticated"
  | "unsupported_cipher_suite"
  | "unsupported_media_type"
  | "unsupported_version"
  | "wrong_message_type"
  | "wrong_suite";

/** Why a KeyPackage of a publication is refused. */
export type KnownKeyPackageCode =
  | "bad_certificate"
  | "bad_encryption_key"
  | "bad_init_key"
  | "bad_leaf_signature"
  | "bad_lifetime"
  | "bad_signature"
  | "bad_signature_key"
  | "certificate_key_mismatch"
  | "credential_not_listed"
  | "duplicate_extension"
  | "expired"
  | "extension_not_listed"
  | "init_key_is_encryption_key"
  | "init_key_reused"
  | "lifetime_too_long"
  | "malformed_message"
  | "not_yet_valid"
  | "not_yours"
  | "spent"
  | "too_large"
  | "unsupported_cipher_suite"
  | "unsupported_version"
  | "wrong_identity"
  | "wrong_leaf_source"
  | "wrong_message_type"
  | "wrong_suite";
