export { Client } from "./client.js";
export { Device, type DeviceOptions, type KeyStore, type OwnKeyPackage, type StoredKeyPackage, type Verdict } from "./device.js";
export { type Answer, type CallOptions, type ClientOptions, Problem, type Request, StreamEnded, Unreachable } from "./http.js";
export { MemoryKeyStore } from "./memory.js";
export { keyPackageRef, refsDigest } from "./ref.js";
export type * from "./types.js";
