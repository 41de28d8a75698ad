// The steps that every story in the tests is told with.

import assert from "node:assert/strict";
import { after, before } from "node:test";
import { Client } from "welcomed-client";
import { Server } from "../harness/server.js";
import { accept, assertSameEpoch, assertSliceOf, Device, newGroup, parseWrappedWelcome, prepareAdd } from "./mls.js";

/**
 * @typedef {import("./mls.js").Group} Group
 * @typedef {import("./mls.js").PreparedAdd} PreparedAdd
 */

/**
 * A client that fails where an answer has no Request-Id, and keeps the status of the last one.
 *
 * @param {{observe?: (method: string, path: string, response: Response) => unknown} & Partial<import("welcomed-client").ClientOptions>} [options]
 * @returns {Client & {status: number}}
 */
export function newClient(baseURL, { observe = () => {}, ...options } = {}) {
  const client = new Client({
    baseURL,
    fetch: async (url, init) => {
      const response = await fetch(url, init);
      await observe(init.method, url.slice(baseURL.length), response);
      assert.ok(response.headers.get("Request-Id"), `${init.method} ${url}: every answer carries Request-Id`);
      client.status = response.status;
      return response;
    },
    ...options,
  });
  return client;
}

/** One server for the calling test file. @returns {{server: Server, api: Client}} filled in before the first test */
export function useServer() {
  const running = {};
  before(async () => {
    running.server = await Server.start();
    running.api = newClient(running.server.url);
  });
  after(() => running.server?.remove());
  return running;
}

let users = 0;

/** Every story has its own users, so that stories cannot meet on the server. */
export const newUser = (name) => `${name}-${++users}@example.org`;

export const newDevice = (name, options) => new Device(newUser(name), "phone", options);

/** @returns {Promise<import("./mls.js").OwnKeyPackage[]>} */
export async function publish(api, device, suite, count = 1) {
  const made = [];
  for (let i = 0; i < count; i++) made.push(await device.newKeyPackage(suite));
  const published = await api.publish(device, made.map((own) => own.bare));
  assert.deepEqual(
    published.key_packages.map(({ ref, status }) => ({ ref, status })),
    made.map(({ ref }) => ({ ref, status: "stored" })),
    "the server computes the refs that ts-mls computes",
  );
  return made;
}

/** One KeyPackage of each device of these users, in this suite. */
export async function reserve(api, users, suite) {
  const reservation = await api.reserve({ users, cipher_suites: [suite] });
  assert.equal(reservation.cipher_suite, suite);
  for (const { status } of reservation.users) assert.equal(status, "success");
  return reservation.users.flatMap((user) => user.devices).map((device) => ({ ...device, ...device.key_package }));
}

/** @returns {Promise<{group: Group, added: PreparedAdd}>} a group of the creator alone, about to add */
export async function prepareGroup(creator, suite, keyPackages, options) {
  const group = await newGroup(creator, suite);
  return { group, added: await prepareAdd(group, keyPackages, options) };
}

/** The recommended flow after the reservation: post and hold, commit, release. */
export async function commitAndDeliver(api, group, added, { ratchetTree } = {}) {
  const posting = { welcome: added.wrappedWelcome, ratchet_tree: ratchetTree };
  const posted = await api.post(posting, { hold: true, require: "all" });
  assertStatuses(posted, "held", added.welcome.secrets.length);
  accept(group, added);
  const released = await api.release(posted.id);
  assertStatuses(released, "pending", added.welcome.secrets.length);
  return posted.id;
}

/** The one Welcome that waits for this device. */
export async function claimOne(api, device, options) {
  const { welcomes } = await api.claim(device, {}, options);
  assert.equal(welcomes.length, 1, "one Welcome waits");
  return welcomes[0];
}

export async function assertNothingToClaim(api, device) {
  assert.deepEqual((await api.claim(device)).welcomes, []);
}

/** @returns {Promise<Group>} */
export function joinDelivered(device, delivery, ratchetTree) {
  return device.join(parseWrappedWelcome(delivery.welcome), ratchetTree);
}

/** Claims, checks the slice, joins, saves, acknowledges. @returns {Promise<Group>} */
export async function claimAndJoin(api, device, posted, findTree = () => undefined) {
  const delivery = await claimOne(api, device);
  assert.equal(delivery.redelivered, false);
  assertSliceOf(parseWrappedWelcome(delivery.welcome), posted, delivery.ref);
  const group = await joinDelivered(device, delivery, await findTree(delivery));
  device.forgetKey(delivery.ref);
  await api.acknowledge(device, delivery.id);
  return group;
}

/** The whole way of one newcomer into a new group. */
export async function addOne(api, creator, joiner, keyPackage, suite) {
  const { group, added } = await prepareGroup(creator, suite, [keyPackage]);
  await commitAndDeliver(api, group, added);
  await assertSameEpoch([group, await claimAndJoin(api, joiner, added.welcome)]);
}

export function assertStatuses({ recipients }, status, count) {
  assert.deepEqual(recipients.map((recipient) => recipient.status), Array(count).fill(status));
}

/** An assertion for assert.rejects: this status, this code. */
export function problem(status, code) {
  return (error) => {
    assert.equal(error.name, "Problem", error.stack);
    assert.deepEqual({ status: error.status, code: error.code }, { status, code });
    return true;
  };
}
