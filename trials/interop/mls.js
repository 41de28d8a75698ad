// The MLS side of the tests: everything here is done by ts-mls with real keys,
// and nothing here knows that there is a server.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import {
  acceptAll,
  ciphersuites,
  createCommit,
  createGroup,
  decodeMlsMessage,
  emptyPskIndex,
  encodeMlsMessage,
  generateKeyPackageWithKey,
  getCiphersuiteFromName,
  getCiphersuiteImpl,
  joinGroup,
  mlsExporter,
  processMessage,
} from "ts-mls";
import { decodeKeyPackage, encodeKeyPackage, makeKeyPackageRef } from "ts-mls/keyPackage.js";
import { decodeRatchetTree, encodeRatchetTree } from "ts-mls/ratchetTree.js";
import { decodeWelcome, encodeEncryptedGroupSecrets, encodeWelcome } from "ts-mls/welcome.js";

/**
 * @typedef {import("ts-mls").CiphersuiteImpl} CiphersuiteImpl
 * @typedef {import("ts-mls").ClientState} ClientState
 * @typedef {import("ts-mls").KeyPackage} KeyPackage
 * @typedef {import("ts-mls").Welcome} Welcome
 *
 * @typedef {object} OwnKeyPackage a KeyPackage whose private keys we hold
 * @property {string} ref lower-case hex
 * @property {number} suite
 * @property {boolean} lastResort
 * @property {KeyPackage} publicPackage
 * @property {import("ts-mls").PrivateKeyPackage} privatePackage
 * @property {Uint8Array} bare
 * @property {Uint8Array} wrapped
 *
 * @typedef {object} Group one member's view of a group
 * @property {ClientState} state
 * @property {CiphersuiteImpl} cs
 *
 * @typedef {object} PreparedAdd a Commit that nobody has accepted yet
 * @property {ClientState} nextState
 * @property {import("ts-mls").MLSMessage} commit
 * @property {Welcome} welcome
 * @property {Uint8Array} bareWelcome
 * @property {Uint8Array} wrappedWelcome
 * @property {Uint8Array} ratchetTree
 */

export const rfcSuites = [1, 2, 3, 4, 5, 6, 7];

const lastResortExtension = 0x000a;
const hour = 3600n;
const day = 24n * hour;

const suiteNames = Object.fromEntries(Object.entries(ciphersuites).map(([name, id]) => [id, name]));
const loadedSuites = new Map();

/** @returns {Promise<CiphersuiteImpl>} */
export function cipherSuite(suite) {
  if (!loadedSuites.has(suite)) {
    loadedSuites.set(suite, getCiphersuiteImpl(getCiphersuiteFromName(suiteNames[suite])));
  }
  return loadedSuites.get(suite);
}

export const hex = (bytes) => Buffer.from(bytes).toString("hex");

/** One MLS client: a signature key per suite, and the private keys of its KeyPackages. */
export class Device {
  #signatureKeys = new Map();

  /** @param {string} user @param {string} device @param {{identity?: string}} [options] */
  constructor(user, device, { identity = `${user}/${device}` } = {}) {
    this.user = user;
    this.device = device;
    this.identity = new TextEncoder().encode(identity);
    /** @type {Map<string, OwnKeyPackage>} by ref */
    this.keys = new Map();
  }

  /**
   * @param {number} suite
   * @param {{lastResort?: boolean, capabilities?: object, lifetime?: object}} [options]
   * @returns {Promise<OwnKeyPackage>}
   */
  async newKeyPackage(suite, { lastResort = false, capabilities = leanCapabilities(), lifetime = twelveWeeks() } = {}) {
    const cs = await cipherSuite(suite);
    const credential = { credentialType: "basic", identity: this.identity };
    const extensions = lastResort ? [{ extensionType: lastResortExtension, extensionData: new Uint8Array() }] : [];
    const signatureKey = await this.#signatureKey(suite, cs);
    const made = await generateKeyPackageWithKey(credential, capabilities, lifetime, extensions, signatureKey, cs);

    const ref = hex(await makeKeyPackageRef(made.publicPackage, cs.hash));
    const bare = encodeKeyPackage(made.publicPackage);
    const own = { ref, suite, lastResort, ...made, bare, wrapped: wrapKeyPackage(made.publicPackage) };
    this.keys.set(ref, own);
    return own;
  }

  /** Joins a group from a Welcome that holds exactly one secret, ours. @returns {Promise<Group>} */
  async join(welcome, ratchetTree) {
    assert.equal(welcome.secrets.length, 1, "a delivered Welcome holds one secret");
    const own = this.keys.get(hex(welcome.secrets[0].newMember));
    if (!own) throw new NoMatchingKeyPackage();
    return joinWith(own, welcome, ratchetTree);
  }

  /** What RFC 9420 asks for once a Welcome was used; a last-resort key lives on. */
  forgetKey(ref) {
    if (!this.keys.get(ref)?.lastResort) this.keys.delete(ref);
  }

  #signatureKey(suite, cs) {
    if (!this.#signatureKeys.has(suite)) this.#signatureKeys.set(suite, cs.signature.keygen());
    return this.#signatureKeys.get(suite);
  }
}

/** @param {OwnKeyPackage} own @param {Welcome} welcome @returns {Promise<Group>} */
export async function joinWith(own, welcome, ratchetTree) {
  const cs = await cipherSuite(own.suite);
  const tree = ratchetTree && decodeWhole(decodeRatchetTree, ratchetTree);
  const state = await joinGroup(welcome, own.publicPackage, own.privatePackage, emptyPskIndex, cs, tree);
  return { state, cs };
}

