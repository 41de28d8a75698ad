// The server whose status page is looked at, and what it says of itself.

import assert from "node:assert/strict";
import { join } from "node:path";
import { pause, Server } from "../harness/server.js";
import { newClient } from "../interop/scenario.js";

const patience = 30_000;

/** A server of which operators read. */
export class Watched extends Server {
  get api() {
    return newClient(this.url);
  }

  async backUp() {
    await this.command("backup", "-o", join(this.directory, `backup-${Date.now()}.db`));
  }

  /** @returns {Promise<object>} /status.json */
  async status() {
    return (await this.get("status.json")).json();
  }

  /** @returns {Promise<(series: string) => number>} what a scrape sees */
  async scrape() {
    const samples = new Map();
    for (const line of (await (await this.get("metrics")).text()).split("\n")) {
      const space = line.lastIndexOf(" ");
      if (line && !line.startsWith("#")) samples.set(line.slice(0, space), Number(line.slice(space + 1)));
    }
    return (series) => {
      assert.ok(samples.has(`welcomed_${series}`), `/metrics has welcomed_${series}`);
      return samples.get(`welcomed_${series}`);
    };
  }

  async get(path) {
    const response = await fetch(this.adminURL + path);
    assert.equal(response.status, 200, `GET /${path}`);
    return response;
  }

  /** Waits until the status is as wanted. */
  async until(what, wanted) {
    for (const end = Date.now() + patience; ; await pause(200)) {
      const status = await this.status();
      if (wanted(status)) return status;
      assert.ok(Date.now() < end, `waited in vain for ${what}: ${JSON.stringify(status.problems)}`);
    }
  }
}
