// With or without MLSMessage around it, a KeyPackage or Welcome is the same one.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, test } from "node:test";
import { accept, assertSameEpoch, parseBareKeyPackage, parseBareWelcome, parseWrappedKeyPackage, parseWrappedWelcome } from "./mls.js";
import { claimOne, newDevice, prepareGroup, publish, useServer } from "./scenario.js";

const server = useServer();

// A bare KeyPackage starts with its version and suite, which in suite 3 reads as
// an MLSMessage with a Welcome in it, and in suite 5 as one with a KeyPackage.
const ambiguousSuites = [3, 5];

describe("KeyPackages are accepted bare and wrapped", () => {
  for (const suite of [1, ...ambiguousSuites]) {
    test(`suite ${suite}`, async () => {
      const { api } = server;
      const alice = newDevice("alice");
      const [first, second, third, fourth] = [
        await alice.newKeyPackage(suite),
        await alice.newKeyPackage(suite),
        await alice.newKeyPackage(suite),
        await alice.newKeyPackage(suite),
      ];
      const published = [
        ...publishedAs(await api.publish(alice, [first.bare, second.wrapped])),
        ...publishedAs(await publishRaw(alice, third.bare)),
        ...publishedAs(await publishRaw(alice, fourth.wrapped)),
        ...publishedAs(await api.publish(alice, [first.wrapped])),
      ];
      assert.deepEqual(published, [
        { ref: first.ref, status: "stored" },
        { ref: second.ref, status: "stored" },
        { ref: third.ref, status: "stored" },
        { ref: fourth.ref, status: "stored" },
        { ref: first.ref, status: "already_stored" },
      ]);
    });
  }
});

test("listed and reserved KeyPackages come bare, or wrapped when asked for", async () => {
  const { api } = server;
  const alice = newDevice("alice");
  const [own] = await publish(api, alice, 5);
  const wanted = { users: [alice.user], cipher_suites: [5] };
  const wrapped = { framing: "mls_message" };

  const listed = await api.list(alice.user, { cipher_suite: 5 });
  const listedWrapped = await api.list(alice.user, { cipher_suite: 5, ...wrapped });
  const reserved = await api.reserve(wanted, wrapped);

  assert.deepEqual(listed.devices[0].key_packages[0].bytes, own.bare);
  assert.deepEqual(listedWrapped.devices[0].key_packages[0].bytes, own.wrapped);
  const { bytes } = reserved.users[0].devices[0].key_package;
  assert.deepEqual(parseWrappedKeyPackage(bytes), parseBareKeyPackage(own.bare));
});

test("a Welcome posted bare or wrapped has one id, which its author can compute", async () => {
  const { api } = server;
  const { added } = await groupFor(newDevice("alice"), 3);
  const posts = [
    () => postRaw(added.bareWelcome),
    () => postRaw(added.wrappedWelcome),
    () => api.post({ welcome: added.bareWelcome }),
    () => api.post({ welcome: added.wrappedWelcome }),
  ];
  const statuses = [];
  for (const post of posts) {
    assert.equal((await post()).id, welcomeId(added.bareWelcome));
    statuses.push(api.status);
  }
  assert.deepEqual(statuses, [201, 200, 200, 200]);
});

test("a Welcome is claimed wrapped, or bare when asked for", async () => {
  const { api } = server;
  for (const suite of [1, ...ambiguousSuites]) {
    const alice = newDevice("alice");
    const { group, added } = await groupFor(alice, suite);
    await api.post({ welcome: added.wrappedWelcome });
    accept(group, added);

    const wrapped = parseWrappedWelcome((await claimOne(api, alice)).welcome);
    const bare = parseBareWelcome((await claimOne(api, alice, { framing: "bare" })).welcome);
    assert.deepEqual(bare, wrapped);
    await assertSameEpoch([group, await alice.join(bare)]);
  }
});

test("a client without JSON claims one Welcome as bytes", async () => {
  const { api } = server;
  const alice = newDevice("alice");
  const { group, added, own } = await groupFor(alice, 1);
  const posted = await postRaw(added.wrappedWelcome);
  accept(group, added);

  const claimed = await claimRaw(alice);
  assert.match(claimed.headers.get("Content-Type"), /^message\/mls\b/);
  assert.equal(claimed.headers.get("Welcome-Id"), posted.id);
  assert.equal(claimed.headers.get("Key-Package-Ref"), own.ref);
  assert.equal(claimed.headers.get("Welcome-Redelivered"), "false");
  await assertSameEpoch([group, await alice.join(parseWrappedWelcome(claimed.bytes))]);

  await api.acknowledge(alice, posted.id);
  assert.equal((await claimRaw(alice)).status, 204);
});

const publishedAs = ({ key_packages: keyPackages }) => keyPackages.map(({ ref, status }) => ({ ref, status }));

async function groupFor(joiner, suite) {
  const [own] = await publish(server.api, joiner, suite);
  return { own, ...(await prepareGroup(newDevice("creator"), suite, [own.bare])) };
}

const devicePath = ({ user, device }) => `/v1/users/${encodeURIComponent(user)}/devices/${device}`;

/** Clients that have one object and no JSON send and take its bytes. */
async function sendRaw(path, body) {
  const { bytes } = await server.api.request({ method: "POST", path, body });
  return JSON.parse(new TextDecoder().decode(bytes));
}

const publishRaw = (device, keyPackage) => sendRaw(`${devicePath(device)}/key-packages`, keyPackage);
const postRaw = (welcome) => sendRaw("/v1/welcomes", welcome);

/** At most one Welcome; what JSON would say besides is in the headers. */
const claimRaw = (device) =>
  server.api.request({ method: "POST", path: `${devicePath(device)}/claim`, headers: { Accept: "message/mls" } });

/** With --auth none the caller is the empty string. */
function welcomeId(bareWelcome) {
  return createHash("sha256").update(new Uint8Array([0])).update(bareWelcome).digest("hex");
}
