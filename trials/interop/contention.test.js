// Several adders want the same joiner.

import assert from "node:assert/strict";
import { test } from "node:test";
import { accept, assertSameEpoch, newGroup, prepareAdd } from "./mls.js";
import {
  assertNothingToClaim,
  assertStatuses,
  claimAndJoin,
  commitAndDeliver,
  joinDelivered,
  newDevice,
  prepareGroup,
  problem,
  publish,
  useServer,
} from "./scenario.js";

const server = useServer();

test("two adders race for one listed KeyPackage: one wins, the other is told taken at once", async () => {
  const { api } = server;
  const [alice, bob, carol] = [newDevice("alice"), newDevice("bob"), newDevice("carol")];
  await publish(api, alice, 1);

  const races = await Promise.all([bob, carol].map((adder) => prepareListed(adder, alice)));
  const posts = await Promise.allSettled(races.map(({ added }) => api.post({ welcome: added.wrappedWelcome })));

  const [winner] = races.filter((_, i) => posts[i].status === "fulfilled");
  const losses = posts.filter((post) => post.status === "rejected").map((post) => post.reason);
  assert.equal(losses.length, 1);
  problem(409, "no_matching_key_package")(losses[0]);
  assertStatuses(losses[0].body, "taken", 1);

  accept(winner.group, winner.added);
  await assertSameEpoch([winner.group, await claimAndJoin(api, alice, winner.added.welcome)]);
  await assertNothingToClaim(api, alice);
});

test("who was told taken picks another KeyPackage, and the joiner gets into both groups", async () => {
  const { api } = server;
  const [alice, bob, carol] = [newDevice("alice"), newDevice("bob"), newDevice("carol")];
  const [first, second] = await publish(api, alice, 1, 2);
  const bobs = await prepareGroup(bob, 1, [first.bare]);
  const carols = await prepareGroup(carol, 1, [first.bare]);
  const bobsId = await commitAndDeliver(api, bobs.group, bobs.added);
  await assert.rejects(
    api.post({ welcome: carols.added.wrappedWelcome }, { hold: true, require: "all" }),
    problem(409, "no_matching_key_package"),
  );

  const retry = await prepareAdd(carols.group, [second.bare]);
  const carolsId = await commitAndDeliver(api, carols.group, retry);
  await joinsAll(alice, { [bobsId]: bobs.group, [carolsId]: carols.group });
});

test("a last-resort KeyPackage is handed out when nothing else is left, and serves two groups", async () => {
  const { api } = server;
  const [alice, bob, carol] = [newDevice("alice"), newDevice("bob"), newDevice("carol")];
  const ordinary = await alice.newKeyPackage(1);
  const last = await alice.newKeyPackage(1, { lastResort: true });
  const published = await api.publish(alice, [ordinary.bare, last.bare]);
  assert.deepEqual(published.key_packages.map((keyPackage) => keyPackage.last_resort), [false, true]);

  const given = [await reserveFrom(alice), await reserveFrom(alice), await reserveFrom(alice)];
  assert.deepEqual(given.map(({ status, ref }) => ({ status, ref })), [
    { status: "reserved", ref: ordinary.ref },
    { status: "last_resort", ref: last.ref },
    { status: "last_resort", ref: last.ref },
  ]);

  const groups = {};
  for (const [i, adder] of [bob, carol].entries()) {
    const { group, added } = await prepareGroup(adder, 1, [given[i + 1].bytes]);
    groups[await commitAndDeliver(api, group, added)] = group;
  }
  await joinsAll(alice, groups);
  await assertStillOnShelf(alice, last);
});

async function prepareListed(adder, { user }) {
  const { devices } = await server.api.list(user, { cipher_suite: 1 });
  const group = await newGroup(adder, 1);
  return { group, added: await prepareAdd(group, [devices[0].key_packages[0].bytes]) };
}

async function reserveFrom({ user, device }) {
  const { users } = await server.api.reserve({ devices: [{ user, device }], cipher_suites: [1] });
  const { status, key_package: keyPackage } = users[0].devices[0];
  return { status, ref: keyPackage.ref, bytes: keyPackage.bytes };
}

/** The device gets into exactly these groups; each is named by the id of its Welcome. */
async function joinsAll(device, groups) {
  const { api } = server;
  const { welcomes } = await api.claim(device);
  assert.deepEqual(welcomes.map(({ id }) => id).sort(), Object.keys(groups).sort());
  for (const delivery of welcomes) {
    await assertSameEpoch([groups[delivery.id], await joinDelivered(device, delivery)]);
    await api.acknowledge(device, delivery.id);
  }
  await assertNothingToClaim(api, device);
}

async function assertStillOnShelf(device, { ref }) {
  const inventory = await server.api.inventory(device);
  assert.deepEqual(inventory.last_resort.map((keyPackage) => keyPackage.ref), [ref]);
  assert.ok(inventory.last_resort[0].handed_out_at, "its owner is told to rotate it");
  assert.ok(inventory.refs.includes(ref), "its private key is still needed");
}
