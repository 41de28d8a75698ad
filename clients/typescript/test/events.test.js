// Streams of events, over lines that break. No server, no network and no time.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Client, StreamEnded, Unreachable } from "../dist/index.js";

const device = { user: "alice", device: "phone" };

/**
 * A client of a server that has `count` events, and ends each answer as `cut` says of its
 * number: an answer is a text, of which pieces come.
 */
function server(count, cut, options = {}) {
  const requests = [];
  const pauses = [];
  const fetch = async (url, init) => {
    init.signal.throwIfAborted();
    requests.push({ url, ...init });
    const after = Number(new URL(url).searchParams.get("after") ?? 0);
    let text = `{"type":"open","id":"${after}"}\n`;
    for (let n = after + 1; n <= count; n++) text += `{"type":"welcome","id":"${n}","welcome":"W${n} é"}\n{"type":"heartbeat","id":"${n}"}\n`;
    const answer = cut(requests.length, text);
    if (typeof answer !== "string") return answer;
    const bytes = new TextEncoder().encode(answer);
    let at = 0;
    const body = new ReadableStream({
      pull(controller) {
        if (at < bytes.length) controller.enqueue(bytes.slice(at, (at += 7)));
        else if (requests.length % 2) controller.error(new TypeError("terminated"));
        else controller.close();
      },
    });
    return new Response(body, { headers: { "Content-Type": "application/x-ndjson" } });
  };
  const around = { now: () => 0, random: () => 0.5, sleep: async (ms, signal) => (signal?.throwIfAborted(), pauses.push(ms), new Promise(setImmediate)) };
  return { client: new Client({ baseURL: "http://there/", fetch, ...options }, around), requests, pauses };
}

test("each event is told once, wherever the stream breaks", async () => {
  const { client, requests } = server(50, (n, text) => text.slice(0, 200 + 37 * (n % 5)));
  const told = [];
  for await (const event of client.events(device)) {
    told.push(event.type === "open" ? "open" : event.welcome);
    if (told.length === 51) break;
  }
  assert.deepEqual(told, ["open", ...Array.from({ length: 50 }, (_, i) => `W${i + 1} é`)]);
  assert.ok(requests.length > 10);
  assert.equal(requests[0].url, "http://there/v1/users/alice/devices/phone/events");
});

test("a gap is told, also later on", async () => {
  const { client } = server(2, (n) => `{"type":"open","id":"7"${n === 2 ? "" : ',"gap":"restored"'}}\n`);
  const gaps = [];
  for await (const { gap } of client.events(device, { after: "1" })) if (gaps.push(gap) === 2) break;
  assert.deepEqual(gaps, ["restored", "restored"]);
});

test("it waits before it connects again, and longer when it was displaced", async () => {
  const { client, pauses } = server(0, (n, text) => (n < 3 ? text : `{"type":"end","id":"1","reason":"displaced"}\n`));
  let failed;
  const stop = new AbortController();
  const following = (async () => {
    for await (const _ of client.events(device, { signal: stop.signal }));
  })().catch((error) => (failed = error));
  while (pauses.length < 4) await new Promise(setImmediate);
  stop.abort();
  await following;
  assert.equal(failed.name, "AbortError");
  assert.deepEqual(pauses.slice(0, 4), [187.5, 375, 45_000, 45_000]);
});

test("it gives up when it cannot connect for longer than its patience, and at what a repeat does not help", async () => {
  const lost = server(0, () => {
    throw new TypeError("fetch failed");
  }, { patience: 1000 });
  await assert.rejects(lost.client.events(device).next(), Unreachable);
  assert.equal(lost.requests.length, 3);
  const forbidden = server(0, () => Response.json({}, { status: 403 }));
  await assert.rejects(forbidden.client.events(device).next(), { name: "Problem", status: 403 });
});

test("one connection ends with why", async () => {
  const { client } = server(0, () => `{"type":"end","id":"1","reason":"shutting_down"}\n`);
  await assert.rejects(client.stream(device).next(), (error) => error instanceof StreamEnded && error.reason === "shutting_down");
});
