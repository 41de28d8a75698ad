// A device: it keeps a stock of KeyPackages, and joins what it is added to.

import { type Client, pauseBeforeStream } from "./client.js";
import { type CallOptions, helpsToRepeat, Problem, StreamEnded, type Surroundings, surroundings, Unreachable } from "./http.js";
import { keyPackageRef, refsDigest } from "./ref.js";
import type { About, Bytes, CipherSuite, Delivery, DeviceName, KeyPackageRef, RejectReason, Stock, SuiteCounts } from "./types.js";

/** A KeyPackage that this device has made. */
export interface OwnKeyPackage {
  ref: KeyPackageRef;
  cipher_suite: CipherSuite;
  last_resort: boolean;
  /** Bare, as it is published. */
  key_package: Bytes;
  /** The server's, as it was read last before the KeyPackage was made. */
  restore_epoch: string;
}

/** With its private keys: whatever the MLS library wants back to join. */
export interface StoredKeyPackage<Secret> extends OwnKeyPackage {
  secret: Secret;
}

/** Where a device keeps its private keys. What a method has done survives a crash. */
export interface KeyStore<Secret> {
  add(keyPackages: StoredKeyPackage<Secret>[]): Promise<void>;
  get(ref: KeyPackageRef): Promise<StoredKeyPackage<Secret> | undefined>;
  /** All. It fails if the keys cannot be read now: an empty list says that all are lost. */
  list(): Promise<OwnKeyPackage[]>;
  /** Some may be gone already. */
  delete(refs: KeyPackageRef[]): Promise<void>;
}

/**
 * What became of a Welcome.
 *
 * - `joined`: the group and the Welcome's id are saved.
 * - `later`: not now. The Welcome will be given again.
 * - a reason: this device can never join, or does not want to. The adder is told.
 */
export type Verdict = "joined" | "later" | { reason: RejectReason; detail?: string };

export interface DeviceOptions<Secret> {
  client: Client;
  /** Who this is. */
  device: DeviceName;
  keys: KeyStore<Secret>;
  /** Makes a KeyPackage with the MLS library. `ref` is only needed for a cipher suite above 7. */
  make(kind: { cipher_suite: CipherSuite; last_resort: boolean }): Promise<{ key_package: Bytes; secret: Secret; ref?: KeyPackageRef }>;
  /**
   * Joins with the MLS library, and saves the new group **and the Welcome's id in one write**.
   * What it throws is reported, and the Welcome is given again.
   */
  join(welcome: Delivery, keyPackage: StoredKeyPackage<Secret>): Promise<Verdict>;
  /** Whether a group is saved with the id of this Welcome. It is asked before each `join`. */
  joined(welcome: Delivery): Promise<boolean>;
  /** Those that the device wants to have KeyPackages of: only 1 unless it says otherwise. */
  cipher_suites?: CipherSuite[];
  /** With fewer than `low` of a suite (20), more are made, until there are `high` (50). */
  low?: number;
  high?: number;
  /** Whether there is one last-resort KeyPackage of each suite, as there is unless it says no. */
  last_resort?: boolean;
  /**
   * For how many seconds a claim waits where there is no stream of events: 50. A proxy that
   * cuts it off has it wait for less.
   */
  wait?: number;
  /** What went wrong, and is tried again. */
  onError?(error: unknown): void;
  /**
   * The server had KeyPackages of which this device has no private keys, and withdrew them.
   * If `fresh` is not 0 and this device has lost nothing, another one uses its device id.
   */
  onWithdrawn?(refs: KeyPackageRef[], fresh: number): void;
}

const minute = 60_000;
const day = 24 * 60 * minute;

/** The functions of one device. Its methods may be called again at any time, in any order. */
export class Device<Secret> {
  readonly #client: Client;
  readonly #device: DeviceName;
  readonly #options: Required<Omit<DeviceOptions<Secret>, "client" | "device">>;
  readonly #around: Surroundings;
  readonly #postponed = new Map<string, { until: number; delay: number }>();
  readonly #handling = new Map<string, Promise<void>>();
  /** Last resorts that the server may have handed out before a restore, which it cannot know. */
  readonly #doubtful = new Set<KeyPackageRef>();
  #about: About | undefined;
  #epoch: string | undefined;
  #upkeep: Promise<unknown> = Promise.resolve();
  #upkeepAt = 0;
  #upkeepFailures = 0;
  #stock: number | undefined;

