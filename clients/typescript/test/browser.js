// The client in a real Chromium, in a page of another origin than the server's. ts-mls runs
// here, and the page calls it; everything else is done in the page.

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { Server } from "../../../trials/harness/server.js";
import { hex, newGroup, prepareAdd } from "../../../trials/interop/mls.js";
import { newClient, newDevice } from "../../../trials/interop/scenario.js";
import { launch } from "../../../trials/statuspage/browser.js";
import { joinDelivered, maker } from "./app.js";

const alice = { user: "alice", device: "tab" };
let pages, origin, server, browser, page;
const complaints = [];

before(async () => {
  pages = createServer(async (request, response) => {
    if (request.url === "/") return response.setHeader("Content-Type", "text/html").end("<!doctype html><title>an application</title>");
    const file = new URL(`../dist/${request.url.slice(1)}`, import.meta.url);
    response.setHeader("Content-Type", "text/javascript").end(await readFile(file).catch(() => ""));
  });
  await once(pages.listen(0, "127.0.0.1"), "listening");
  origin = `http://localhost:${pages.address().port}`;
  server = await Server.start("--cors-origin", origin);
  browser = await launch();
  page = await browser.newPage();
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.goto(origin);
});
after(async () => {
  await browser?.close();
  await server?.remove();
  pages?.close();
});

const unpacked = (value) => JSON.parse(value, (_, v) => (Array.isArray(v?.bytes) ? new Uint8Array(v.bytes) : v));
const packed = (value) => JSON.stringify(value, (_, v) => (v instanceof Uint8Array ? { bytes: [...v] } : v));

test("answers and refusals are read, with the headers that a client needs", async () => {
  const seen = await page.evaluate(async (baseURL) => {
    const { Client } = await import("/index.js");
    const client = new Client({ baseURL });
    const { version, ready } = await client.about();
    const refused = await client.reserve({ users: [] }).catch((error) => error);
    const { headers } = await client.request({ method: "GET", path: "/v1/users/alice/devices/tab/key-packages" });
    return { version, ready, name: refused.name, code: refused.code, requestId: refused.requestId, etag: headers.get("ETag") };
  }, server.url);
  assert.deepEqual([seen.ready, seen.name, seen.code], [true, "Problem", "bad_request"]);
  assert.ok(seen.version && seen.requestId && seen.etag);
});

test("a device in a page publishes, is added, waits, joins and acknowledges", async () => {
  const groups = new Map();
  const make = maker(alice);
  await page.exposeFunction("make", async (kind) => packed(await make(JSON.parse(kind))));
  await page.exposeFunction("join", async (welcome, keyPackage) => {
    const { state } = await joinDelivered(unpacked(welcome), unpacked(keyPackage));
    groups.set(JSON.parse(welcome).id, hex(state.keySchedule.epochAuthenticator));
  });
  await page.evaluate(async ({ baseURL, alice }) => {
    const { Client, Device, MemoryKeyStore } = await import("/index.js");
    const unpacked = (value) => JSON.parse(value, (_, v) => (Array.isArray(v?.bytes) ? new Uint8Array(v.bytes) : v));
    const packed = (value) => JSON.stringify(value, (_, v) => (v instanceof Uint8Array ? { bytes: [...v] } : v));
    const joined = new Set();
    window.errors = [];
    window.stop = new AbortController();
    const device = new Device({
      client: new Client({ baseURL }),
      device: alice,
      keys: new MemoryKeyStore(),
      make: async (kind) => unpacked(await window.make(JSON.stringify(kind))),
      join: async (welcome, keyPackage) => {
        await window.join(packed(welcome), packed(keyPackage));
        joined.add(welcome.id);
        return "joined";
      },
      joined: async ({ id }) => joined.has(id),
      low: 2,
      high: 3,
      onError: (error) => window.errors.push(String(error)),
    });
    await device.reconcile();
    window.running = device.run(window.stop.signal);
  }, { baseURL: server.url, alice });

  const api = newClient(server.url);
  const { users } = await api.reserve({ users: [alice.user] });
  const added = await prepareAdd(await newGroup(newDevice("adder"), 1), [users[0].devices[0].key_package.bytes]);
  const { id } = await api.post({ welcome: added.wrappedWelcome });
  while ((await api.outcome(id)).recipients[0].status !== "acknowledged") {
    assert.deepEqual(await page.evaluate(() => window.errors), []);
  }
  assert.equal(groups.get(id), hex(added.nextState.keySchedule.epochAuthenticator));
  await page.evaluate(() => (window.stop.abort(), window.running));
  assert.deepEqual(complaints, []);
});

test("a page of an origin that is not named learns nothing", async () => {
  const other = await browser.newPage();
  await other.goto(origin.replace("localhost", "127.0.0.1"));
  const name = await other.evaluate(async (baseURL) => {
    const { Client } = await import("/index.js");
    return new Client({ baseURL, patience: 0 }).about().catch((error) => error.name);
  }, server.url);
  assert.equal(name, "Unreachable");
});
