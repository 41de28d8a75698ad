// A picture of the status page of a busy server, for the README: people add each
// other for MINUTES (8 by default), and the plots show that time.

import { execFile } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { launch, Look } from "./browser.js";
import { pause, repository, Server } from "./server.js";
import { some, Town } from "./town.js";

const minutes = Number(process.env.MINUTES ?? 8);
const picture = process.env.PICTURE ?? join(repository, "build/statuspage/status-page.png");
const columns = 120;

const server = await Server.start("--status-every", `${Math.max(1, Math.round((minutes * 60) / columns))}s`);
try {
  const town = new Town(server.api);
  for (const [suite, count] of [[1, 40], [2, 12], [3, 8]]) await town.settle(count, suite, 14);
  await server.backUp();
  await live(town, Date.now() + minutes * 60_000);
  await shoot(server.url);
} finally {
  await server.remove();
}

/** Some hours are busier than others. */
async function live(town, end) {
  const begin = Date.now();
  for (let now = begin; now < end; now = Date.now()) {
    const busy = 1 + Math.sin(((now - begin) / (end - begin)) * 9) * 0.8;
    const { suite } = some(town.people, 1)[0];
    const neighbours = town.people.filter((person) => person.suite === suite).map(({ device }) => device);
    const joiners = some(neighbours, 1 + Math.floor(Math.random() ** 2 * 7 * busy));
    const [asleep] = joiners.length === 1 && Math.random() < 0.08 ? joiners : []; // it is not asked for again
    town.people = town.people.filter(({ device }) => device !== asleep);
    await town.gather(joiners, suite, { claim: !asleep, hold: !asleep && Math.random() < 0.5, late: Math.random() < 0.06 });
    if (Math.random() < 0.35) await town.refill(some(neighbours, 1)[0], suite, 10);
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
