// A joiner is only given a Welcome that it can open, and nothing is lost.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { accept, assertSameEpoch, NoMatchingKeyPackage } from "./mls.js";
import {
  addOne,
  assertNothingToClaim,
  assertStatuses,
  claimAndJoin,
  claimOne,
  commitAndDeliver,
  joinDelivered,
  newDevice,
  prepareGroup,
  problem,
  publish,
  reserve,
  useServer,
} from "./scenario.js";

const server = useServer();

test("a Welcome for #1 consumes #1 and leaves #2, published meanwhile, on the shelf", async () => {
  const { api } = server;
  const [alice, bob] = [newDevice("alice"), newDevice("bob")];
  const [first] = await publish(api, alice, 1);

  assert.deepEqual(await listedRefs(alice), [first.ref]);
  const { group, added } = await prepareGroup(bob, 1, [first.bare]);
  const posted = await api.post({ welcome: added.wrappedWelcome });
  assert.deepEqual(
    posted.recipients.map(({ ref, user, device, status }) => ({ ref, user, device, status })),
    [{ ref: first.ref, user: alice.user, device: alice.device, status: "pending" }],
  );
  accept(group, added);

  const [second] = await publish(api, alice, 1);
  const delivery = await claimOne(api, alice);
  assert.deepEqual({ id: delivery.id, ref: delivery.ref }, { id: posted.id, ref: first.ref });
  await assertSameEpoch([group, await joinDelivered(alice, delivery)]);

  await assertInventory(alice, { available: 1, delivered: 1, refs: [first.ref, second.ref] });
  assert.deepEqual(await listedRefs(alice), [second.ref]);
  await api.acknowledge(alice, delivery.id);
  await assertInventory(alice, { available: 1, delivered: 0, refs: [second.ref] });
});

test("a claim whose reply was lost is answered again until it is acknowledged", async () => {
  const { api } = server;
  const [alice, bob] = [newDevice("alice"), newDevice("bob")];
  const [own] = await publish(api, alice, 1);
  const { group, added } = await prepareGroup(bob, 1, [own.bare]);
  await commitAndDeliver(api, group, added);

  const lost = await claimOne(api, alice);
  assert.equal(lost.redelivered, false);
  const again = await claimOne(api, alice);
  assert.deepEqual(again, { ...lost, redelivered: true });
  await assertSameEpoch([group, await joinDelivered(alice, again)]);

  await api.acknowledge(alice, again.id, { ref: own.ref });
  await api.acknowledge(alice, again.id, { ref: own.ref });
  await assertNothingToClaim(api, alice);
});

test("a post whose reply was lost is answered the same again", async () => {
  const { api } = server;
  const [alice, bob] = [newDevice("alice"), newDevice("bob")];
  const [own] = await publish(api, alice, 1);
  const { group, added } = await prepareGroup(bob, 1, [own.bare]);

  const lost = await api.post({ welcome: added.wrappedWelcome });
  assert.equal(api.status, 201);
  assert.deepEqual(await api.post({ welcome: added.wrappedWelcome }), lost);
  assert.equal(api.status, 200);
  accept(group, added);
  await assertSameEpoch([group, await claimAndJoin(api, alice, added.welcome)]);
});

test("a reservation whose reply was lost is answered with the same KeyPackage", async () => {
  const { api } = server;
  const [alice, bob] = [newDevice("alice"), newDevice("bob")];
  await publish(api, alice, 1, 2);
  const wanted = { devices: [{ user: alice.user, device: alice.device }], cipher_suites: [1] };
  const lost = await api.reserve(wanted, { idempotency_key: bob.user });
  assert.deepEqual(await api.reserve(wanted, { idempotency_key: bob.user }), lost);

  const other = await api.reserve(wanted);
  const [given, givenNext] = [lost, other].map(({ users }) => users[0].devices[0].key_package);
  assert.notEqual(givenNext.ref, given.ref, "nobody else is handed the same one");
  await addOne(api, bob, alice, given.bytes, 1);
});

test("a joiner that lost its private key says so, and the poster sees it", async () => {
  const { api } = server;
  const [alice, bob] = [newDevice("alice"), newDevice("bob")];
  const [own] = await publish(api, alice, 1);
  const [reserved] = await reserve(api, [alice.user], 1);
  const { group, added } = await prepareGroup(bob, 1, [reserved.bytes]);
  const id = await commitAndDeliver(api, group, added);

  alice.keys.clear();
  const delivery = await claimOne(api, alice);
  await assert.rejects(joinDelivered(alice, delivery), NoMatchingKeyPackage);
  const reason = "no_matching_key_package";
  await api.reject(alice, id, reason, { ref: own.ref, detail: "restored from a backup" });

  const outcome = await api.outcome(id);
  assertStatuses(outcome, "rejected", 1);
  assert.equal(outcome.recipients[0].reason, reason);
  await assertNothingToClaim(api, alice);
});

test("a reinstalled device withdraws what it cannot open, before anybody is lost", async () => {
  const { api } = server;
  const [alice, bob] = [newDevice("alice"), newDevice("bob")];
  const [lost] = await publish(api, alice, 1);
  alice.keys.clear();
  const [kept] = await publish(api, alice, 1);
  const { digest } = await api.inventory(alice);
  const synced = await api.sync(alice, [kept.ref], digest);
  assert.deepEqual(synced.withdrawn, [lost.ref]);

  const { added } = await prepareGroup(bob, 1, [lost.bare]);
  const post = api.post({ welcome: added.wrappedWelcome });
  await assert.rejects(post, (error) => {
    assertStatuses(error.body, "withdrawn", 1);
    return problem(409, "no_matching_key_package")(error);
  });
  await addOne(api, bob, alice, kept.bare, 1);
});

async function listedRefs({ user }) {
  const { devices } = await server.api.list(user, { cipher_suite: 1 });
  return devices.flatMap((device) => device.key_packages).map(({ ref }) => ref);
}

async function assertInventory(device, { available, delivered, refs }) {
  const inventory = await server.api.inventory(device);
  const counts = inventory.counts.find((count) => count.cipher_suite === 1);
  assert.deepEqual(
    { available: counts.available, matched: counts.matched, delivered: counts.delivered },
    { available, matched: 0, delivered },
  );
  assert.deepEqual([...inventory.refs].sort(), [...refs].sort());
  assert.equal(inventory.digest, digestOf(refs), "a device can compute the digest from what it holds");
}

/** Hex sorts as its bytes do. */
function digestOf(refs) {
  return createHash("sha256").update(Buffer.from([...refs].sort().join(""), "hex")).digest("hex");
}
