// What a device does by itself, with real keys and the real server.

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { Server } from "../../../trials/harness/server.js";
import { assertSameEpoch, prepareAdd, newGroup, rfcSuites } from "../../../trials/interop/mls.js";
import { newClient, newDevice } from "../../../trials/interop/scenario.js";
import { Client, Device, keyPackageRef, MemoryKeyStore, refsDigest } from "../dist/index.js";
import { joinDelivered, maker } from "./app.js";

let server, adderClient;
before(async () => {
  server = await Server.start();
  adderClient = newClient(server.url);
});
after(() => server?.remove());

let clock = 0;
beforeEach(() => (clock = Date.now()));
const around = { now: () => clock, random: () => 0.5, sleep: async (ms, signal) => (signal?.throwIfAborted(), void (clock += ms)) };

const realTime = {
  now: Date.now,
  random: Math.random,
  sleep: (ms, signal) =>
    new Promise((resolve, reject) => {
      const timer = setTimeout(resolve, ms);
      signal?.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)));
      if (signal?.aborted) reject(signal.reason);
    }),
};

/** A device with what it was told, what it asked, and what its application has saved. */
function phone(options = {}) {
  const { user, device } = options.name ?? newDevice("alice");
  const app = { user, device: { user, device }, keys: new MemoryKeyStore(), groups: new Map(), asked: [], errors: [], withdrawn: [] };
  const observe = (method, path) => app.asked.push(`${method} ${path.replace(/^\/v1\/users\/[^/]+\/devices\/[^/]+/, "D").replace(/[0-9a-f]{64}/, "*")}`);
  app.client = newClient(options.url ?? server.url, { observe });
  app.runs = new Device(
    {
      client: app.client,
      device: app.device,
      keys: app.keys,
      make: maker(app.device),
      low: 2,
      high: 4,
      joined: async ({ id }) => app.groups.has(id),
      join: async (welcome, key) => {
        app.groups.set(welcome.id, await joinDelivered(welcome, key));
        return "joined";
      },
      onError: (error) => app.errors.push(error),
      onWithdrawn: (refs, fresh) => app.withdrawn.push({ refs, fresh }),
      ...options,
    },
    options.around ?? around,
  );
  return app;
}

/** Somebody adds the device to a group. */
async function add({ user }, options) {
  const adder = newDevice("adder");
  const { users } = await adderClient.reserve({ users: [user] });
  const [{ status, key_package: keyPackage }] = users[0].devices;
  const group = await newGroup(adder, keyPackage.cipher_suite);
  const added = await prepareAdd(group, [keyPackage.bytes], options);
  const { id } = await adderClient.post({ welcome: added.wrappedWelcome, ratchet_tree: options && added.ratchetTree });
  return { id, status, ref: keyPackage.ref, group: { cs: group.cs, state: added.nextState } };
}

const outcome = async ({ id }) => (await adderClient.outcome(id)).recipients[0];
const inSync = async ({ client, device, keys }) => {
  const digest = await refsDigest((await keys.list()).map(({ ref }) => ref));
  return (await client.compare(device, digest)).in_sync;
};
const shelf = async ({ client, device }) => {
  const { counts, last_resort: lastResort } = await client.inventory(device);
  return { available: (counts[0]?.available ?? 0) - lastResort.length, lastResort: lastResort.map(({ ref }) => ref) };
};

test("refs are those that ts-mls computes, in every suite", async () => {
  const device = newDevice("alice");
  for (const suite of rfcSuites) {
    const own = await device.newKeyPackage(suite);
    assert.equal(await keyPackageRef(own.bare), own.ref);
  }
});

test("it fills the shelf and has a last resort, and each private key is saved before", async () => {
  const alice = phone();
  const { publish } = alice.client;
  alice.client.publish = async (device, bytes, options) => {
    const saved = new Set((await alice.keys.list()).map(({ ref }) => ref));
    for (const b of bytes) assert.ok(saved.has(await keyPackageRef(b)));
    return publish.call(alice.client, device, bytes, options);
  };
  await alice.runs.reconcile();
  const { available, lastResort } = await shelf(alice);
  assert.deepEqual([available, lastResort.length], [4, 1]);
  assert.ok(await inSync(alice));
});

test("by default it fills the shelf before the server calls its stock low", async () => {
  const alice = phone({ low: undefined, high: undefined });
  const reserve = async (n) => {
    for (let i = 0; i < n; i++) await adderClient.reserve({ users: [alice.user] });
    const { stock } = await alice.client.claim(alice.device, {});
    await alice.runs.reconcile();
    return stock;
  };
  await alice.runs.reconcile();
  assert.equal((await shelf(alice)).available, 50);
  assert.equal((await reserve(30)).low, false);
  assert.equal((await shelf(alice)).available, 20);
  assert.equal((await reserve(1)).low, false);
  assert.equal((await shelf(alice)).available, 50);
});

