// The client against welcomed dev, as an application's own tests would have it: what happens
// to a real server on a bad day happens when the test says so.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { Client, Device, MemoryKeyStore } from "../dist/index.js";
import { binary } from "../../../trials/harness/server.js";
import { maker } from "./app.js";

const phone = { user: "alice", device: "phone" };
let server, baseURL, client;

before(async () => {
  server = spawn(binary, ["dev", "--listen", "127.0.0.1:0"], { stdio: ["ignore", "pipe", "inherit"] });
  for await (const line of createInterface({ input: server.stdout })) {
    if ((baseURL = line.match(/API +(http:\S+)/)?.[1])) break;
  }
  server.stdout.resume();
  client = new Client({ baseURL });
});
after(() => server?.kill());

/** Has the server do something. */
async function control(path, query) {
  const response = await fetch(`${baseURL}/dev/${path}?${new URLSearchParams(query)}`, { method: "POST" });
  assert.equal(response.status, 200, await response.clone().text());
  return response.json();
}

test("a device whose KeyPackages are gone publishes others, although an answer is lost", async () => {
  const keys = new MemoryKeyStore();
  const device = new Device({ client, device: phone, keys, make: maker(phone), join: async () => "joined", joined: async () => true, low: 3, high: 5 });
  await device.reconcile();
  const available = async () => (await client.devices("alice")).devices[0].counts[0].available;
  const full = await available();
  await control("exhaust", { user: "alice" });
  assert.ok((await available()) < full);
  await control("lose-next-reply", { path: "key-packages" });
  await device.reconcile();
  assert.equal(await available(), full);
});

test("the clock goes on when it is told to", async () => {
  const before = new Date((await client.about()).time);
  await control("clock", { seconds: 8 * 24 * 3600 });
  const days = (new Date((await client.about()).time) - before) / (24 * 3600 * 1000);
  assert.ok(days >= 8 && days < 9, `${days} days`);
});

test("a full disk is a problem with a code", async () => {
  await control("full-disk", { is: "on" });
  const own = await maker(phone)({ cipher_suite: 1 });
  const impatient = new Client({ baseURL, patience: 0 });
  await assert.rejects(impatient.publish(phone, [own.key_package]), { code: "store_full" });
  await control("full-disk", { is: "off" });
  await client.publish(phone, [own.key_package]);
});
