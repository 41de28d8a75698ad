// How a request is sent, and when it is sent again.

import type { ProblemBody, ProblemCode } from "./types.js";

/** What every call may be given. */
export interface CallOptions {
  /** Ends the call, and the wait before its next attempt. The call then throws `signal.reason`. */
  signal?: AbortSignal;
  /** Overrides `patience` of the client. */
  patience?: number;
}

export interface ClientOptions {
  /** Where the server is, for example `https://welcomed.example.org`. */
  baseURL: string;
  /**
   * The bearer token, or a function that returns it. The server refuses a token that has
   * expired: the function is then called once more, with the refused token, and the
   * request is repeated if the new one is another.
   */
  token?: string | ((refused?: string) => string | Promise<string>);
  /** For a service that acts for a user: `user` or `user/device`. */
  onBehalfOf?: string;
  /** Instead of the global `fetch`. */
  fetch?: typeof fetch;
  /**
   * For how many milliseconds a call waits between its attempts, all in all: 60,000 unless
   * it says otherwise. 0 makes one attempt. A call that would have to wait longer throws at
   * once, and the error says how long.
   */
  patience?: number;
  /** After how many milliseconds an attempt has failed, besides what a claim waits: 60,000. */
  timeout?: number;
}

/** The server has refused the request. */
export class Problem extends Error {
  override name = "Problem";
  readonly status: number;
  /** What to tell problems apart by. Empty if the answer is not the server's but a proxy's. */
  readonly code: ProblemCode;
  readonly detail: string;
  /** Names the request in the server's log. */
  readonly requestId: string;
  /** After how many seconds the server wants to be asked again, if it says so. */
  readonly retryAfter: number | undefined;
  /** All that the server has said, for example `recipients`, `invalid` and `room`. */
  readonly body: Partial<ProblemBody>;

  constructor(request: string, status: number, headers: Headers, body: Partial<ProblemBody>) {
    super(`${request}: ${status} ${body.code ?? ""}: ${body.detail ?? body.title ?? ""}`);
    this.status = status;
    this.code = body.code ?? "";
    this.detail = body.detail ?? "";
    this.requestId = headers.get("Request-Id") ?? "";
    this.retryAfter = retryAfter(headers);
    this.body = body;
  }
}

/** There was no answer, or none that the server can have given. `cause` says why. */
export class Unreachable extends Error {
  override name = "Unreachable";

