// The steps that every story in the tests is told with.

import assert from "node:assert/strict";
import { after, before } from "node:test";
import { fromBase64 } from "./api.js";
import { accept, assertSameEpoch, assertSliceOf, Device, newGroup, parseWrappedWelcome, prepareAdd } from "./mls.js";
import { startServer } from "./server.js";

/**
 * @typedef {import("./api.js").Api} Api
 * @typedef {import("./mls.js").Group} Group
 * @typedef {import("./mls.js").PreparedAdd} PreparedAdd
 */

/** One server for the calling test file. @returns {{api: Api}} filled in before the first test */
export function useServer() {
  const running = {};
  before(async () => Object.assign(running, await startServer()));
  after(() => running.stop?.());
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
  const { body } = await api.publish(device, made.map((own) => own.bare));
  assert.deepEqual(
    body.key_packages.map(({ ref, status }) => ({ ref, status })),
    made.map(({ ref }) => ({ ref, status: "stored" })),
    "the server computes the refs that ts-mls computes",
  );
  return made;
}

/** One KeyPackage of each device of these users, in this suite. */
export async function reserve(api, users, suite) {
  const { body } = await api.reserve({ users, cipher_suites: [suite] });
  assert.equal(body.cipher_suite, suite);
  for (const { status } of body.users) assert.equal(status, "success");
  return body.users.flatMap((user) => user.devices).map((device) => ({ ...device, ...device.key_package }));
}

/** @returns {Promise<{group: Group, added: PreparedAdd}>} a group of the creator alone, about to add */
export async function prepareGroup(creator, suite, keyPackages, options) {
  const group = await newGroup(creator, suite);
  return { group, added: await prepareAdd(group, keyPackages, options) };
}

/** The recommended flow after the reservation: post and hold, commit, release. */
export async function commitAndDeliver(api, group, added, { ratchetTree } = {}) {
  const post = { welcome: added.wrappedWelcome, ratchetTree };
  const { body: posted } = await api.post(post, { hold: 1, require: "all" });
  assertStatuses(posted, "held", added.welcome.secrets.length);
  accept(group, added);
  const { body: released } = await api.release(posted.id);
  assertStatuses(released, "pending", added.welcome.secrets.length);
  return posted.id;
}

/** The one Welcome that waits for this device. */
export async function claimOne(api, device, options) {
  const { body } = await api.claim(device, options);
  assert.equal(body.welcomes.length, 1, "one Welcome waits");
  return body.welcomes[0];
}

export async function assertNothingToClaim(api, device) {
  const { body } = await api.claim(device);
  assert.deepEqual(body.welcomes, []);
}

/** @returns {Promise<Group>} */
export function joinDelivered(device, delivery, ratchetTree) {
  return device.join(parseWrappedWelcome(fromBase64(delivery.welcome)), ratchetTree);
}

/** Claims, checks the slice, joins, saves, acknowledges. @returns {Promise<Group>} */
export async function claimAndJoin(api, device, posted, findTree = () => undefined) {
  const delivery = await claimOne(api, device);
  assert.equal(delivery.redelivered, false);
  assertSliceOf(parseWrappedWelcome(fromBase64(delivery.welcome)), posted, delivery.ref);
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
