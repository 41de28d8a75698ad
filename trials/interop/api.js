// The HTTP API, one method per row of docs/api. A method returns { status,
// headers, body } for the answers its row lists and throws Problem for errors.

import assert from "node:assert/strict";

/** An error answer (RFC 9457). `code` is what clients tell errors apart by. */
export class Problem extends Error {
  name = "Problem";

  constructor(request, status, body) {
    super(`${request}: ${status} ${body?.code}: ${body?.detail ?? body?.title ?? ""}`);
    this.status = status;
    this.code = body?.code;
    this.body = body;
  }
}

export const toBase64 = (bytes) => Buffer.from(bytes).toString("base64");

/** A plain Uint8Array, as ts-mls makes them: deepEqual takes a Buffer for something else. */
export const fromBase64 = (text) => new Uint8Array(Buffer.from(text, "base64"));

// Above the longest long-poll, so that it only ends what would hang for ever.
const requestTimeout = 120_000;

/** @typedef {{user: string, name: string}} DeviceName */

const user = (id) => `/v1/users/${encodeURIComponent(id)}`;
const device = (d) => `${user(d.user)}/devices/${encodeURIComponent(d.name)}`;
const welcome = (id) => `/v1/welcomes/${id}`;

export class Api {
  constructor(baseURL) {
    this.baseURL = baseURL;
  }

  about() {
    return this.#call("GET", "/v1", { expect: [200] });
  }

  // Devices and their KeyPackages

  /** @param {DeviceName} d @param {Uint8Array[]} keyPackages bare or in MLSMessage */
  publish(d, keyPackages) {
    return this.#call("POST", `${device(d)}/key-packages`, { json: encodeKeyPackages(keyPackages), expect: [201] });
  }

  publishRaw(d, keyPackage) {
    return this.#call("POST", `${device(d)}/key-packages`, { mls: keyPackage, expect: [201] });
  }

  replace(d, keyPackages, query = {}) {
    const json = encodeKeyPackages(keyPackages);
    return this.#call("PUT", `${device(d)}/key-packages`, { query, json, expect: [200] });
  }

  inventory(d, headers = {}) {
    return this.#call("GET", `${device(d)}/key-packages`, { headers, expect: [200, 304] });
  }

  sync(d, json, { digest, query = {} } = {}) {
    const headers = digest ? { "If-Match": digest } : {};
    return this.#call("POST", `${device(d)}/key-packages/sync`, { json, headers, query, expect: [200] });
  }

  withdraw(d, ref) {
    return this.#call("DELETE", `${device(d)}/key-packages/${ref}`, { expect: [204] });
  }

  devices(userId) {
    return this.#call("GET", `${user(userId)}/devices`, { expect: [200] });
  }

  removeDevice(d) {
    return this.#call("DELETE", device(d), { expect: [204] });
  }

  removeUser(userId) {
    return this.#call("DELETE", user(userId), { expect: [204] });
  }

  // Adding somebody

  list(userId, query = {}) {
    return this.#call("GET", `${user(userId)}/key-packages`, { query, expect: [200] });
  }

  reserve(json, { idempotencyKey, query = {} } = {}) {
    const headers = idempotencyKey ? { "Idempotency-Key": idempotencyKey } : {};
    return this.#call("POST", "/v1/key-packages/reserve", { json, headers, query, expect: [200] });
  }

  /** @param {{welcome: Uint8Array, ratchetTree?: Uint8Array, context?: Uint8Array}} post */
  post({ welcome, ratchetTree, context }, query = {}) {
    const json = {
      welcome: toBase64(welcome),
      ratchet_tree: ratchetTree && toBase64(ratchetTree),
      context: context && toBase64(context),
    };
    return this.#call("POST", "/v1/welcomes", { query, json, expect: [200, 201] });
  }

  postRaw(welcome, query = {}) {
    return this.#call("POST", "/v1/welcomes", { query, mls: welcome, expect: [200, 201] });
  }

  outcome(id) {
    return this.#call("GET", welcome(id), { expect: [200] });
  }

  release(id) {
    return this.#call("POST", `${welcome(id)}/release`, { expect: [200] });
  }

  cancel(id) {
    return this.#call("DELETE", welcome(id), { expect: [200] });
  }

  keyPackage(ref) {
    return this.#call("GET", `/v1/key-packages/${ref}`, { expect: [200] });
  }

  // Joining

  claim(d, { json, query = {} } = {}) {
    return this.#call("POST", `${device(d)}/claim`, { query, json, expect: [200] });
  }

  /** At most one Welcome, as bytes; what JSON would say besides is in the headers. */
  claimRaw(d, query = {}) {
    const headers = { Accept: "message/mls" };
    return this.#call("POST", `${device(d)}/claim`, { query, headers, expect: [200, 204] });
  }

  ratchetTree(d, id, headers = {}) {
    return this.#call("GET", `${device(d)}/welcomes/${id}/ratchet-tree`, { headers, expect: [200, 206] });
  }

  acknowledge(d, id, json) {
    return this.#call("POST", `${device(d)}/welcomes/${id}/ack`, { json, expect: [204] });
  }

  reject(d, id, json) {
    return this.#call("POST", `${device(d)}/welcomes/${id}/reject`, { json, expect: [204] });
  }

  async #call(method, path, { query = {}, headers = {}, json, mls, expect }) {
    const response = await fetch(`${this.baseURL}${path}${queryString(query)}`, {
      method,
      headers: { ...headers, ...contentType({ json, mls }) },
      body: mls ?? (json && JSON.stringify(json)),
      signal: AbortSignal.timeout(requestTimeout),
    });
    const answer = { status: response.status, headers: response.headers, body: await readBody(response) };
    const request = `${method} ${path}`;
    assert.ok(answer.headers.get("Request-Id"), `${request}: every answer carries Request-Id`);
    if (answer.status >= 400) throw new Problem(request, answer.status, answer.body);
    assert.ok(expect.includes(answer.status), `${request}: ${answer.status} is not one of ${expect}`);
    return answer;
  }
}

const encodeKeyPackages = (keyPackages) => ({ key_packages: keyPackages.map(toBase64) });

function queryString(query) {
  const text = new URLSearchParams(query).toString();
  return text && `?${text}`;
}

function contentType({ json, mls }) {
  if (mls) return { "Content-Type": "message/mls" };
  return json ? { "Content-Type": "application/json" } : {};
}

async function readBody(response) {
  const type = response.headers.get("Content-Type") ?? "";
  if (/^application\/(.+\+)?json\b/.test(type)) return response.json();
  const bytes = new Uint8Array(await response.arrayBuffer());
  return bytes.length > 0 ? bytes : undefined;
}
