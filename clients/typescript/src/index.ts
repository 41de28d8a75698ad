export { Client } from "./client.js";
export { type Answer, type CallOptions, type ClientOptions, Problem, type Request, Unreachable } from "./http.js";
export type * from "./types.js";
