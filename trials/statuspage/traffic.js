// Devices that add each other to groups through the real API, with real
// KeyPackages, Commits and Welcomes of ts-mls.

import assert from "node:assert/strict";
import { claimAndJoin, claimOne, newDevice, prepareGroup, publish, reserve } from "../interop/scenario.js";

export class Traffic {
  /** @type {{device: import("../interop/mls.js").Device, suite: number}[]} */
  devices = [];

  /** @param {import("welcomed-client").Client} api */
  constructor(api) {
    this.api = api;
  }

  /** Adds devices. Each publishes a stock of KeyPackages and a last-resort KeyPackage. */
  async addDevices(count, suite, stock, { lastResort = true } = {}) {
    const added = [];
    for (let i = 0; i < count; i++) {
      const device = newDevice("user");
      await publish(this.api, device, suite, stock);
      if (lastResort) {
        const { bare } = await device.newKeyPackage(suite, { lastResort: true });
        await this.api.publish(device, [bare]);
      }
      added.push({ device, suite });
    }
    this.devices.push(...added);
    return added.map(({ device }) => device);
  }

  /** A new adder makes a group with these devices. They join, unless claim is false. */
  async addToGroup(joiners, suite, { claim = true, hold = false, late = false, ratchetTree } = {}) {
    const adder = newDevice("adder");
    const reserved = await reserve(this.api, joiners.map((device) => device.user), suite);
    const { group, added } = await prepareGroup(adder, suite, reserved.map(({ bytes }) => bytes));
    const posted = await this.api.post({ welcome: added.wrappedWelcome, ratchet_tree: ratchetTree }, { hold });
    if (hold && claim) await this.api.release(posted.id);
    if (!claim) return { id: posted.id, added, group };
    for (const device of joiners) {
      if (late) await claimOne(this.api, device); // its answer is lost
      if (late) await this.#joinAgain(device);
      else await claimAndJoin(this.api, device, added.welcome);
    }
    return { id: posted.id, added, group };
  }

  async #joinAgain(device) {
    const delivery = await claimOne(this.api, device);
    assert.equal(delivery.redelivered, true);
    device.forgetKey(delivery.ref);
    await this.api.acknowledge(device, delivery.id);
  }

  /** Two adders use one KeyPackage. The server refuses the second, and the device joins the first. */
  async reuseKeyPackage(device, suite) {
    const [own] = await publish(this.api, device, suite);
    const first = await prepareGroup(newDevice("adder"), suite, [own.bare]);
    const second = await prepareGroup(newDevice("adder"), suite, [own.bare]);
    await this.api.post({ welcome: first.added.wrappedWelcome });
    await this.assertRefused(second.added.wrappedWelcome);
    await claimAndJoin(this.api, device, first.added.welcome);
  }

  async assertRefused(welcome) {
    await assert.rejects(this.api.post({ welcome }), (error) => error.code === "no_matching_key_package");
  }

  /** The device publishes more KeyPackages. */
  async publishMore(device, suite, count) {
    await publish(this.api, device, suite, count);
  }
}

/** Returns n random elements of the list, or all if it has fewer. */
export function some(list, n) {
  const rest = [...list];
  return Array.from({ length: Math.min(n, rest.length) }, () => rest.splice(Math.floor(Math.random() * rest.length), 1)[0]);
}