export class NoMatchingKeyPackage extends Error {
  name = "NoMatchingKeyPackage";
}

/**
 * What RFC 9420 §7.2 and §7.3 ask of a leaf, and no more: our credential type is
 * listed, and so is the one extension that is not a default one.
 */
function leanCapabilities() {
  return {
    versions: ["mls10"],
    ciphersuites: rfcSuites.map((suite) => suiteNames[suite]),
    extensions: [lastResortExtension],
    proposals: [],
    credentials: ["basic"],
  };
}

/** GREASE (RFC 9420 §13.5) wherever capabilities may have it, and every time the same. */
export function greasedCapabilities() {
  const lean = leanCapabilities();
  return {
    versions: lean.versions,
    ciphersuites: [...lean.ciphersuites, String(0x0a0a)],
    extensions: [...lean.extensions, 0x1a1a, 0xeaea],
    proposals: [...lean.proposals, 0x2a2a],
    credentials: [...lean.credentials, String(0x3a3a)],
  };
}

/** Starts an hour ago, because no two clocks agree. */
function twelveWeeks() {
  const now = BigInt(Math.floor(Date.now() / 1000));
  return { notBefore: now - hour, notAfter: now + 84n * day };
}

/** @param {Device} device @returns {Promise<Group>} */
export async function newGroup(device, suite) {
  const cs = await cipherSuite(suite);
  const own = await device.newKeyPackage(suite);
  const groupId = new Uint8Array(randomBytes(16));
  return { cs, state: await createGroup(groupId, own.publicPackage, own.privatePackage, [], cs) };
}

/**
 * Makes a Commit that adds the given KeyPackages. The group stays in its epoch
 * until accept: the delivery service may still prefer somebody else's Commit.
 *
 * @param {Group} group
 * @param {Uint8Array[]} keyPackages bare
 * @param {{treeInWelcome?: boolean}} [options]
 * @returns {Promise<PreparedAdd>}
 */
export async function prepareAdd(group, keyPackages, { treeInWelcome = true } = {}) {
  const extraProposals = keyPackages.map((bare) => ({
    proposalType: "add",
    add: { keyPackage: decodeWhole(decodeKeyPackage, bare) },
  }));
  const context = { state: group.state, cipherSuite: group.cs };
  const made = await createCommit(context, { extraProposals, ratchetTreeExtension: treeInWelcome });
  return {
    nextState: made.newState,
    commit: made.commit,
    welcome: made.welcome,
    bareWelcome: encodeWelcome(made.welcome),
    wrappedWelcome: wrapWelcome(made.welcome),
    ratchetTree: encodeRatchetTree(made.newState.ratchetTree),
  };
}

/** The delivery service accepted our Commit. @param {Group} group @param {PreparedAdd} added */
export function accept(group, added) {
  group.state = added.nextState;
}

/** Somebody else's Commit was accepted. @param {Group} group */
export async function follow(group, commit) {
  const result = await processMessage(commit, group.state, emptyPskIndex, acceptAll, group.cs);
  group.state = result.newState;
}

/** Every member derived the same epoch. @param {Group[]} members */
export async function assertSameEpoch(members) {
  const [first, ...others] = await Promise.all(members.map(epochSecrets));
  for (const other of others) assert.deepEqual(other, first, "all members derive the same secrets");
}

async function epochSecrets({ state, cs }) {
  const context = new Uint8Array([1]);
  const exported = await mlsExporter(state.keySchedule.exporterSecret, "welcomed interop", context, 32, cs);
  return {
    groupId: hex(state.groupContext.groupId),
    epoch: state.groupContext.epoch,
    epochAuthenticator: hex(state.keySchedule.epochAuthenticator),
    exported: hex(exported),
  };
}

/**
 * A slice is the posted Welcome with all secrets but one left out, byte for byte.
 *
 * @param {Welcome} slice @param {Welcome} posted
 */
export function assertSliceOf(slice, posted, ref) {
  assert.equal(slice.cipherSuite, posted.cipherSuite);
  assert.deepEqual(slice.encryptedGroupInfo, posted.encryptedGroupInfo);
  assert.deepEqual(slice.secrets.map(hexSecret), posted.secrets.filter((s) => hex(s.newMember) === ref).map(hexSecret));
}

const hexSecret = (secret) => hex(encodeEncryptedGroupSecrets(secret));

export const parseBareKeyPackage = (bytes) => decodeWhole(decodeKeyPackage, bytes);
export const parseBareWelcome = (bytes) => decodeWhole(decodeWelcome, bytes);
export const parseWrappedKeyPackage = (bytes) => unwrap(bytes, "mls_key_package").keyPackage;
export const parseWrappedWelcome = (bytes) => unwrap(bytes, "mls_welcome").welcome;

function unwrap(bytes, wireformat) {
  const message = decodeWhole(decodeMlsMessage, bytes);
  assert.equal(message.wireformat, wireformat);
  return message;
}

const wrapKeyPackage = (keyPackage) => encodeMlsMessage({ version: "mls10", wireformat: "mls_key_package", keyPackage });
const wrapWelcome = (welcome) => encodeMlsMessage({ version: "mls10", wireformat: "mls_welcome", welcome });

/** ts-mls decoders stop where their struct ends; a stray byte would go unseen. */
function decodeWhole(decode, bytes) {
  const decoded = decode(bytes, 0);
  assert.ok(decoded, "ts-mls can parse what it was given");
  const [value, length] = decoded;
  assert.equal(length, bytes.length, "nothing follows the struct");
  return value;
}
