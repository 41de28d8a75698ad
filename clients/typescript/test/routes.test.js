// Every route of the server, asked by the real client.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { repository, Server } from "../../../trials/harness/server.js";
import { prepareAdd, newGroup, Device } from "../../../trials/interop/mls.js";
import { newClient } from "../../../trials/interop/scenario.js";

const alice = new Device("alice@example.org", "phone");
const bob = new Device("bob", "laptop");
const asked = new Set();
const fields = new Set();
let server, service;

before(async () => {
  server = await Server.start("--auth", "token");
  service = client(await server.command("token add", "--service", "app"));
});
after(() => server?.remove());

/** A client whose requests are noted, and the fields of the answers. */
function client(token, onBehalfOf) {
  return newClient(server.url, { token: token.trim(), onBehalfOf, observe });
}

async function observe(method, path, response) {
  asked.add(`${method} ${template(path)}`);
  if (!/\bjson\b/.test(response.headers.get("Content-Type")) || response.headers.has("X-Accel-Buffering")) return;
  const { limits, budgets, ...answer } = await response.clone().json(); // have names that are not in the types
  JSON.stringify(answer, (name, value) => {
    if (!/^\d*$/.test(name)) fields.add(name);
    return value;
  });
}

/** A path with what stands in it named as in server/route.go. */
function template(path) {
  return path
    .replace(/\?.*/, "")
    .replace(/^(\/v1\/users)\/[^/]+/, "$1/:user")
    .replace(/(\/devices)\/[^/]+/, "$1/:device")
    .replace(/(\/welcomes)\/[0-9a-f]+/, "$1/:id")
    .replace(/(\/key-packages)\/[0-9a-f]+$/, "$1/:ref")
    .replace(/(\/tokens)\/[^/]+/, "$1/:token");
}

