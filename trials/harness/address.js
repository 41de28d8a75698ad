// What address.go is for programs in Go, with the same ports and the same lock.

import { readFile } from "node:fs/promises";
import { createServer } from "node:net";

const host = "127.0.0.1";
const firstPort = 11_000;
const usualEphemeral = 32_768;

/**
 * An address of the loopback interface that nobody uses. It is this process's until that ends:
 * servers may be started there one after the other.
 * @returns {Promise<string>}
 */
export async function freeAddress() {
  const pairs = Math.floor(((await firstEphemeral()) - firstPort) / 2);
  for (let attempt = 0; attempt < 1000; attempt++) {
    const port = firstPort + 2 * Math.floor(Math.random() * pairs);
    const lock = await listening(port + 1);
    if (!lock) continue;
    const free = await listening(port);
    if (free) {
      await new Promise((closed) => free.close(closed));
      lock.unref(); // it is held for as long as the process lives, and does not keep it alive
      return `${host}:${port}`;
    }
    lock.close();
  }
  throw new Error("no port of the loopback interface is free");
}

/** A listener at the port, or nothing if somebody uses it. */
function listening(port) {
  return new Promise((resolve, reject) => {
    const listener = createServer();
    listener.once("error", (error) => (error.code === "EADDRINUSE" ? resolve() : reject(error)));
    listener.listen(port, host, () => resolve(listener));
  });
}

/** The first port that the system gives to outgoing connections. */
async function firstEphemeral() {
  const text = await readFile("/proc/sys/net/ipv4/ip_local_port_range", "utf8").catch(() => "");
  const first = Number.parseInt(text, 10);
  return first >= firstPort + 1000 ? first : usualEphemeral;
}
