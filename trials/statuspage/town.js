// People whose devices add each other to groups: real KeyPackages, Commits and
// Welcomes of ts-mls, through the real API.

import assert from "node:assert/strict";
import { claimAndJoin, claimOne, newDevice, prepareGroup, publish, reserve } from "../interop/scenario.js";

export class Town {
  /** @type {{device: import("../interop/mls.js").Device, suite: number}[]} */
  people = [];

  /** @param {import("welcomed-client").Client} api */
  constructor(api) {
    this.api = api;
  }

  /** So many devices move in, each with a stock of KeyPackages and a last-resort one. */
  async settle(count, suite, stock, { lastResort = true } = {}) {
    const moved = [];
    for (let i = 0; i < count; i++) {
      const device = newDevice("resident");
      await publish(this.api, device, suite, stock);
      if (lastResort) {
        const { bare } = await device.newKeyPackage(suite, { lastResort: true });
        await this.api.publish(device, [bare]);
      }
      moved.push({ device, suite });
    }
    this.people.push(...moved);
    return moved.map(({ device }) => device);
  }

  /** Somebody adds these to a new group; they join unless it is left to them. */
  async gather(joiners, suite, { claim = true, hold = false, late = false, ratchetTree } = {}) {
    const adder = newDevice("adder");
    const reserved = await reserve(this.api, joiners.map((device) => device.user), suite);
    const { group, added } = await prepareGroup(adder, suite, reserved.map(({ bytes }) => bytes));
    const posted = await this.api.post({ welcome: added.wrappedWelcome, ratchet_tree: ratchetTree }, { hold });
    if (hold && claim) await this.api.release(posted.id);
    if (!claim) return { id: posted.id, added, group };
    for (const device of joiners) {
      if (late) await claimOne(this.api, device); // a phone that lost the answer
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

  /** Somebody uses a KeyPackage that another has used before: nobody joins. */
  async mistake(device, suite) {
    const [own] = await publish(this.api, device, suite);
    const first = await prepareGroup(newDevice("adder"), suite, [own.bare]);
    const second = await prepareGroup(newDevice("adder"), suite, [own.bare]);
    await this.api.post({ welcome: first.added.wrappedWelcome });
    await this.refused(second.added.wrappedWelcome);
    await claimAndJoin(this.api, device, first.added.welcome);
  }

  async refused(welcome) {
    await assert.rejects(this.api.post({ welcome }), (error) => error.code === "no_matching_key_package");
  }

  /** Devices fill their shelves. */
  async refill(device, suite, count) {
    await publish(this.api, device, suite, count);
  }
}

/** A pick of n different ones. */
export function some(list, n) {
  const rest = [...list];
  return Array.from({ length: Math.min(n, rest.length) }, () => rest.splice(Math.floor(Math.random() * rest.length), 1)[0]);
}
