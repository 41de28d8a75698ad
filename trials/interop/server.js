// Starts and stops the real binary, as an operator would.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Api } from "./api.js";

const repository = fileURLToPath(new URL("../..", import.meta.url));
const startTimeout = 30_000;
const stopTimeout = 30_000;

/** @returns {Promise<{api: Api, stop: () => Promise<void>}>} */
export async function startServer() {
  const directory = await mkdtemp(join(tmpdir(), "welcomed-interop-"));
  const removeDirectory = () => rm(directory, { recursive: true, force: true });
  try {
    const server = await serve(await binary(directory), join(directory, "welcomed.db"));
    return { api: new Api(server.baseURL), stop: () => server.stop().finally(removeDirectory) };
  } catch (error) {
    await removeDirectory();
    throw error;
  }
}

async function binary(directory) {
  if (process.env.WELCOMED_BIN) return process.env.WELCOMED_BIN;
  const built = join(directory, "welcomed");
  await promisify(execFile)("go", ["build", "-o", built, "."], { cwd: repository });
  return built;
}

async function serve(path, db) {
  const args = ["serve", "--db", db, "--auth", "none", "--log-format", "json"];
  const anyPort = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
  const child = spawn(path, [...args, ...anyPort], { stdio: ["ignore", "ignore", "pipe"] });
  const exited = once(child, "exit");
  exited.catch(() => {}); // a binary that cannot be started is reported by whoever waits first
  const log = [];
  try {
    const { listen } = await serving(child, exited, log);
    return { baseURL: `http://${listen}`, stop: () => stop(child, exited, log) };
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  }
}

/** Waits for the one line that says where the server listens. */
function serving(child, exited, log) {
  const announced = new Promise((resolve) => {
    createInterface({ input: child.stderr }).on("line", (line) => {
      log.push(line);
      const entry = parseLogLine(line);
      if (entry?.msg === "serving") resolve(entry);
    });
  });
  const died = exited.then(([code, signal]) => {
    throw new Error(`the server ended before serving (${signal ?? code}):\n${log.join("\n")}`);
  });
  return withTimeout(Promise.race([announced, died]), startTimeout, () => `not serving:\n${log.join("\n")}`);
}

async function stop(child, exited, log) {
  child.kill("SIGTERM");
  const ended = withTimeout(exited, stopTimeout, () => `SIGTERM did not end the server:\n${log.join("\n")}`);
  const [code, signal] = await ended.finally(() => child.kill("SIGKILL"));
  assert.equal(signal ?? code, 0, `SIGTERM is a clean end:\n${log.join("\n")}`);
}

function parseLogLine(line) {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

async function withTimeout(promise, milliseconds, message) {
  let timer;
  const expired = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(message())), milliseconds);
  });
  return Promise.race([promise, expired]).finally(() => clearTimeout(timer));
}
