import type { KeyStore, OwnKeyPackage, StoredKeyPackage } from "./device.js";
import type { KeyPackageRef } from "./types.js";

/** For tests and for trying something out: the private keys are gone with the process. */
export class MemoryKeyStore<Secret> implements KeyStore<Secret> {
  readonly #keyPackages = new Map<KeyPackageRef, StoredKeyPackage<Secret>>();

  async add(keyPackages: StoredKeyPackage<Secret>[]): Promise<void> {
    for (const k of keyPackages) this.#keyPackages.set(k.ref, k);
  }

  async get(ref: KeyPackageRef): Promise<StoredKeyPackage<Secret> | undefined> {
    return this.#keyPackages.get(ref);
  }

  async list(): Promise<OwnKeyPackage[]> {
    return [...this.#keyPackages.values()];
  }

  async delete(refs: KeyPackageRef[]): Promise<void> {
    for (const ref of refs) this.#keyPackages.delete(ref);
  }
}