  constructor(request: string, cause: unknown) {
    super(`${request}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

/** The server has ended a stream of events, and has said why. */
export class StreamEnded extends Error {
  override name = "StreamEnded";
  /** For example `shutting_down`, `displaced`, or the code of a refusal. */
  readonly reason: string;

  constructor(reason: string) {
    super(`the server has ended the stream: ${reason}`);
    this.reason = reason;
  }
}

export interface Answer {
  status: number;
  headers: Headers;
  bytes: Uint8Array<ArrayBuffer>;
}

/** What a request consists of. */
export interface Request {
  method: string;
  /** Behind `baseURL`, with ids percent-encoded. */
  path: string;
  /** Arrays are repeated parameters; what is undefined is left out. */
  query?: Record<string, Value | readonly Value[] | undefined>;
  headers?: Record<string, string>;
  /** Bytes are sent as `message/mls`, everything else as JSON. */
  body?: unknown;
  /** How many seconds the server may take on purpose. */
  wait?: number;
  /** False: a second request would do something else than the first. */
  repeatable?: boolean;
}

type Value = string | number | boolean;

/** What a test has instead of time and chance. */
export interface Surroundings {
  now(): number;
  random(): number;
  sleep(milliseconds: number, signal?: AbortSignal): Promise<void>;
}

export const surroundings: Surroundings = {
  now: Date.now,
  random: Math.random,
  sleep: (milliseconds, signal) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const ended = () => {
        clearTimeout(timer);
        reject(signal?.reason);
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener("abort", ended);
        resolve();
      }, milliseconds);
      signal?.addEventListener("abort", ended, { once: true });
    }),
};

/** Sends requests, and repeats those that a repeat helps. */
export class Transport {
  readonly #options: ClientOptions;
  readonly #fetch: typeof fetch;
  readonly #around: Surroundings;

  constructor(options: ClientOptions, around: Surroundings = surroundings) {
    this.#options = { ...options, baseURL: options.baseURL.replace(/\/+$/, "") };
    this.#fetch = options.fetch ?? ((...args) => fetch(...args));
    this.#around = around;
  }

  send(request: Request, call: CallOptions = {}): Promise<Answer> {
    return this.#repeated(request, call, (token) => this.#attempt(request, token, call.signal));
  }

  async #repeated<T>(request: Request, call: CallOptions, attempted: (token?: string) => Promise<T>): Promise<T> {
    const patience = call.patience ?? this.#options.patience ?? 60_000;
    let refused: string | undefined;
    for (let attempt = 0, waited = 0; ; attempt++) {
      const token = await this.#token(refused);
      let error: unknown;
      try {
        return await attempted(token);
      } catch (thrown) {
        call.signal?.throwIfAborted();
        error = thrown;
      }
      if (error instanceof Problem && error.code === "invalid_token" && refused === undefined) {
        refused = token;
        if (typeof this.#options.token === "function") continue;
      }
      if (!helpsToRepeat(error, request.repeatable ?? true)) throw error;
      const pause = pauseBefore(error, attempt, this.#around.random());
      waited += pause;
      if (waited > patience) throw error;
      await this.#around.sleep(pause, call.signal);
    }
  }

  async #token(refused: string | undefined): Promise<string | undefined> {
    const { token } = this.#options;
    return typeof token === "function" ? token(refused) : token;
  }

  /**
   * Reads an answer line by line, as it comes. It makes one attempt, and ends with the answer.
   * It throws if that is cut off, or if nothing has come for `silence` milliseconds.
   */
  async *lines(request: Request, silence: number, signal?: AbortSignal): AsyncGenerator<string, void> {
    const name = `${request.method} ${request.path}`;
    const ended = new AbortController();
    const either = signal ? AbortSignal.any([signal, ended.signal]) : ended.signal;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const within = async <T>(milliseconds: number, promise: Promise<T>): Promise<T> => {
      timer = setTimeout(() => ended.abort(new Error(`nothing has come for ${milliseconds / 1000} s`)), milliseconds);
      return promise.finally(() => clearTimeout(timer)); // the caller may take its time
    };
    try {
      const open = this.#repeated(request, { signal: either, patience: 0 }, async (token) => {
        const response = await this.#fetched(request, token, either);
        if (response.status < 400 && response.body) return response.body.getReader();
        throw await problem(name, response);
      });
      const reader = await within(this.#options.timeout ?? 60_000, open);
      const decoder = new TextDecoder();
      for (let rest = ""; ; ) {
        const { done, value } = await within(silence, reader.read());
        if (done) return;
        const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
        rest = lines.pop() ?? "";
        yield* lines;
      }
    } catch (error) {
      signal?.throwIfAborted();
      throw error instanceof Problem ? error : new Unreachable(name, error);
    } finally {
      ended.abort();
    }
  }

  async #attempt(request: Request, token: string | undefined, signal?: AbortSignal): Promise<Answer> {
    const name = `${request.method} ${request.path}`;
    const limit = AbortSignal.timeout((this.#options.timeout ?? 60_000) + (request.wait ?? 0) * 1000);
    let answer: Answer;
    try {
      const response = await this.#fetched(request, token, signal ? AbortSignal.any([signal, limit]) : limit);
      answer = await read(response);
    } catch (cause) {
      throw new Unreachable(name, cause);
    }
    if (answer.status < 400) return answer;
    throw new Problem(name, answer.status, answer.headers, problemBody(answer));
  }

  #fetched(request: Request, token: string | undefined, signal: AbortSignal): Promise<Response> {
    const { baseURL, onBehalfOf } = this.#options;
    const headers = new Headers(request.headers);
    if (token !== undefined) headers.set("Authorization", `Bearer ${token}`);
    if (onBehalfOf !== undefined) headers.set("On-Behalf-Of", onBehalfOf);
    let body: BodyInit | undefined;
    if (request.body instanceof Uint8Array) {
      headers.set("Content-Type", "message/mls");
      body = request.body as Uint8Array<ArrayBuffer>;
    } else if (request.body !== undefined) {
      headers.set("Content-Type", "application/json");
      body = JSON.stringify(request.body);
    }
    return this.#fetch(baseURL + request.path + queryString(request.query), {
      method: request.method,
      headers,
      body,
      signal,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
    });
  }
}

async function read(response: Response): Promise<Answer> {
  return { status: response.status, headers: response.headers, bytes: new Uint8Array(await response.arrayBuffer()) };
}

async function problem(name: string, response: Response): Promise<Problem> {
  const answer = await read(response);
  return new Problem(name, answer.status, answer.headers, problemBody(answer));
}

function queryString(query: Request["query"] = {}): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined) parameters.append(name, String(one));
    }
  }
  const text = parameters.toString();
  return text && `?${text}`;
}

/** Reads an answer that has to be JSON. Whoever stands in between may have sent something else. */
export function json<T>(request: Request, answer: Answer): T {
  return parsed<T>(request, new TextDecoder().decode(answer.bytes));
}

export function parsed<T>(request: Request, text: string): T {
  try {
    return JSON.parse(text) as T;
  } catch (cause) {
    throw new Unreachable(`${request.method} ${request.path}`, cause);
  }
}

function problemBody(answer: Answer): Partial<ProblemBody> {
  if (!answer.headers.get("Content-Type")?.startsWith("application/problem+json")) return {};
  try {
    return JSON.parse(new TextDecoder().decode(answer.bytes));
  } catch {
    return {};
  }
}

function retryAfter(headers: Headers): number | undefined {
  const text = headers.get("Retry-After");
  if (text === null) return undefined;
  if (/^\d+$/.test(text)) return Number(text);
  const date = Date.parse(text); // a proxy's
  return Number.isNaN(date) ? undefined : Math.max(0, (date - Date.now()) / 1000);
}

export function helpsToRepeat(error: unknown, repeatable: boolean): boolean {
  if (error instanceof Unreachable) return repeatable;
  if (!(error instanceof Problem)) return false;
  if (error.status === 429) return error.code !== "pair_budget"; // others of the request need not wait
  return repeatable && [408, 500, 502, 503, 504].includes(error.status);
}

/** At least as long as the server asks for, and never for all clients alike. */
export function pauseBefore(error: unknown, attempt: number, random: number): number {
  const backoff = Math.min(10_000, 250 * 2 ** attempt);
  if (error instanceof Problem && error.retryAfter !== undefined) {
    return error.retryAfter * 1000 + random * Math.max(backoff, error.retryAfter * 250);
  }
  return backoff * (0.5 + random / 2);
}
