// Starts and stops the real binary, as an operator would: what server.go is for programs in Go.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { freeAddress } from "./address.js";

const run = promisify(execFile);
const patience = 30_000;

export const repository = fileURLToPath(new URL("../..", import.meta.url));
export const binary = process.env.WELCOMED_BIN ?? join(repository, "build/welcomed");

/** A server on a file of its own that can be stopped and started again. */
export class Server {
  #child;
  #flags;
  log = [];

  /** @param {string[]} flags of serve @returns {Promise<Server>} */
  static async start(...flags) {
    const server = new this();
    server.directory = await mkdtemp(join(tmpdir(), "welcomed-trial-"));
    server.db = join(server.directory, "welcomed.db");
    server.#flags = ["--log-format", "json", ...(flags.includes("--auth") ? [] : ["--auth", "none"]), ...flags];
    try {
      await server.#serve(await freeAddress(), await freeAddress());
    } catch (error) {
      await server.remove();
      throw error;
    }
    return server;
  }

  async #serve(listen, adminListen) {
    const args = ["serve", "--db", this.db, "--listen", listen, "--admin-listen", adminListen, ...this.#flags];
    const child = spawn(binary, args, { stdio: ["ignore", "ignore", "pipe"] });
    this.#child = child;
    this.exited = once(child, "exit");
    this.exited.catch(() => {}); // a binary that is not there is reported by whoever waits first
    const announced = new Promise((resolve) => {
      createInterface({ input: child.stderr }).on("line", (line) => {
        this.log.push(line);
        if (line.includes('"msg":"serving"')) resolve(JSON.parse(line));
      });
    });
    const died = this.exited.then(([code, signal]) => {
      throw new Error(`the server ended before serving (${signal ?? code}):\n${this.log.join("\n")}`);
    });
    died.catch(() => {});
    const said = await within(patience, Promise.race([announced, died]), () => `not serving:\n${this.log.join("\n")}`);
    this.listen = said.listen;
    this.adminListen = said.admin_listen;
    this.url = `http://${said.listen}`;
    this.adminURL = `http://${said.admin_listen}/`;
  }

  /** Ends the process and leaves its file. */
  async halt() {
    this.#child.kill("SIGTERM");
    const [code, signal] = await within(patience, this.exited, () => "SIGTERM did not end the server");
    assert.equal(signal ?? code, 0, `SIGTERM is a clean end:\n${this.log.join("\n")}`);
  }

  /** Serves the same file on the same ports again. */
  async resume() {
    await this.#serve(this.listen, this.adminListen);
  }

  /** Ends the process, if it runs, and removes its file. */
  async remove() {
    try {
      if (this.#child?.pid && this.#child.exitCode === null && this.#child.signalCode === null) await this.halt();
    } finally {
      this.#child?.kill("SIGKILL");
      await rm(this.directory, { recursive: true, force: true });
    }
  }

  /** Runs a command on the server's file. @returns {Promise<string>} what it prints */
  async command(name, ...args) {
    const words = name.split(" ");
    return (await run(binary, [...words, "--db", this.db, ...args])).stdout;
  }
}

export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export function within(milliseconds, promise, message) {
  let timer;
  const expired = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(message())), milliseconds);
  });
  return Promise.race([promise, expired]).finally(() => clearTimeout(timer));
}
