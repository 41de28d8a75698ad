// The routes of the API, one method each.

import {
  type Answer,
  type CallOptions,
  type ClientOptions,
  helpsToRepeat,
  json,
  parsed,
  pauseBefore,
  type Request,
  StreamEnded,
  type Surroundings,
  surroundings,
  Transport,
  Unreachable,
} from "./http.js";
import type {
  About,
  Bytes,
  CipherSuite,
  Claim,
  ClaimRequest,
  Comparison,
  Delivery,
  DeviceName,
  Devices,
  Event,
  EventPage,
  Following,
  Framing,
  GiveBackRequest,
  GivenBack,
  Inventory,
  KeyPackageRef,
  KeyPackageStatus,
  ListedKeyPackage,
  Listing,
  NewToken,
  Outcome,
  Posted,
  Posting,
  Publications,
  RejectReason,
  Reservation,
  ReserveRequest,
  Synced,
  Time,
  Tokens,
} from "./types.js";

const user = (id: string) => `/v1/users/${encodeURIComponent(id)}`;
const device = (d: DeviceName) => `${user(d.user)}/devices/${encodeURIComponent(d.device)}`;
const shelf = (d: DeviceName) => `${device(d)}/key-packages`;
const keyPackage = (d: DeviceName, ref: KeyPackageRef) => `${shelf(d)}/${encodeURIComponent(ref)}`;
const welcome = (id: string) => `/v1/welcomes/${encodeURIComponent(id)}`;
const recipient = (d: DeviceName, id: string) => `${device(d)}/welcomes/${encodeURIComponent(id)}`;
const events = ({ user: id, device: name }: Following) => {
  if (id === undefined) return "/v1/events";
  return name === undefined ? `${user(id)}/events` : `${device({ user: id, device: name })}/events`;
};

/**
 * A client of one server. Each method is one route; what its parameters and answers mean is
 * in docs/lifecycle.md of the server. A method throws Problem when the server refuses,
 * Unreachable when no answer came, and `signal.reason` when its signal is aborted.
 *
 * A request that failed on its way is repeated, as are answers that say that a repeat helps:
 * the API answers a repeated request as the first. A 409 is a decision, and never repeated.
 */
export class Client {
  readonly #transport: Transport;
  readonly #around: Surroundings;
  readonly #patience: number;

  constructor(options: ClientOptions, around: Surroundings = surroundings) {
    this.#transport = new Transport(options, around);
    this.#around = around;
    this.#patience = options.patience ?? 60_000;
  }

  /** Sends what no method does. */
  request(request: Request, call?: CallOptions): Promise<Answer> {
    return this.#transport.send(request, call);
  }

