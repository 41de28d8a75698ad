// Groups are built from what the server hands out, and everybody gets in.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { defaultLifetime } from "ts-mls";
import { accept, assertSameEpoch, Device, follow, greasedCapabilities, prepareAdd, rfcSuites } from "./mls.js";
import {
  addOne,
  assertNothingToClaim,
  assertStatuses,
  claimAndJoin,
  commitAndDeliver,
  newDevice,
  newUser,
  prepareGroup,
  publish,
  reserve,
  useServer,
} from "./scenario.js";

const server = useServer();
const inlineTreeLimit = 64 * 1024;

describe("two members, in every suite of RFC 9420", () => {
  for (const suite of rfcSuites) {
    test(`suite ${suite}`, async () => {
      const { api } = server;
      const [alice, bob] = [newDevice("alice"), newDevice("bob")];
      await publish(api, bob, suite);
      const [reserved] = await reserve(api, [bob.user], suite);
      await addOne(api, alice, bob, reserved.bytes, suite);
    });
  }
});

describe("larger groups, users with two devices", () => {
  for (const size of [3, 10, 50]) {
    test(`${size} members, the tree inside the Welcome`, async () => {
      const { group, added, joiners } = await foundGroup(size);
      const id = await commitAndDeliver(server.api, group, added);
      await everybodyJoins(group, added, joiners, id);
    });

    test(`${size} members, the tree beside the Welcome`, async () => {
      const { group, added, joiners } = await foundGroup(size, { treeInWelcome: false });
      assert.ok(added.ratchetTree.length <= inlineTreeLimit);
      const id = await commitAndDeliver(server.api, group, added, { ratchetTree: added.ratchetTree });
      await everybodyJoins(group, added, joiners, id, treeFromClaim);
    });
  }

  test("50 members with long credentials: the tree is too large for the claim and fetched apart", async () => {
    const identity = "a credential as long as a certificate chain ".repeat(40);
    const { group, added, joiners } = await foundGroup(50, { treeInWelcome: false, identity });
    assert.ok(added.ratchetTree.length > inlineTreeLimit);
    const id = await commitAndDeliver(server.api, group, added, { ratchetTree: added.ratchetTree });
    await everybodyJoins(group, added, joiners, id, (delivery, joiner) => {
      assert.equal(delivery.ratchet_tree, undefined);
      assert.equal(delivery.ratchet_tree_size, added.ratchetTree.length);
      return fetchTreeInTwoParts(joiner, delivery.id);
    });
  });
});

test("a group grows: whoever is in follows the Commit, whoever is new claims", async () => {
  const { api } = server;
  const { group, added, joiners: [bob] } = await foundGroup(2);
  await commitAndDeliver(api, group, added);
  const bobsGroup = await claimAndJoin(api, bob, added.welcome);

  const carol = newDevice("carol");
  await publish(api, carol, 1);
  const [reserved] = await reserve(api, [carol.user], 1);
  const addedCarol = await prepareAdd(bobsGroup, [reserved.bytes]);
  await commitAndDeliver(api, bobsGroup, addedCarol);
  await follow(group, addedCarol.commit);

  await assertSameEpoch([group, bobsGroup, await claimAndJoin(api, carol, addedCarol.welcome)]);
});

test("a held Welcome reaches nobody, and a cancelled one never will", async () => {
  const { api } = server;
  const { added, joiners } = await foundGroup(3);
  const posted = await api.post({ welcome: added.wrappedWelcome }, { hold: true, require: "all" });
  for (const joiner of joiners) await assertNothingToClaim(api, joiner);

  const cancelled = await api.cancel(posted.id);
  assertStatuses(cancelled, "cancelled", 2);
  for (const joiner of joiners) await assertNothingToClaim(api, joiner);
});

test("after a lost Commit the same KeyPackages serve the next one", async () => {
  const { api } = server;
  const { group, added, joiners } = await foundGroup(3);
  const keyPackages = joiners.map((joiner) => [...joiner.keys.values()][0].bare);
  const posted = await api.post({ welcome: added.wrappedWelcome }, { hold: true, require: "all" });
  await api.cancel(posted.id);

  const again = await prepareAdd(group, keyPackages);
  const id = await commitAndDeliver(api, group, again);
  await everybodyJoins(group, again, joiners, id);
});

test("a joiner who waits gets the Welcome when it is released, not when it is posted", async () => {
  const { api } = server;
  const { group, added, joiners: [bob] } = await foundGroup(2);
  const waiting = api.claim(bob, {}, { wait: 30 });
  const posted = await api.post({ welcome: added.wrappedWelcome }, { hold: true });
  accept(group, added);
  const [claimed] = await Promise.all([waiting, api.release(posted.id)]);
  assert.deepEqual(claimed.welcomes.map(({ id }) => id), [posted.id]);
});

test("a KeyPackage with GREASE in its capabilities and the library's lifetime of 0 to 2^63-1", async () => {
  const { api } = server;
  const [alice, bob] = [newDevice("alice"), newDevice("bob")];
  const own = await bob.newKeyPackage(1, { capabilities: greasedCapabilities(), lifetime: defaultLifetime });
  const { key_packages: [published] } = await api.publish(bob, [own.bare]);
  assert.equal(published.not_before, "0");
  assert.equal(published.not_after, "9223372036854775807");
  await addOne(api, alice, bob, own.bare, 1);
});

/** A group about to add size - 1 devices, whose KeyPackages were reserved. */
async function foundGroup(size, { treeInWelcome = true, identity } = {}) {
  const { api } = server;
  const creator = newDevice("creator", { identity });
  const joiners = devicesOfUsers(size - 1, identity);
  await Promise.all(joiners.map((joiner) => publish(api, joiner, 1)));
  const users = [...new Set(joiners.map((joiner) => joiner.user))];
  const reserved = await reserve(api, users, 1);
  assert.equal(reserved.length, joiners.length, "one KeyPackage for each device");
  const keyPackages = reserved.map(({ bytes }) => bytes);
  return { joiners, ...(await prepareGroup(creator, 1, keyPackages, { treeInWelcome })) };
}

function devicesOfUsers(count, identity) {
  const devices = [];
  while (devices.length < count) {
    const user = newUser("joiner");
    devices.push(new Device(user, "phone", { identity }), new Device(user, "laptop", { identity }));
  }
  return devices.slice(0, count);
}

async function everybodyJoins(group, added, joiners, id, findTree = () => undefined) {
  const { api } = server;
  const groups = await Promise.all(
    joiners.map((joiner) => claimAndJoin(api, joiner, added.welcome, (delivery) => findTree(delivery, joiner))),
  );
  await assertSameEpoch([group, ...groups]);
  const outcome = await api.outcome(id);
  assertStatuses(outcome, "acknowledged", joiners.length);
}

const treeFromClaim = (delivery) => delivery.ratchet_tree;

/** As a client does whose download broke off half way. */
async function fetchTreeInTwoParts(joiner, id) {
  const path = `/v1/users/${encodeURIComponent(joiner.user)}/devices/${joiner.device}/welcomes/${id}/ratchet-tree`;
  const part = (headers) => server.api.request({ method: "GET", path, headers });
  const first = await part({ Range: "bytes=0-999" });
  const rest = await part({ Range: "bytes=1000-", "If-Range": first.headers.get("ETag") });
  assert.deepEqual([first.status, rest.status], [206, 206]);
  return new Uint8Array([...first.bytes, ...rest.bytes]);
}
