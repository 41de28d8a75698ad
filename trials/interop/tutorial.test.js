// docs/tutorial.md: the program that is printed there does what is printed there.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { repository } from "../harness/server.js";
import { useServer } from "./scenario.js";

const server = useServer();
const tutorial = await readFile(join(repository, "docs/tutorial.md"), "utf8");
const block = (language) => tutorial.match(new RegExp("^```" + language + "\n([^]*?)^```$", "m"))[1];

test("the program puts two people into a group, again and again", async (t) => {
  const program = block("js");
  assert.ok(program.split("\n").length <= 100, "it has at most a hundred lines");
  const file = fileURLToPath(new URL("tutorial-two.mjs", import.meta.url)); // where it finds what it imports
  t.after(() => rm(file));
  await writeFile(file, program);
  for (const time of ["first", "second"]) {
    const env = { ...process.env, WELCOMED_URL: server.server.url };
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [file], { env });
    assert.deepEqual([stdout, stderr], [block("text"), ""], `the ${time} time`);
  }
});

test("it installs the versions that are tested, and the client by its name", async () => {
  const json = async (path) => JSON.parse(await readFile(join(repository, path), "utf8"));
  const { dependencies } = await json("trials/interop/package.json");
  const { name, version } = await json("clients/typescript/package.json");
  const installed = [...tutorial.matchAll(/^npm install (.*)$/gm)].flatMap(([, names]) => names.split(" "));
  assert.ok(installed.pop().endsWith(`/${name}-${version}.tgz`));
  assert.ok(installed.length > 0);
  for (const one of installed) {
    const at = one.lastIndexOf("@");
    assert.equal(one.slice(at + 1), dependencies[one.slice(0, at)], one);
  }
});