test("when nothing has changed it compares a hash, and asks for no list", async () => {
  const alice = phone();
  await alice.runs.reconcile();
  alice.asked.length = 0;
  await alice.runs.reconcile();
  assert.deepEqual(alice.asked, ["POST D/key-packages/sync", "GET /v1/key-packages/*"]);
});

test("it joins, acknowledges, and only then forgets the key", async () => {
  const alice = phone();
  await alice.runs.reconcile();
  const added = [await add(alice), await add(alice, { treeInWelcome: false })];
  alice.client.acknowledge = async (...args) => {
    assert.ok(await alice.keys.get(args[2].ref));
    return Client.prototype.acknowledge.apply(alice.client, args);
  };
  await alice.runs.receive();
  for (const { id, ref, group } of added) {
    await assertSameEpoch([group, alice.groups.get(id)]);
    assert.equal((await outcome({ id })).status, "acknowledged");
    assert.equal(await alice.keys.get(ref), undefined);
  }
  assert.deepEqual(alice.errors, []);
});

test("a Welcome that was joined before a crash is acknowledged, although its key is gone", async () => {
  const alice = phone();
  await alice.runs.reconcile();
  const { id, ref } = await add(alice);
  await alice.client.claim(alice.device);
  alice.groups.set(id, "saved before the crash");
  await alice.keys.delete([ref]);
  await alice.runs.receive();
  assert.equal((await outcome({ id })).status, "acknowledged");
  assert.equal(alice.groups.get(id), "saved before the crash");
});

test("a Welcome whose key is lost is rejected, and the adder reads why", async () => {
  const alice = phone();
  await alice.runs.reconcile();
  const { id, ref } = await add(alice);
  await alice.keys.delete([ref]);
  await alice.runs.receive();
  const { status, reason } = await outcome({ id });
  assert.deepEqual([status, reason], ["rejected", "no_matching_key_package"]);
});

test("what the application declines is rejected with its words, as far as those are allowed", async () => {
  const alice = phone({ join: async () => ({ reason: "declined", detail: `no\n${"é".repeat(300)}` }) });
  await alice.runs.reconcile();
  const { id } = await add(alice);
  await alice.runs.receive();
  const { status, reason, detail } = await outcome({ id });
  assert.deepEqual([status, reason, detail], ["rejected", "declined", `no ${"é".repeat(253)}`]);
});

test("what fails is tried again later, and never rejected", async () => {
  let fail = true;
  const alice = phone({
    join: async (welcome, key) => {
      if (fail) throw new Error("the disk is full");
      alice.groups.set(welcome.id, await joinDelivered(welcome, key));
      return "joined";
    },
  });
  await alice.runs.reconcile();
  const { id } = await add(alice);
  await alice.runs.receive();
  assert.equal((await outcome({ id })).status, "delivered");
  assert.match(alice.errors[0].message, /the disk is full/);
  fail = false;
  await alice.runs.receive();
  assert.equal((await outcome({ id })).status, "delivered", "it is left alone for a while");
  clock += 6_000;
  await alice.runs.receive();
  assert.equal((await outcome({ id })).status, "acknowledged");
});

test("an acknowledgement that fails is sent again", async () => {
  const alice = phone();
  await alice.runs.reconcile();
  const { id } = await add(alice);
  const { acknowledge } = alice.client;
  alice.client.acknowledge = async () => {
    alice.client.acknowledge = acknowledge;
    throw new Error("no network");
  };
  await alice.runs.receive();
  clock += 6_000;
  await alice.runs.receive();
  assert.equal((await outcome({ id })).status, "acknowledged");
});

test("of two claims at a time one handles a Welcome", async () => {
  let joins = 0;
  const alice = phone({ join: async () => (joins++, await new Promise(setImmediate), "joined") });
  await alice.runs.reconcile();
  await add(alice);
  await Promise.all([alice.runs.receive(), alice.runs.receive()]);
  assert.equal(joins, 1);
});

test("it runs: it waits, joins when it is added, and makes new KeyPackages when few are left", async () => {
  const alice = phone({ around: realTime });
  const stop = new AbortController();
  const running = alice.runs.run(stop.signal);
  const settled = async (wanted) => {
    while (!(await wanted())) await new Promise(setImmediate);
  };
  await settled(async () => (await shelf(alice)).available === 4);
  const added = [await add(alice), await add(alice), await add(alice)];
  await settled(async () => alice.groups.size === 3);
  await settled(async () => (await shelf(alice)).available === 4);
  stop.abort();
  await running;
  for (const { id, group } of added) await assertSameEpoch([group, alice.groups.get(id)]);
  assert.deepEqual(alice.errors, []);
});

test("events wake it: once there is a stream no claim waits", async () => {
  const alice = phone({ around: realTime });
  const stop = new AbortController();
  const running = alice.runs.run(stop.signal);
  for (let woken = 0; woken < 3; woken++) {
    while ((await shelf(alice)).available === 0) await new Promise(setImmediate);
    alice.asked.length = 0;
    const joined = alice.groups.size;
    await add(alice);
    while (alice.groups.size === joined) await new Promise(setImmediate);
    if (alice.asked.some((request) => request.includes("wait="))) woken = -1; // not yet
  }
  stop.abort();
  await running;
  assert.deepEqual(alice.errors, []);
});