/** The lines of the table in server/route.go. */
async function routes() {
  const source = await readFile(join(repository, "server/route.go"), "utf8");
  const paths = { userPath: "", devicePath: "", shelfPath: "", welcomePath: "", recipientPath: "" };
  const value = (expression) => expression.split(" + ").map((part) => (part.startsWith('"') ? part.slice(1, -1) : paths[part])).join("");
  for (const [, name, expression] of source.matchAll(/^\t(\w+Path) += (.*)$/gm)) paths[name] = value(expression);
  return [...source.matchAll(/^\t\{"([A-Z]+)", ([^,]+), \w+, \(/gm)].map(([, method, path]) => `${method} ${value(path)}`);
}

test("a device publishes, somebody adds it, it joins and leaves", async () => {
  const made = await service.createToken(alice, { expires_at: "2090-01-01T00:00:00Z" });
  const spare = await service.createToken(alice, { read_only: true });
  assert.equal((await service.tokens(alice)).tokens.length, 2);
  await service.revokeToken(alice, spare.id);
  const phone = client(made.token);
  const adder = client((await service.createToken(bob)).token);

  const { next: begun } = await service.pollEvents();
  const about = await phone.about();
  assert.ok(about.limits.key_packages_per_publish > 0 && about.ready);

  const [first, second, third, last] = [
    await alice.newKeyPackage(1),
    await alice.newKeyPackage(1),
    await alice.newKeyPackage(1),
    await alice.newKeyPackage(1, { lastResort: true }),
  ];
  const published = await phone.publish(alice, [first.bare, last.wrapped]);
  assert.deepEqual(published.key_packages.map(({ ref, status }) => [ref, status]), [[first.ref, "stored"], [last.ref, "stored"]]);
  await phone.publish(alice, [second.bare], { restore_epoch: published.restore_epoch });
  await service.give(alice, second.ref);
  await phone.withdraw(alice, second.ref);
  await phone.replace(alice, [third.bare], { cipher_suite: 1, restore_epoch: published.restore_epoch });

  const inventory = await phone.inventory(alice);
  assert.equal((await phone.compare(alice, inventory.digest)).in_sync, true);
  assert.deepEqual((await phone.sync(alice, [first.ref, third.ref], inventory.digest)).withdrawn, [last.ref]);
  await assert.rejects(phone.sync(alice, [], inventory.digest), { code: "empty_refs" });

  assert.deepEqual((await phone.devices(alice.user, { max_idle_days: 30 })).devices.map(({ device }) => device), [alice.device]);
  const listing = await adder.list(alice.user, { cipher_suite: 1, device: alice.device, limit: 5, framing: "bare" });
  assert.deepEqual(listing.devices[0].key_packages.map(({ bytes }) => bytes), [third.bare]);
  const unused = await adder.reserve({ users: [alice.user], cipher_suites: [1] });
  assert.equal(unused.users[0].devices[0].key_package.ref, third.ref);
  const back = await adder.giveBack({ reservation: unused.reservation });
  assert.deepEqual(back.key_packages, [{ ref: third.ref, status: "given_back" }]);

  const reserved = await adder.reserve({ devices: [{ user: alice.user, device: alice.device }] });
  const { key_package: keyPackage } = reserved.users[0].devices[0];
  assert.equal((await adder.keyPackage(keyPackage.ref)).state, "reserved");
  const added = await prepareAdd(await newGroup(bob, 1), [keyPackage.bytes]);
  const posting = { welcome: added.wrappedWelcome, ratchet_tree: added.ratchetTree, context: new Uint8Array([1, 2, 3]) };
  const dry = await adder.post(posting, { dry_run: true });
  const posted = await adder.post(posting, { hold: true, require: "all" });
  assert.equal(posted.id, dry.id);
  assert.equal((await adder.release(posted.id)).recipients[0].status, "pending");

  const claim = await phone.claim(alice, { max: 1, refs: [keyPackage.ref], skip: [] }, { wait: 5, framing: "mls_message" });
  const [delivery] = claim.welcomes;
  assert.deepEqual([delivery.id, delivery.context, delivery.redelivered], [posted.id, posting.context, false]);
  assert.deepEqual(await phone.ratchetTree(alice, delivery.id), added.ratchetTree);
  await phone.acknowledge(alice, delivery.id, { ref: delivery.ref });
  assert.equal((await adder.outcome(posted.id)).recipients[0].status, "acknowledged");

  const refused = await adder.post({ welcome: (await addNew(phone)).wrappedWelcome }, { hold: true });
  assert.equal((await adder.cancel(refused.id)).cancelled, true);
  await adder.post({ welcome: (await addNew(phone)).bareWelcome });
  const [unwanted] = (await phone.claim(alice)).welcomes;
  await phone.reject(alice, unwanted.id, "declined", { detail: "not now", ref: unwanted.ref });
  assert.deepEqual((await phone.claim(alice)).welcomes, []);

  for (const [following, who] of [[alice, phone], [{ user: alice.user }, service], [{ user: bob.user }, service], [{}, service]]) {
    const of = { user: following.user, device: following.device };
    const { events } = await who.pollEvents(of, { after: begun });
    assert.ok(events.length > 0);
    for await (const event of who.events(of, { after: begun })) {
      if (event.type === "open") continue;
      assert.deepEqual(event, events[0]);
      break;
    }
  }

  await phone.removeDevice(alice);
  await assert.rejects(phone.inventory(alice), { status: 401, code: "invalid_token" });
  await client(await server.command("token add", "--service", "other"), bob.user).removeUser(bob.user);
});

/** A Commit that adds a KeyPackage which alice has just published. */
async function addNew(phone) {
  const own = await alice.newKeyPackage(1);
  await phone.publish(alice, [own.bare]);
  return prepareAdd(await newGroup(bob, 1), [own.bare]);
}

test("the client has a method for each route, and this file has called it", async () => {
  const all = await routes();
  assert.ok(all.length >= 25, `${all.length} routes`);
  assert.deepEqual([...asked].sort(), all.sort());
});

test("the types have the fields of the answers", async () => {
  const types = await readFile(new URL("../src/types.ts", import.meta.url), "utf8");
  assert.ok(fields.size > 50, `${fields.size} fields`);
  assert.deepEqual([...fields].filter((name) => !new RegExp(`\\b${name}\\??:`).test(types)), []);
});

test("a refusal has what the server says about it", async () => {
  const phone = client((await service.createToken(alice)).token);
  await assert.rejects(phone.publish(alice, []), { name: "Problem", status: 400, code: "no_key_packages" });
  const nobodys = await prepareAdd(await newGroup(bob, 1), [(await alice.newKeyPackage(1)).bare]);
  await assert.rejects(phone.post({ welcome: nobodys.wrappedWelcome }), (error) => {
    assert.deepEqual([error.status, error.code], [409, "no_matching_key_package"]);
    assert.equal(error.body.recipients[0].status, "unknown");
    assert.match(error.message, /^POST \/v1\/welcomes: 409 no_matching_key_package: /);
    assert.ok(error.requestId);
    return true;
  });
});

test("the licence is called what the Debian package calls it", async () => {
  const { license } = JSON.parse(await readFile(new URL("../package.json", import.meta.url), "utf8"));
  const copyright = await readFile(join(repository, "deploy/debian/copyright"), "utf8");
  assert.equal(license, copyright.match(/^License: (\S+)/m)[1]);
});
