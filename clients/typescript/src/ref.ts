// What names KeyPackages (RFC 9420 §5.2), and what names a set of them.

import type { Bytes, KeyPackageRef } from "./types.js";

const hashes: Record<number, string> = {
  1: "SHA-256",
  2: "SHA-256",
  3: "SHA-256",
  4: "SHA-512",
  5: "SHA-512",
  6: "SHA-512",
  7: "SHA-384",
};

/**
 * The KeyPackageRef of a bare KeyPackage, which is not inside an MLSMessage:
 *
 *     struct {
 *       opaque label<V>;
 *       opaque value<V>;
 *     } RefHashInput;
 *
 * It knows the cipher suites 1 to 7.
 */
export async function keyPackageRef(bare: Bytes): Promise<KeyPackageRef> {
  const suite = (bare[2] ?? 0) * 256 + (bare[3] ?? 0);
  const hash = hashes[suite];
  if (hash === undefined) throw new Error(`the hash of the cipher suite ${suite} is not known here: make has to return the ref`);
  const label = new TextEncoder().encode("MLS 1.0 KeyPackage Reference");
  return digest(hash, [...vector(label), ...vector(bare)]);
}

/** The digest of an inventory with these refs. Hex sorts as its bytes do. */
export function refsDigest(refs: KeyPackageRef[]): Promise<string> {
  const bytes = [...refs].sort().join("").match(/../g) ?? [];
  return digest("SHA-256", bytes.map((byte) => Number.parseInt(byte, 16)));
}

/** opaque<V>: the length in one, two or four bytes, of which two bits say how many. */
function vector(bytes: Bytes): number[] {
  const n = bytes.length;
  if (n < 1 << 6) return [n, ...bytes];
  if (n < 1 << 14) return [0x40 | (n >> 8), n & 0xff, ...bytes];
  return [0x80 | (n >> 24), (n >> 16) & 0xff, (n >> 8) & 0xff, n & 0xff, ...bytes];
}

async function digest(hash: string, bytes: number[]): Promise<string> {
  const sum = new Uint8Array(await crypto.subtle.digest(hash, Uint8Array.from(bytes)));
  return Array.from(sum, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
