// One life of an application that keeps everything in files. It is killed at its point
// CRASH_AT, if it comes that far: before or after something is sent, written or deleted.

import { closeSync, openSync, readdirSync, readFileSync, renameSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { hex } from "../../../trials/interop/mls.js";
import { Client, Device } from "../dist/index.js";
import { joinDelivered, maker } from "./app.js";

const { DIRECTORY, SERVER, CRASH_AT = "Infinity" } = process.env;
const device = { user: "alice", device: "phone" };
let points = 0;

function point(name) {
  points++;
  if (points < Number(CRASH_AT)) return;
  writeSync(1, `${name}\n`);
  process.kill(process.pid, "SIGKILL");
  for (;;); // until the signal has come
}

/** Does something that another process sees, and may be killed before and after. */
async function step(name, does) {
  point(`before ${name}`);
  const result = await does();
  point(`after ${name}`);
  return result;
}

const path = (kind, id) => join(DIRECTORY, `${kind}-${id}.json`);
const ids = (kind) =>
  readdirSync(DIRECTORY)
    .filter((name) => name.startsWith(`${kind}-`) && name.endsWith(".json"))
    .map((name) => name.slice(kind.length + 1, -5));

/** In one write: who looks sees all of it or nothing. Bytes are written as hex. */
function write(kind, id, value) {
  const file = openSync(`${path(kind, id)}.new`, "w");
  writeSync(file, JSON.stringify(value, (_, v) => (v instanceof Uint8Array ? { hex: hex(v) } : v)));
  closeSync(file);
  point(`amid the writing of a ${kind}`);
  renameSync(`${path(kind, id)}.new`, path(kind, id));
}

function read(kind, id) {
  if (!ids(kind).includes(id)) return undefined;
  return JSON.parse(readFileSync(path(kind, id), "utf8"), (_, v) => (v?.hex !== undefined ? new Uint8Array(Buffer.from(v.hex, "hex")) : v));
}

const keys = {
  add: (list) => step("keys are saved", () => list.forEach((k) => write("key", k.ref, k))),
  get: async (ref) => read("key", ref),
  list: async () => ids("key").map((ref) => read("key", ref)),
  delete: (refs) => step("keys are deleted", () => refs.forEach((ref) => rmSync(path("key", ref), { force: true }))),
};

async function joinGroup(welcome, key) {
  const { state } = await joinDelivered(welcome, key);
  const authenticator = hex(state.keySchedule.epochAuthenticator);
  await step("a group is saved", () => write("group", welcome.id, { authenticator }));
  // As an MLS library does, which has used the key.
  if (!key.last_resort) await keys.delete([key.ref]);
  return "joined";
}

const client = new Client({
  baseURL: SERVER,
  fetch: (url, init) => {
    const what = `${init.method} ${new URL(url).pathname.split("/").at(-1).replace(/^[0-9a-f]{64}$/, "key-package")}`;
    return step(what, () => fetch(url, init));
  },
});

const phone = new Device({
  client,
  device,
  keys,
  make: maker(device),
  join: joinGroup,
  joined: async ({ id }) => ids("group").includes(id),
  low: 4, // so that each life publishes
  high: 4,
  onError: (error) => {
    throw error;
  },
});

await phone.receive();
await phone.reconcile();
writeSync(1, `${points}\n`);