test("a last resort that was handed out is replaced, and its key kept for whoever has it", async () => {
  const alice = phone({ low: 0, high: 0 });
  await alice.runs.reconcile();
  const [first] = (await shelf(alice)).lastResort;
  const added = await add(alice);
  assert.deepEqual([added.status, added.ref], ["last_resort", first]);
  await alice.runs.receive();
  await alice.runs.reconcile();
  const { lastResort } = await shelf(alice);
  assert.equal(lastResort.length, 1);
  assert.notEqual(lastResort[0], first);
  assert.ok(await alice.keys.get(first));
  assert.equal((await outcome(added)).status, "acknowledged");
});

test("a device that has lost all keys withdraws what nobody can open, and says so", async () => {
  const before = phone();
  await before.runs.reconcile();
  const alice = phone({ name: before.device });
  await alice.runs.reconcile();
  assert.deepEqual(alice.withdrawn.map(({ refs, fresh }) => [refs.length, fresh]), [[5, 5]]);
  assert.equal((await shelf(alice)).available, 4);
  assert.ok(await inSync(alice));
});

test("KeyPackages that were saved and not published before a crash are published", async () => {
  const alice = phone();
  alice.client.publish = async () => {
    throw new Error("killed");
  };
  await assert.rejects(alice.runs.reconcile(), /killed/);
  const [saved] = await alice.keys.list();
  delete alice.client.publish;
  await alice.runs.reconcile();
  assert.ok((await alice.client.inventory(alice.device)).refs.includes(saved.ref));
  assert.ok(await inSync(alice));
});

test("a server that was put back to a backup gets what it has lost, and new ones for the shelf", async () => {
  const own = await Server.start();
  try {
    const alice = phone({ url: own.url });
    const backup = join(own.directory, "backup.db");
    await own.command("backup", "-o", backup);
    await alice.runs.reconcile();
    const lost = await alice.keys.list();
    await own.halt();
    await own.command("restore", "--force", backup);
    await own.resume();
    await alice.runs.reconcile();
    const inventory = await alice.client.inventory(alice.device);
    for (const { ref } of lost) assert.ok(inventory.refs.includes(ref), "Welcomes that name it are still delivered");
    assert.equal(inventory.refs.length, 2 * lost.length);
    assert.ok(!lost.some(({ ref }) => inventory.last_resort[0].ref === ref));
    assert.equal((await shelf(alice)).available, 4);
    assert.ok(await inSync(alice));

    const whole = join(own.directory, "whole.db");
    await own.command("backup", "-o", whole);
    await own.halt();
    await own.command("restore", "--force", whole);
    await own.resume();
    alice.asked.length = 0;
    await alice.runs.reconcile();
    assert.equal(alice.asked.filter((request) => request.startsWith("POST D/key-packages?")).length, 2, "the second has the new epoch");
    assert.equal((await shelf(alice)).available, 4);
  } finally {
    await own.remove();
  }
});

test("KeyPackages that are refused leave no keys behind", async () => {
  const alice = phone({ make: async (kind) => ({ ...(await maker({ user: "a", device: "b" })(kind)), key_package: new Uint8Array([0, 1, 0, 1, 0]) }) });
  await assert.rejects(alice.runs.reconcile(), { name: "Problem" });
  assert.deepEqual(await alice.keys.list(), []);
});

test("a proxy that cuts claims off has it wait for less, and ask at once for what was cut off", async () => {
  const stop = new AbortController();
  const waits = [];
  const fetch = async (url) => {
    if (url.endsWith("/events")) return Response.json({}, { status: 404 }); // a server of before there were events
    const wait = new URL(url).searchParams.get("wait");
    if (!url.includes("/claim")) throw new TypeError("no network");
    waits.push(wait);
    if (waits.length === 5) stop.abort();
    if (wait === null) return Response.json({ welcomes: [], more: false, stock: { available: 1, low: false } });
    clock += Math.min(30, Number.parseInt(wait)) * 1000;
    if (Number.parseInt(wait) > 30) throw new TypeError("terminated");
    return Response.json({ welcomes: [], more: false, stock: { available: 1, low: false } });
  };
  const client = new Client({ baseURL: "http://there", fetch, patience: 0 });
  await phone({ client }).runs.run(stop.signal);
  assert.deepEqual(waits, [null, "50s", null, "24s", "24s"]);
});

test("a device that was removed is told, and does not go on", async () => {
  const fetch = async () =>
    new Response('{"code":"device_removed"}', { status: 403, headers: { "Content-Type": "application/problem+json" } });
  const client = new Client({ baseURL: "http://there", fetch });
  await assert.rejects(phone({ client }).runs.run(new AbortController().signal), { code: "device_removed" });
});
