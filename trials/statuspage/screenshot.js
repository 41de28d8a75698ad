// A picture of the status page of a busy server, for the README: people add each
// other for MINUTES (8 by default), and the plots show that time.

import { execFile } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { launch, Look } from "./browser.js";
import { pause, repository } from "../harness/server.js";
import { Watched } from "./server.js";
import { some, Traffic } from "./traffic.js";

const minutes = Number(process.env.MINUTES ?? 8);
const picture = process.env.PICTURE ?? join(repository, "build/statuspage/status-page.png");
const columns = 120;

const shown = columns - 10; // with time to look at it
const every = Math.ceil((minutes * 60) / shown); // so that a column is one sample
const server = await Watched.start("--test-times", `plots=${every}s`);
try {
  const end = Date.now() + shown * every * 1000;
  const traffic = new Traffic(server.api);
  for (const [suite, count] of [[1, 30], [2, 10], [3, 6]]) await traffic.addDevices(count, suite, 25);
  const offline = await traffic.addDevices(4, 1, 25);
  traffic.devices = traffic.devices.filter(({ device }) => !offline.includes(device));
  await server.backUp();
  await generate(traffic, offline, end);
  await shoot(server.adminURL);
} finally {
  await server.remove();
}

/** Makes groups until end, more at some times than at others. The devices in offline do not
 *  claim, and once two adders use one KeyPackage. */
async function generate(traffic, offline, end) {
  const begin = Date.now();
  let reused = false;
  for (let now = begin; now < end; now = Date.now()) {
    const passed = (now - begin) / (end - begin);
    const busy = 1 + Math.sin(passed * 9) * 0.8;
    const { suite } = some(traffic.devices, 1)[0];
    const sameSuite = traffic.devices.filter((other) => other.suite === suite).map(({ device }) => device);
    const joiners = some(sameSuite, 1 + Math.floor(Math.random() ** 2 * 7 * busy));
    await traffic.addToGroup(joiners, suite, { hold: Math.random() < 0.5, late: Math.random() < 0.06 });
    for (const device of joiners) if (Math.random() < 0.12) await traffic.publishMore(device, suite, 10);
    if (Math.random() < 0.05) await traffic.addToGroup([some(offline, 1)[0]], 1, { claim: false });
    if (!reused && passed > 0.6) reused = (await traffic.reuseKeyPackage(sameSuite[0], suite), true);
    await pause((-Math.log(Math.random()) * 700) / busy);
  }
}

/** As a palette, which is a third of the size. */
async function shoot(url) {
  const browser = await launch();
  const look = await Look.at(browser, url, { viewport: { width: 1120, height: 800 }, deviceScaleFactor: 1.5, colorScheme: "light" });
  const bottom = await look.page.locator("#plots").evaluate((plots) => Math.ceil(plots.getBoundingClientRect().bottom) + 24);
  await mkdir(dirname(picture), { recursive: true });
  await look.page.screenshot({ path: picture, clip: { x: 0, y: 0, width: 1120, height: bottom }, fullPage: true });
  await browser.close();
  await promisify(execFile)("pngquant", ["--force", "--strip", "--speed", "1", "--output", picture, "64", picture]);
  console.log(picture);
}
