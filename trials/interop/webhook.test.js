// A back end in JavaScript is told by the server that a phone which sleeps has a Welcome. It
// checks each message with the library that the authors of Standard Webhooks publish.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { Webhook } from "standardwebhooks";
import { Server } from "../harness/server.js";
import { claimAndJoin, commitAndDeliver, newClient, newDevice, prepareGroup, publish, reserve } from "./scenario.js";

const secrets = [1, 2].map(() => `whsec_${randomBytes(32).toString("base64")}`);
const messages = []; // that have come and that nobody has waited for
const awaited = [];
let receiver, server, api;

before(async () => {
  receiver = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const message = { body: Buffer.concat(chunks).toString(), headers: request.headers };
    response.writeHead(204).end();
    const waiting = awaited.shift();
    if (waiting) waiting(message);
    else messages.push(message);
  });
  await new Promise((resolve) => receiver.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${receiver.address().port}/hooks`;
  server = await Server.start("--webhook-url", url, "--webhook-allow", "127.0.0.1", "--webhook-secret", secrets.join(" "));
  api = newClient(server.url);
});

after(async () => {
  await server?.remove();
  receiver?.close();
});

const nextMessage = () => messages.shift() ?? new Promise((resolve) => awaited.push(resolve));

test("a phone is woken by a message that either secret verifies, and joins", async () => {
  const [alice, bob] = [newDevice("alice"), newDevice("bob")];
  await publish(api, alice, 1, 2);
  const { group, added } = await prepareGroup(bob, 1, (await reserve(api, [alice.user], 1)).map(({ bytes }) => bytes));
  await commitAndDeliver(api, group, added);

  const { body, headers } = await nextMessage();
  for (const secret of secrets) {
    const message = new Webhook(secret).verify(body, headers);
    assert.equal(message.type, "welcome");
    assert.deepEqual({ ...message.data, id: "" }, { id: "", user: alice.user, device: alice.device });
  }
  assert.throws(() => new Webhook(secrets[0]).verify(`${body} `, headers), "another body");
  assert.throws(() => new Webhook(`whsec_${randomBytes(32).toString("base64")}`).verify(body, headers), "another secret");
  await claimAndJoin(api, alice, added.welcome);
});