  constructor(options: DeviceOptions<Secret>, around: Surroundings = surroundings) {
    this.#client = options.client;
    this.#device = options.device;
    this.#around = around;
    this.#options = {
      cipher_suites: [1],
      low: 20,
      high: 50,
      last_resort: true,
      wait: 50,
      onError: () => {},
      onWithdrawn: () => {},
      ...given(options),
    };
  }

  /**
   * Receives Welcomes and keeps the stock, until the signal is aborted. It throws what only
   * the application can mend: 401 and 403, for example after the removal of the device.
   */
  async run(signal: AbortSignal): Promise<void> {
    const ended = new AbortController();
    const listener = new Listener();
    const listening = this.#listen(listener, AbortSignal.any([signal, ended.signal])).catch(() => {}); // a claim is told the same
    try {
      await this.#run(listener, signal);
    } finally {
      ended.abort();
      await listening;
    }
  }

  async #run(listener: Listener, signal: AbortSignal): Promise<void> {
    const call = { signal };
    let { wait } = this.#options;
    let atOnce = true; // what was given in an answer that got lost is given again
    for (let failures = 0; !signal.aborted; ) {
      let waits = atOnce ? 0 : this.#untilPostponed(wait);
      if (waits > 0 && listener.live) {
        const longest = Math.min(lookAgain, this.#upkeepAt - this.#around.now()) / 1000;
        await listener.woken(1000 * this.#untilPostponed(longest), this.#around, signal);
        waits = 0;
      }
      const begun = this.#around.now();
      try {
        await this.receive({ ...call, wait: waits });
        failures = 0;
        atOnce = false;
      } catch (error) {
        if (signal.aborted) return;
        this.#report(error);
        atOnce = true;
        wait = shorter(wait, waits, (this.#around.now() - begun) / 1000, error);
        await this.#around.sleep(this.#pauseAfter(error, failures++), signal).catch(() => {});
        continue;
      }
      if (this.#around.now() < this.#upkeepAt) continue;
      try {
        await this.reconcile({ ...call, patience: 0 }); // Welcomes do not wait for what may wait
        this.#upkeepFailures = 0;
      } catch (error) {
        if (signal.aborted) return;
        this.#report(error);
        this.#upkeepAt = this.#around.now() + this.#pauseAfter(error, 4 + this.#upkeepFailures++, 30 * minute);
      }
    }
  }

  /** Has the device's events wake it, until the signal is aborted or a repeat does not help. */
  async #listen(listener: Listener, signal: AbortSignal): Promise<void> {
    let after: string | undefined;
    for (let failures = 0; !signal.aborted; failures++) {
      try {
        for await (const event of this.#client.stream(this.#device, { signal, after })) {
          after = event.id;
          if (event.type === "heartbeat") continue;
          if (event.type === "key_package") this.#upkeepAt = 0; // another last resort takes its place
          failures = 0;
          listener.live = true; // `open` is the first
          listener.wake();
        }
      } catch (error) {
        listener.live = false;
        listener.wake();
        if (!(error instanceof StreamEnded || helpsToRepeat(error, true))) return;
        await this.#around.sleep(pauseBeforeStream(error, failures, this.#around.random()), signal);
      }
    }
  }

  /**
   * Claims what waits, and handles it: all that there is, for example when a push message has
   * woken the application. With `wait` it waits for so many seconds until there is something.
   */
  async receive(options: { signal?: AbortSignal; wait?: number } = {}): Promise<void> {
    const call = { signal: options.signal, patience: 0 };
    const begun = this.#around.now();
    const gone = new Set([...this.#postponed].filter(([, { until }]) => until <= begun).map(([id]) => id));
    for (let wait = options.wait ?? 0, more = true; more; wait = 0) {
      const skip = [...this.#postponed.keys()].filter((id) => !gone.has(id));
      const claim = await this.#client.claim(this.#device, { skip }, { ...call, ...(wait > 0 && { wait }) });
      for (const welcome of claim.welcomes) {
        gone.delete(welcome.id);
        await this.#handle(welcome, call);
      }
      this.#watch(claim.stock);
      more = claim.more && claim.welcomes.length > 0;
    }
    for (const id of gone) this.#postponed.delete(id); // another process has settled it, or it has ended
  }

  /** Of two claims at a time that were given the same Welcome, one handles it. */
  #handle(welcome: Delivery, call: CallOptions): Promise<void> {
    const { id } = welcome;
    const handling = this.#handling.get(id) ?? this.#settle(welcome, call).finally(() => this.#handling.delete(id));
    this.#handling.set(id, handling);
    return handling;
  }

  /** Settles a Welcome, or leaves it for later. */
  async #settle(welcome: Delivery, call: CallOptions): Promise<void> {
    const { id, ref } = welcome;
    try {
      // The key is looked up first. Another process may join in between: it saves the group
      // before the key goes, so a Welcome whose key is gone is found among the joined ones.
      const key = await this.#options.keys.get(ref);
      const verdict = (await this.#options.joined(welcome)) ? "joined" : await this.#join(welcome, key, call);
      if (verdict === "later") return this.#postpone(id);
      if (verdict === "joined") await this.#client.acknowledge(this.#device, id, { ...call, ref });
      else await this.#client.reject(this.#device, id, verdict.reason, { ...call, ref, detail: printable(verdict.detail) });
      this.#postponed.delete(id);
      if (key?.last_resort) this.#upkeepAt = 0; // whoever gets its key could read what it is used for next
      else await this.#options.keys.delete([ref]);
    } catch (error) {
      call.signal?.throwIfAborted();
      if (error instanceof Problem && error.status === 404) return void this.#postponed.delete(id); // it has ended
      this.#report(error);
      this.#postpone(id);
    }
  }

  async #join(welcome: Delivery, key: StoredKeyPackage<Secret> | undefined, call: CallOptions): Promise<Verdict> {
    if (!key) return { reason: "no_matching_key_package", detail: "the device has lost the private key" };
    if (welcome.ratchet_tree_size && !welcome.ratchet_tree) {
      welcome.ratchet_tree = await this.#tree(welcome, call);
    }
    try {
      return await this.#options.join(welcome, key);
    } catch (error) {
      this.#options.onError(error);
      return "later";
    }
  }

  /** A tree that the server found damaged is missing: some groups have it elsewhere. */
  async #tree(welcome: Delivery, call: CallOptions): Promise<Bytes | undefined> {
    try {
      return await this.#client.ratchetTree(this.#device, welcome.id, call);
    } catch (error) {
      if (error instanceof Problem && error.code === "damaged") return undefined;
      throw error;
    }
  }

  #postpone(id: string): void {
    const delay = Math.min(10 * minute, 2 * (this.#postponed.get(id)?.delay ?? 2_500));
    this.#postponed.set(id, { until: this.#around.now() + delay, delay });
  }

  /** For how many seconds a claim may wait: what was postponed is claimed again in time. */
  #untilPostponed(wait: number): number {
    const next = Math.min(...[...this.#postponed.values()].map(({ until }) => until));
    return Math.max(0, Math.min(wait, Math.ceil((next - this.#around.now()) / 1000)));
  }

  /** Has the stock looked at before a suite can have run out. */
  #watch(stock: Stock): void {
    const now = stock.available + (stock.not_yet_valid ?? 0);
    const before = (this.#stock ??= now);
    if (now > before) this.#stock = now;
    else if (now < before && (stock.low || before - now >= this.#options.low / 2)) this.#upkeepAt = 0;
  }

  /**
   * Compares the private keys with what the server counts on, and publishes what is missing.
   * If nothing has changed, that takes a hash and a few numbers.
   */
  async reconcile(call: CallOptions = {}): Promise<void> {
    const turn = this.#upkeep.then(() => this.#reconcile(call));
    this.#upkeep = turn.catch(() => {});
    return turn;
  }

  async #reconcile(call: CallOptions): Promise<void> {
    this.#upkeepAt = this.#around.now() + day;
    this.#about ??= await this.#client.about(call);
    const held = await this.#options.keys.list();
    const compared = await this.#client.compare(this.#device, await refsDigest(held.map(({ ref }) => ref)), call);
    const counts = compared.in_sync ? compared.counts : await this.#correct(call);
    await this.#fill(counts, await this.#replaceLastResorts(call), call);
  }

  /** Withdraws what this device has no keys of, and publishes what the server does not know. */
  async #correct(call: CallOptions): Promise<SuiteCounts[]> {
    for (let attempt = 0; ; attempt++) {
      // The inventory is read before the keys: what is published was saved before, so that
      // nothing is withdrawn that another process of this device has just published.
      const inventory = await this.#client.inventory(this.#device, call);
      this.#epoch = inventory.restore_epoch;
      const held = await this.#options.keys.list();
      const refs = held.map(({ ref }) => ref);
      try {
        const synced = await this.#client.sync(this.#device, refs, inventory.digest, { ...call, all: refs.length === 0 });
        if (synced.withdrawn.length > 0) this.#options.onWithdrawn(synced.withdrawn, synced.withdrawn_fresh);
        await this.#options.keys.delete(synced.spent);
        const unknown = held.filter(({ ref }) => synced.unknown.includes(ref));
        for (const { ref } of unknown.filter((k) => k.last_resort)) this.#doubtful.add(ref);
        await this.#publishAgain(unknown, call);
        return (await this.#client.compare(this.#device, synced.digest, call)).counts;
      } catch (error) {
        if (!(error instanceof Problem && error.code === "inventory_changed") || attempt === 5) throw error;
      }
    }
  }

  /** One that is refused is kept: after a restore somebody may hold it all the same. */
  async #publishAgain(keyPackages: OwnKeyPackage[], call: CallOptions): Promise<void> {
    for (const epoch of new Set(keyPackages.map((k) => k.restore_epoch))) {
      try {
        await this.#publish(keyPackages.filter((k) => k.restore_epoch === epoch), epoch, call);
      } catch (error) {
        call.signal?.throwIfAborted();
        this.#report(error);
      }
    }
  }

  /**
   * Sees to it that each suite has a last resort that was not handed out yet. It returns how
   * many were on the shelf before: the counts of the server have them among the others.
   */
  async #replaceLastResorts(call: CallOptions): Promise<Map<CipherSuite, number>> {
    const held = (await this.#options.keys.list()).filter((k) => k.last_resort);
    const shelved = new Map<CipherSuite, number>();
    for (const suite of this.#options.cipher_suites) {
      let fresh = !this.#options.last_resort;
      for (const { ref } of held.filter((k) => k.cipher_suite === suite)) {
        const is = await this.#client.keyPackage(ref, call).catch(notFound);
        if (is?.state !== "available") continue;
        shelved.set(suite, (shelved.get(suite) ?? 0) + 1);
        fresh ||= is.handed_out_at === undefined && !this.#doubtful.has(ref);
      }
      if (!fresh) await this.#makeAndPublish(suite, true, 1, call);
    }
    return shelved;
  }

  async #fill(counts: SuiteCounts[], lastResorts: Map<CipherSuite, number>, call: CallOptions): Promise<void> {
    const { low, high } = this.#options;
    let total = 0;
    for (const suite of this.#options.cipher_suites) {
      const count = counts.find((c) => c.cipher_suite === suite);
      let have = (count?.available ?? 0) + (count?.not_yet_valid ?? 0) - (lastResorts.get(suite) ?? 0);
      const most = this.#about?.limits.key_packages_per_publish ?? 1;
      if (have < low) {
        for (; have < high; have += most) await this.#makeAndPublish(suite, false, Math.min(most, high - have), call);
        have = high;
      }
      total += have;
    }
    this.#stock = total;
  }

  async #makeAndPublish(suite: CipherSuite, lastResort: boolean, count: number, call: CallOptions): Promise<void> {
    for (let attempt = 0; attempt < 2; attempt++) {
      const epoch = (this.#epoch ??= (await this.#client.inventory(this.#device, call)).restore_epoch);
      const made = await this.#make(suite, lastResort, count, epoch);
      const left = new Set(made.map(({ ref }) => ref));
      try {
        await this.#publish(made, epoch, call, left);
      } catch (error) {
        // What is refused was not stored, and nobody needs the keys.
        if (error instanceof Problem && error.status < 500 && error.status !== 429) await this.#options.keys.delete([...left]);
        throw error;
      }
      if (this.#epoch === epoch) return;
      // The server was restored, and has put none of these on the shelf.
    }
  }

  async #make(suite: CipherSuite, lastResort: boolean, count: number, epoch: string): Promise<OwnKeyPackage[]> {
    const made: StoredKeyPackage<Secret>[] = [];
    for (let i = 0; i < count; i++) {
      const { key_package, secret, ref } = await this.#options.make({ cipher_suite: suite, last_resort: lastResort });
      made.push({
        ref: ref ?? (await keyPackageRef(key_package)),
        cipher_suite: suite,
        last_resort: lastResort,
        key_package,
        restore_epoch: epoch,
        secret,
      });
    }
    await this.#options.keys.add(made);
    return made;
  }

  /** Publishes KeyPackages whose private keys are saved, and takes what is published from `left`. */
  async #publish(keyPackages: OwnKeyPackage[], epoch: string, call: CallOptions, left = new Set<KeyPackageRef>()): Promise<void> {
    const most = this.#about?.limits.key_packages_per_publish ?? 1;
    const some = keyPackages.slice(0, most);
    if (some.length === 0) return;
    try {
      const bytes = some.map((k) => k.key_package);
      const published = await this.#client.publish(this.#device, bytes, { ...call, restore_epoch: epoch });
      this.#epoch = published.restore_epoch;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      const rest = allowed(some, error);
      if (rest.length === some.length) throw error;
      await this.#publish(rest, epoch, call, left);
      const ended = some.filter((_, i) => ["expired", "spent"].includes(invalid(error).get(i) ?? ""));
      await this.#options.keys.delete(ended.map(({ ref }) => ref));
      if (rest.length + ended.length < some.length) throw error;
    }
    for (const { ref } of some) left.delete(ref);
    await this.#publish(keyPackages.slice(most), epoch, call, left);
  }

  #report(error: unknown): void {
    if (error instanceof Problem && (error.status === 401 || error.status === 403)) throw error;
    this.#options.onError(error);
  }

  /** At least as long as the server asks for, and not for all devices alike. */
  #pauseAfter(error: unknown, failures: number, most = minute): number {
    const backoff = Math.min(most, 500 * 2 ** failures) * (0.5 + this.#around.random() / 2);
    const asked = error instanceof Problem ? (error.retryAfter ?? 0) : 0;
    return asked * 1000 + backoff;
  }
}

/** After how long a device claims that no event has woken. */
const lookAgain = 5 * minute;

/**
 * Wakes a device. While no events come through, for example behind a proxy that keeps a
 * stream back, claims wait instead.
 */
class Listener {
  live = false;
  #due = false;
  #wake = () => {};

  wake(): void {
    this.#due = true;
    this.#wake();
  }

  /** Returns when it was woken since it last returned, or after a time. */
  async woken(milliseconds: number, around: Surroundings, signal: AbortSignal): Promise<void> {
    const wake = new AbortController();
    this.#wake = () => wake.abort();
    if (!this.#due) await around.sleep(milliseconds, AbortSignal.any([signal, wake.signal])).catch(() => {});
    this.#due = false;
  }
}

/** Options without those that are undefined, as a value is that an application has not set. */
const given = <T extends object>(options: T) => Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;

const invalid = (refused: Problem) => new Map(refused.body.invalid?.map(({ index, code }) => [index, code]));

/** What of a refused publication can be published. */
function allowed(keyPackages: OwnKeyPackage[], refused: Problem): OwnKeyPackage[] {
  if (refused.code === "stock_full") return keyPackages.slice(0, refused.body.room);
  return keyPackages.filter((_, i) => !invalid(refused).has(i));
}

/** How long a claim is to wait after one of these was cut off on the way. */
function shorter(wait: number, waited: number, elapsed: number, error: unknown): number {
  const cut = error instanceof Unreachable || (error instanceof Problem && [408, 502, 504].includes(error.status));
  return cut && elapsed > 5 && elapsed < waited ? Math.min(wait, Math.floor(elapsed * 0.8)) : wait;
}

function notFound(error: unknown): undefined {
  if (!(error instanceof Problem && error.status === 404)) throw error;
}

/** As much of a text as a rejection may have. */
function printable(text: string | undefined): string | undefined {
  return text && [...text.replace(/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu, " ")].slice(0, 256).join("");
}
