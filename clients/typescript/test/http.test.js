// When a request is sent again, and when it is not. No server, no network and no time.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, Problem, Unreachable } from "../dist/index.js";

const device = { user: "alice", device: "phone" };

/** A client of a server that gives these answers in turn, and what it was asked. */
function scripted(answers, options = {}) {
  const requests = [];
  const pauses = [];
  const fetch = async (url, init) => {
    init.signal.throwIfAborted();
    requests.push({ url, ...init });
    const answer = answers[Math.min(requests.length, answers.length) - 1];
    if (answer instanceof Error) throw answer;
    return answer();
  };
  const around = { random: () => 0.5, sleep: async (ms) => void pauses.push(ms) };
  return { client: new Client({ baseURL: "http://there/", fetch, ...options }, around), requests, pauses };
}

const ok = (body = {}) => () => Response.json(body);
const problem = (status, code, headers = {}) => () =>
  new Response(JSON.stringify({ status, code, detail: "why" }), {
    status,
    headers: { "Content-Type": "application/problem+json", "Request-Id": "R1", ...headers },
  });
const broken = new TypeError("fetch failed");
const reserved = ok({ users: [] });

test("a request that got lost is repeated as it was, with the same Idempotency-Key", async () => {
  const { client, requests } = scripted([broken, problem(503, "outcome_unknown"), problem(500, "internal"), reserved]);
  await client.reserve({ users: ["bob"] });
  const [key, ...others] = requests.map(({ headers }) => headers.get("Idempotency-Key"));
  assert.match(key, /^[!-~]{16,255}$/);
  assert.deepEqual(others, [key, key, key]);
  assert.equal(new Set(requests.map(({ body }) => body)).size, 1);
});

test("two reservations have different keys", async () => {
  const { client, requests } = scripted([reserved]);
  await client.reserve({ users: ["bob"] });
  await client.reserve({ users: ["bob"] });
  const keys = requests.map(({ headers }) => headers.get("Idempotency-Key"));
  assert.notEqual(keys[0], keys[1]);
});

test("Retry-After is obeyed, with something on top that differs from client to client", async () => {
  const { client, pauses } = scripted([problem(429, "too_many_publications", { "Retry-After": "20" }), ok()]);
  await client.publish(device, [new Uint8Array(1)]);
  assert.deepEqual(pauses, [22_500]);
});

for (const code of ["target_budget", "list_budget"]) {
  test(`429 ${code} is asked for again, if that is soon`, async () => {
    const { client, requests } = scripted([problem(429, code, { "Retry-After": "5" }), reserved]);
    await client.reserve({ users: ["bob"] });
    assert.equal(requests.length, 2);
  });
}

test("without Retry-After the pauses grow", async () => {
  const { client, pauses } = scripted([broken, broken, broken, ok()]);
  await client.about();
  assert.deepEqual(pauses, [187.5, 375, 750]);
});

test("who would wait longer than it has patience is told at once for how long", async () => {
  const { client, pauses } = scripted([problem(429, "caller_budget", { "Retry-After": "600" })]);
  await assert.rejects(client.reserve({ users: ["bob"] }), (error) => {
    assert.ok(error instanceof Problem);
    assert.deepEqual([error.status, error.code, error.retryAfter, error.requestId], [429, "caller_budget", 600, "R1"]);
    return true;
  });
  assert.deepEqual(pauses, []);
});

test("a network that stays away is an error in the end", async () => {
  const { client, pauses } = scripted([broken]);
  await assert.rejects(client.about(), (error) => error instanceof Unreachable && error.cause === broken);
  assert.ok(pauses.reduce((a, b) => a + b) <= 60_000);
});

for (const [status, code] of [
  [400, "bad_request"],
  [403, "device_removed"],
  [404, "not_found"],
  [409, "no_matching_key_package"],
  [409, "stock_full"],
  [412, "inventory_changed"],
  [422, "too_many"],
  [429, "pair_budget"],
  [507, "store_full"],
]) {
  test(`${status} ${code} is a decision and not asked for twice`, async () => {
    const { client, requests } = scripted([problem(status, code, { "Retry-After": "1" })]);
    await assert.rejects(client.post({ welcome: new Uint8Array(1) }), (error) => error.code === code);
    assert.equal(requests.length, 1);
  });
}

test("a token is not made twice, unless the server has refused to", async () => {
  const lost = scripted([broken]);
  await assert.rejects(lost.client.createToken(device), Unreachable);
  assert.equal(lost.requests.length, 1);
  const refused = scripted([problem(429, "too_many_requests", { "Retry-After": "1" }), ok({ id: "t", token: "secret" })]);
  assert.equal((await refused.client.createToken(device)).token, "secret");
});

test("a token that has expired is replaced once", async () => {
  const asked = [];
  const token = async (refused) => (asked.push(refused), refused ? "new" : "old");
  const { client, requests } = scripted([problem(401, "invalid_token"), ok()], { token });
  await client.about();
  assert.deepEqual(asked, [undefined, "old"]);
  assert.deepEqual(requests.map(({ headers }) => headers.get("Authorization")), ["Bearer old", "Bearer new"]);

  const never = scripted([problem(401, "invalid_token")], { token });
  await assert.rejects(never.client.about(), (error) => error.code === "invalid_token");
  assert.equal(never.requests.length, 2);
});

test("a fixed token that is refused is refused", async () => {
  const { client, requests } = scripted([problem(401, "invalid_token")], { token: "old" });
  await assert.rejects(client.about(), Problem);
  assert.equal(requests.length, 1);
});

test("a proxy's error has no code", async () => {
  const { client } = scripted([() => new Response("<html>", { status: 502 })], { patience: 0 });
  await assert.rejects(client.about(), (error) => error instanceof Problem && error.status === 502 && error.code === "");
});

test("an answer that is no JSON is none of the server's", async () => {
  const { client } = scripted([() => new Response("<html>sign in to this network")]);
  await assert.rejects(client.about(), Unreachable);
});

test("a signal ends a call before, in and between attempts, and is what the call throws", async () => {
  const reason = new Error("the user has left");
  const { client, requests } = scripted([broken]);
  await assert.rejects(client.about({ signal: AbortSignal.abort(reason) }), reason);
  assert.equal(requests.length, 0);

  const during = new AbortController();
  const hangs = new Client({
    baseURL: "http://there",
    fetch: (_, { signal }) => new Promise((_, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason));
      during.abort(reason);
    }),
  });
  await assert.rejects(hangs.about({ signal: during.signal }), reason);

  const between = new AbortController();
  const waits = new Client({
    baseURL: "http://there",
    fetch: async () => {
      setImmediate(() => between.abort(reason));
      return problem(503, "overloaded", { "Retry-After": "20" })();
    },
  });
  await assert.rejects(waits.about({ signal: between.signal }), reason);
});

test("fields that are not known yet stay in an answer", async () => {
  const { client } = scripted([ok({ version: "2", colour: "blue" })]);
  assert.equal((await client.about()).colour, "blue");
});

test("ids are percent-encoded, and no cookie or cache comes between", async () => {
  const { client, requests } = scripted([ok({ devices: [] })]);
  await client.list("o'brien|a/b@x", { cipher_suite: [1, 2], device: "my phone" });
  const [{ url, credentials, cache, redirect }] = requests;
  assert.equal(url, "http://there/v1/users/o'brien%7Ca%2Fb%40x/key-packages?cipher_suite=1&cipher_suite=2&device=my+phone");
  assert.deepEqual([credentials, cache, redirect], ["omit", "no-store", "error"]);
});
