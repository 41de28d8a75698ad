// An application as the tests have it: ts-mls makes and joins, and whatever it is given keeps.

import { parseBareKeyPackage, parseWrappedWelcome, joinWith, Device as MLS } from "../../../trials/interop/mls.js";

/** What Device needs to make KeyPackages with ts-mls. The secret is ts-mls's private package. */
export function maker({ user, device }) {
  const mls = new MLS(user, device);
  return async ({ cipher_suite: suite, last_resort: lastResort }) => {
    const own = await mls.newKeyPackage(suite, { lastResort });
    return { key_package: own.bare, secret: own.privatePackage };
  };
}

/** Joins with the private keys that were kept. @returns {Promise<import("../../../trials/interop/mls.js").Group>} */
export function joinDelivered(welcome, stored) {
  const own = {
    suite: stored.cipher_suite,
    publicPackage: parseBareKeyPackage(stored.key_package),
    privatePackage: stored.secret,
  };
  return joinWith(own, parseWrappedWelcome(welcome.welcome), welcome.ratchet_tree);
}
