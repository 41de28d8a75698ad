// Whenever the process is killed, no Welcome is lost, and none is rejected.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdir, readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { Server } from "../../../trials/harness/server.js";
import { hex, newGroup, prepareAdd } from "../../../trials/interop/mls.js";
import { newClient, newDevice } from "../../../trials/interop/scenario.js";
import { refsDigest } from "../dist/index.js";

const kills = Number(process.env.KILLS ?? 12);
const stride = 7; // few kills are spread over a life, and many are everywhere in it
const child = fileURLToPath(new URL("crash-child.js", import.meta.url));
const alice = { user: "alice", device: "phone" };

test(`killed ${kills} times between claim, save and acknowledge, it is in every group`, async (t) => {
  const server = await Server.start();
  t.after(() => server.remove());
  const api = newClient(server.url);
  const directory = join(server.directory, "phone");
  await mkdir(directory);
  const posted = new Map();
  const died = new Map();

  /** A life, which ends by itself or at a point. @returns {Promise<string>} what it said last */
  async function live(crashAt) {
    const env = { ...process.env, DIRECTORY: directory, SERVER: server.url, CRASH_AT: String(crashAt) };
    const process_ = spawn(process.execPath, [child], { env, stdio: ["ignore", "pipe", "inherit"] });
    const ended = new Promise((resolve) => process_.once("close", (code, signal) => resolve(signal ?? code)));
    const said = (await text(process_.stdout)).trim();
    const how = await ended;
    assert.ok(how === "SIGKILL" || how === 0, `the process ended with ${how}`);
    if (how === "SIGKILL") died.set(said, (died.get(said) ?? 0) + 1);
    return how === "SIGKILL" ? undefined : Number(said);
  }

  async function addAlice() {
    const { users } = await api.reserve({ users: [alice.user] });
    const { key_package: keyPackage } = users[0].devices[0];
    const added = await prepareAdd(await newGroup(newDevice("adder"), 1), [keyPackage.bytes]);
    const { id } = await api.post({ welcome: added.wrappedWelcome });
    posted.set(id, hex(added.nextState.keySchedule.epochAuthenticator));
  }

  await live(Infinity);
  await addAlice();
  await addAlice();
  const points = await live(Infinity);
  for (let killed = 0, at = 1; killed < kills; at = ((at + stride - 1) % points) + 1) {
    await addAlice();
    if ((await live(at)) === undefined) killed++;
  }
  await live(Infinity);

  for (const [id, authenticator] of posted) {
    const [{ status }] = (await api.outcome(id)).recipients;
    assert.equal(status, "acknowledged");
    assert.equal(JSON.parse(await readFile(join(directory, `group-${id}.json`), "utf8")).authenticator, authenticator);
  }
  const files = await readdir(directory);
  assert.equal(files.filter((name) => /^group-.*json$/.test(name)).length, posted.size);
  const refs = files.filter((name) => /^key-.*json$/.test(name)).map((name) => name.slice(4, -5));
  assert.ok((await api.compare(alice, await refsDigest(refs))).in_sync, "no key is missing or left over");
  t.diagnostic(`a life has ${points} points`);
  for (const [where, times] of [...died].sort()) t.diagnostic(`${times} times ${where}`);
});