  async #json<T>(request: Request, call?: CallOptions): Promise<T> {
    return json<T>(request, await this.request(request, call));
  }

  about(call?: CallOptions): Promise<About> {
    return this.#json({ method: "GET", path: "/v1" }, call);
  }

  // A device and its KeyPackages

  /** KeyPackages are bare or in MLSMessages. Save their private keys before. */
  publish(d: DeviceName, keyPackages: Bytes[], options: CallOptions & { restore_epoch?: string } = {}): Promise<Publications> {
    const query = { restore_epoch: options.restore_epoch };
    return this.#json({ method: "POST", path: shelf(d), query, body: publication(keyPackages) }, options);
  }

  /** Takes what is on the shelf off it, of one cipher suite or of all. */
  replace(
    d: DeviceName,
    keyPackages: Bytes[],
    options: CallOptions & { restore_epoch?: string; cipher_suite?: CipherSuite } = {},
  ): Promise<Publications> {
    const query = { restore_epoch: options.restore_epoch, cipher_suite: options.cipher_suite };
    return this.#json({ method: "PUT", path: shelf(d), query, body: publication(keyPackages) }, options);
  }

  inventory(d: DeviceName, call?: CallOptions): Promise<Inventory> {
    return this.#json({ method: "GET", path: shelf(d) }, call);
  }

  /** Asks whether the private keys with this digest are those that the server counts on. */
  compare(d: DeviceName, digest: string, call?: CallOptions): Promise<Comparison> {
    return this.#json({ method: "POST", path: `${shelf(d)}/sync`, body: { digest } }, call);
  }

  /**
   * Withdraws every KeyPackage that is not in `refs`. `digest` is that of the inventory that
   * the refs were compared with. Without refs everything is withdrawn, and `all` has to say so.
   */
  sync(d: DeviceName, refs: KeyPackageRef[], digest: string, options: CallOptions & { all?: boolean } = {}): Promise<Synced> {
    const query = { all: options.all };
    const headers = { "If-Match": `"${digest}"` };
    return this.#json({ method: "POST", path: `${shelf(d)}/sync`, query, headers, body: { refs } }, options);
  }

  async withdraw(d: DeviceName, ref: KeyPackageRef, call?: CallOptions): Promise<void> {
    await this.request({ method: "DELETE", path: keyPackage(d, ref) }, call);
  }

  /** A service gives a KeyPackage that somebody else has published back to its owner. */
  async give(d: DeviceName, ref: KeyPackageRef, call?: CallOptions): Promise<void> {
    await this.request({ method: "PUT", path: keyPackage(d, ref) }, call);
  }

  devices(userId: string, options: CallOptions & { max_idle_days?: number } = {}): Promise<Devices> {
    const query = { max_idle_days: options.max_idle_days };
    return this.#json({ method: "GET", path: `${user(userId)}/devices`, query }, options);
  }

  async removeDevice(d: DeviceName, call?: CallOptions): Promise<void> {
    await this.request({ method: "DELETE", path: device(d) }, call);
  }

  async removeUser(userId: string, call?: CallOptions): Promise<void> {
    await this.request({ method: "DELETE", path: user(userId) }, call);
  }

  // Adding somebody

  async list(
    userId: string,
    options: CallOptions & {
      cipher_suite?: CipherSuite | CipherSuite[];
      device?: string | string[];
      limit?: number;
      after?: string;
      framing?: Framing;
    } = {},
  ): Promise<Listing> {
    const { cipher_suite, device, limit, after, framing } = options;
    const query = { cipher_suite, device, limit, after, framing };
    const listing = await this.#json<Listing>({ method: "GET", path: `${user(userId)}/key-packages`, query }, options);
    for (const k of listing.devices.flatMap((d) => d.key_packages)) decoded(k, "bytes");
    return listing;
  }

  /** Without an `idempotency_key` it makes one, so that a repeat reserves nothing more. */
  async reserve(
    wanted: ReserveRequest,
    options: CallOptions & { idempotency_key?: string; framing?: Framing } = {},
  ): Promise<Reservation> {
    const query = { framing: options.framing };
    const headers = { "Idempotency-Key": options.idempotency_key ?? randomKey() };
    const request = { method: "POST", path: "/v1/key-packages/reserve", query, headers, body: wanted };
    const reservation = await this.#json<Reservation>(request, options);
    for (const d of reservation.users.flatMap((u) => u.devices)) {
      if (d.key_package) decoded<ListedKeyPackage>(d.key_package, "bytes");
    }
    return reservation;
  }

  giveBack(back: GiveBackRequest, call?: CallOptions): Promise<GivenBack> {
    return this.#json({ method: "POST", path: "/v1/key-packages/give-back", body: back }, call);
  }

  keyPackage(ref: KeyPackageRef, call?: CallOptions): Promise<KeyPackageStatus> {
    return this.#json({ method: "GET", path: `/v1/key-packages/${encodeURIComponent(ref)}` }, call);
  }

  post(
    posting: Posting,
    options: CallOptions & { hold?: boolean; require?: "any" | "all"; dry_run?: boolean } = {},
  ): Promise<Posted> {
    const query = { hold: options.hold, require: options.require, dry_run: options.dry_run };
    const body = {
      welcome: toBase64(posting.welcome),
      ratchet_tree: posting.ratchet_tree && toBase64(posting.ratchet_tree),
      context: posting.context && toBase64(posting.context),
    };
    return this.#json({ method: "POST", path: "/v1/welcomes", query, body }, options);
  }

  outcome(id: string, call?: CallOptions): Promise<Outcome> {
    return this.#json({ method: "GET", path: welcome(id) }, call);
  }

  release(id: string, call?: CallOptions): Promise<Outcome> {
    return this.#json({ method: "POST", path: `${welcome(id)}/release` }, call);
  }

  cancel(id: string, call?: CallOptions): Promise<Outcome> {
    return this.#json({ method: "DELETE", path: welcome(id) }, call);
  }

  // Joining

  /** Waits for as many seconds as `wait` says until there is a Welcome. */
  async claim(
    d: DeviceName,
    wanted: ClaimRequest = {},
    options: CallOptions & { wait?: number; framing?: Framing } = {},
  ): Promise<Claim> {
    const { wait, framing } = options;
    const query = { wait: wait === undefined ? undefined : `${wait}s`, framing };
    const request = { method: "POST", path: `${device(d)}/claim`, query, body: wanted, wait };
    const claim = await this.#json<Claim>(request, options);
    for (const w of claim.welcomes) decoded<Delivery>(w, "welcome", "context", "ratchet_tree");
    return claim;
  }

  async ratchetTree(d: DeviceName, id: string, call?: CallOptions): Promise<Bytes> {
    return (await this.request({ method: "GET", path: `${recipient(d, id)}/ratchet-tree` }, call)).bytes;
  }

  /** The device has joined, and has saved the group. */
  async acknowledge(d: DeviceName, id: string, options: CallOptions & { ref?: KeyPackageRef } = {}): Promise<void> {
    const body = { ref: options.ref };
    await this.request({ method: "POST", path: `${recipient(d, id)}/ack`, body }, options);
  }

  /** The device cannot join, or does not want to. */
  async reject(
    d: DeviceName,
    id: string,
    reason: RejectReason,
    options: CallOptions & { detail?: string; ref?: KeyPackageRef } = {},
  ): Promise<void> {
    const body = { reason, detail: options.detail, ref: options.ref };
    await this.request({ method: "POST", path: `${recipient(d, id)}/reject`, body }, options);
  }

  // Events

  /**
   * Follows events as they happen, from now on or from behind the event whose id is `after`.
   * It connects again whenever the stream ends, and goes on where it was: each event is told
   * once. The first one is `open`; another `open` later on says that events are missing.
   *
   * It ends by throwing: what a repeat does not help, and what went wrong when it could not
   * connect for longer than `patience`. To begin anew after the last id is safe.
   */
  async *events(of: Following = {}, options: CallOptions & { after?: string } = {}): AsyncGenerator<Event, never> {
    let { after, patience = this.#patience } = options;
    let opened = false;
    for (let failures = 0, waited = 0; ; failures++) {
      const begun = this.#around.now();
      try {
        for await (const event of this.stream(of, { ...options, after })) {
          after = event.id;
          if (event.type === "heartbeat") continue;
          if (event.type !== "open") failures = waited = 0;
          else if (opened && event.gap === undefined) continue;
          opened = true;
          yield event;
        }
      } catch (error) {
        options.signal?.throwIfAborted();
        if (this.#around.now() - begun > lasting) failures = waited = 0;
        const pause = pauseBeforeStream(error, failures, this.#around.random());
        waited += error instanceof StreamEnded ? 0 : pause;
        if (waited > patience || !(error instanceof StreamEnded || helpsToRepeat(error, true))) throw error;
        await this.#around.sleep(pause, options.signal);
      }
    }
  }

  /**
   * One connection of `events`, with its heartbeats. It throws StreamEnded if the server has
   * ended it, and Unreachable if it was cut off.
   */
  async *stream(of: Following = {}, options: CallOptions & { after?: string } = {}): AsyncGenerator<Event, never> {
    const request = { method: "GET", path: events(of), query: { after: options.after }, headers: { Accept: "application/x-ndjson" } };
    for await (const line of this.#transport.lines(request, silence, options.signal)) {
      const event = parsed<Event>(request, line);
      if (event.type === "end") throw new StreamEnded(event.reason ?? "");
      yield event;
    }
    throw new Unreachable(`GET ${request.path}`, "the stream has ended");
  }

  /** The events that are there. */
  pollEvents(of: Following = {}, options: CallOptions & { after?: string } = {}): Promise<EventPage> {
    return this.#json({ method: "GET", path: events(of), query: { after: options.after, poll: 1 } }, options);
  }

  // Tokens of a device, for a service

  /** Not repeated once it may have been made: a token that nobody has read stays valid. */
  createToken(d: DeviceName, options: CallOptions & { read_only?: boolean; expires_at?: Time } = {}): Promise<NewToken> {
    const body = { read_only: options.read_only, expires_at: options.expires_at };
    return this.#json({ method: "POST", path: `${device(d)}/tokens`, body, repeatable: false }, options);
  }

  tokens(d: DeviceName, call?: CallOptions): Promise<Tokens> {
    return this.#json({ method: "GET", path: `${device(d)}/tokens` }, call);
  }

  async revokeToken(d: DeviceName, id: string, call?: CallOptions): Promise<void> {
    await this.request({ method: "DELETE", path: `${device(d)}/tokens/${encodeURIComponent(id)}` }, call);
  }
}

/** How many milliseconds a stream may be silent: there is a heartbeat every 20 seconds. */
const silence = 60_000;

/** After how many milliseconds a stream on which nothing happens counts as one that works. */
const lasting = 10_000;

/** Streams of a device that displace each other do so in turn, unless they wait. */
export function pauseBeforeStream(error: unknown, failures: number, random: number): number {
  if (error instanceof StreamEnded && error.reason === "displaced") return 30_000 * (1 + random);
  return pauseBefore(error, failures, random);
}

const publication = (keyPackages: Bytes[]) => ({ key_packages: keyPackages.map(toBase64) });

/** Puts bytes where the server has written base64. */
function decoded<T>(object: T, ...names: (keyof T)[]): void {
  for (const name of names) {
    const text = object[name];
    if (typeof text === "string") object[name] = fromBase64(text) as T[keyof T];
  }
}

// Buffer and Uint8Array.fromBase64 are not everywhere yet.

function toBase64(bytes: Bytes): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

function randomKey(): string {
  return toBase64(crypto.getRandomValues(new Uint8Array(18)));
}
