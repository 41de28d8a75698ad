// The status page in every state, with real objects in real servers.

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { claimOne, newDevice, prepareGroup, publish } from "../interop/scenario.js";
import { launch, Look, screens } from "./browser.js";
import { pause } from "../harness/server.js";
import { Watched } from "./server.js";
import { some, Traffic } from "./traffic.js";

let browser;
const servers = [];

before(async () => {
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await Promise.all(servers.map((server) => server.remove()));
});

async function start(...flags) {
  const server = await Watched.start(...flags);
  servers.push(server);
  return server;
}

async function onEveryScreen(server, state, look = async () => {}) {
  for (const screen of screens) {
    const seen = await Look.at(browser, server.adminURL, screen);
    const folded = await seen.page.locator(".folded").count();
    assert.equal(folded, screen.isMobile ? 6 : 0, "sections are folded on a phone");
    if (folded) await seen.check(`${state}-folded`);
    await seen.unfold();
    await look(seen);
    await seen.check(state);
    await seen.close();
  }
}

/** Busy, then quiet: what is counted stands still while it is looked at. */
let busy;
async function busyServer() {
  if (busy) return busy;
  const server = await start("--test-times", "plots=1s");
  const traffic = new Traffic(server.api);
  for (const [suite, count] of [[1, 12], [2, 4], [3, 3]]) {
    const devices = await traffic.addDevices(count, suite, 12);
    for (let i = 0; i < 6; i++) {
      await traffic.addToGroup(some(devices, 1 + (i % 3)), suite, { hold: i % 2 === 0, late: i === 3 });
    }
    await traffic.addToGroup(some(devices.slice(1), 1), suite, { claim: false }); // the first has nothing that waits
  }
  await server.backUp();
  await pause(2_500); // of samples
  busy = { server, traffic };
  return busy;
}

test("an empty server is well, and says that nothing is here", async () => {
  const server = await start();
  await onEveryScreen(server, "empty", async (look) => {
    assert.equal(await look.text("#verdict"), "All is well, and nothing is here yet.");
    assert.equal(await look.figure("On the shelf"), "0");
    assert.equal(await look.figure("Last backup"), "never");
    assert.match(await look.text("#shelf"), /Nothing is on the shelf\./);
    assert.match(await look.text("#mismatches"), /Nobody was turned away\./);
  });
});

test("a busy server is well, and every number is that of a scrape", async () => {
  const { server } = await busyServer();
  const metrics = await server.scrape();
  const status = await server.status();
  const problems = status.problems.filter(({ code }) => code !== slowDisk);
  assert.deepEqual(problems, []);
  await onEveryScreen(server, "busy", async (look) => {
    assert.match(await look.text("#verdict"), well);
    await agrees(look, server, metrics, status);
  });
});

/** What is true of a machine on which other tests write to the same disk: it may be slow. */
const slowDisk = "commits_slow";
const well = /^(All is well|The disk is slow)\.$/;

/** What the page says is what a scrape says. */
async function agrees(look, server, metrics, status) {
  for (const [heading, series] of [
    ["Published", "key_packages_published_total"],
    ["Reserved", 'key_packages_reserved_total{outcome="reserved"}'],
    ["Last resort reserved", 'key_packages_reserved_total{outcome="last_resort"}'],
    ["Matched", "welcome_matches_total"],
    ["Claimed", 'welcome_claims_total{outcome="delivered"}'],
    ["Claimed again", 'welcome_claims_total{outcome="redelivered"}'],
  ]) {
    assert.equal(await look.number("activity", heading, 1), metrics(series), `${heading} since the start`);
    assert.equal(await look.number("activity", heading, 0), metrics(series), `${heading} in the last hour, which is all`);
  }
  const commits = await look.number("activity", "Commits", 1);
  const later = await server.scrape();
  assert.ok(metrics("store_commit_seconds_count") <= commits && commits <= later("store_commit_seconds_count"), "commits"); // a sweep is one
  for (const [heading, state] of [
    ["Held by their poster", "held"],
    ["Waiting for their device", "pending"],
    ["Given to it, not settled", "delivered"],
    ["Joined", "acknowledged"],
    ["Could not join", "rejected"],
    ["Never claimed", "expired"],
    ["Cancelled by their poster", "cancelled"],
  ]) {
    assert.equal(await look.number("welcomes", heading), metrics(`welcomes{state="${state}"}`), heading);
  }
  assert.equal(await look.number("welcomes", "Welcomes held for too long"), metrics("holds_overdue"));
  assert.equal(await look.number("welcomes", "although it has claimed since"), metrics("welcomes_overdue"));
  for (const [heading, stock] of [["10 or more", "ok"], ["Fewer", "low"], ["None, or a last resort", "empty"]]) {
    assert.equal(await look.number("shelf", heading), metrics(`devices{stock="${stock}"}`), heading);
  }
  const available = metrics('key_packages{state="available"}');
  assert.equal(Number((await look.figure("On the shelf")).replaceAll(",", "")), available);
  assert.equal(await onShelves(look, status), available, "the shelves together");
  const mismatches = await look.page.locator("#mismatches tbody tr td:last-child:not(.none)").allInnerTexts();
  assert.equal(sum(mismatches.map(Number)), sum(Object.keys(status.since_start.welcome_mismatches).map((reason) => metrics(mismatchSeries(reason)))));
  assert.ok(metrics("store_used_bytes") > 0);
  about(await look.row("store", "In use"), metrics("store_used_bytes"), later("store_used_bytes"));
  for (const image of await look.page.locator("svg[role=img]").all()) {
    assert.match(await image.getAttribute("aria-label"), /(altogether|now \d|took)/, "a plot is said in words");
  }
}

async function onShelves(look, status) {
  const rows = await look.page.locator("#shelf table").first().locator("tbody tr").all();
  assert.equal(rows.length, Math.max(1, status.holdings.shelves.length));
  let all = 0;
  for (const row of rows) {
    if (await row.locator("td.none").count()) continue;
    for (const cell of await row.locator("td").allInnerTexts()) all += Number(cell.replaceAll(",", ""));
  }
  return all;
}

function mismatchSeries(reason) {
  const at = { withheld: "claim", rejected: "reject" }[reason] ?? "post";
  return `welcome_mismatches_total{at="${at}",reason="${reason}"}`;
}

const sum = (numbers) => numbers.reduce((all, n) => all + n, 0);

/** A size on the page is between those of two scrapes: an idle store tidies its file. */
function about([text], ...bytes) {
  const [, digits, unit] = text.match(/^([\d.]+)\s(bytes|KiB|MiB|GiB)$/);
  const shown = digits * 1024 ** ["bytes", "KiB", "MiB", "GiB"].indexOf(unit);
  const [least, most] = [Math.min(...bytes), Math.max(...bytes)];
  assert.ok(shown >= least * 0.99 && shown <= most * 1.01, `${text} are ${bytes.join(" to ")} bytes`);
}

test("a server in trouble says what is wrong, worst first, and what to do", async () => {
  const server = await start("--test-times", "plots=1s,sweep=1s,hold-overdue=1s", "--max-size", "4MiB");
  const { api } = server;
  const traffic = new Traffic(api);
  const [careless] = await traffic.addDevices(1, 1, 1);
  for (let i = 0; i < 6; i++) await traffic.reuseKeyPackage(careless, 1);
  const { added: nowhere } = await prepareGroup(newDevice("adder"), 1, [(await newDevice("nobody").newKeyPackage(1)).bare]);
  await traffic.assertRefused(nowhere.wrappedWelcome);

  // One has nothing left, and is asked for.
  const [poor] = await traffic.addDevices(1, 2, 1, { lastResort: false });
  await traffic.addToGroup([poor], 2);
  const none = await api.reserve({ users: [poor.user], cipher_suites: [2] });
  assert.equal(none.users[0].status, "exhausted");

  // One claims, but not what waits for it; one cannot open what it got.
  const [partial, unlucky] = await traffic.addDevices(2, 1, 2);
  await traffic.addToGroup([partial], 1, { claim: false });
  await api.claim(partial, { refs: [] });
  await traffic.addToGroup([unlucky], 1, { claim: false });
  const delivery = await claimOne(api, unlucky);
  await api.reject(unlucky, delivery.id, "undecryptable");

  // A poster went away before its Commit.
  const [waiting] = await traffic.addDevices(1, 1, 30);
  await traffic.addToGroup([waiting], 1, { claim: false, hold: true });
  // And large groups are made.
  const ratchetTree = new Uint8Array(100 << 10);
  while (!(await server.status()).problems.some(({ code }) => code === "limit_near")) await traffic.addToGroup([waiting], 1, { claim: false, ratchetTree });

  const expected = ["joiners_turned_away", "nothing_to_hand_out", "limit_near", "welcomes_overdue", "holds_overdue", "devices_empty", "backup_never"];
  const status = await server.until("all the trouble", ({ problems }) => expected.every((code) => problems.some((p) => p.code === code)));
  assert.equal(status.level, "critical");
  assert.equal(status.problems[0].code, "joiners_turned_away");
  const metrics = await server.scrape();
  await onEveryScreen(server, "trouble", async (look) => {
    const title = await look.text("#verdict");
    assert.match(title, /^Joiners are being turned away\. \d more things need you\.$/);
    assert.deepEqual(
      await look.page.locator("#problems h2").evaluateAll((all) => all.map((h) => h.lastChild.textContent.trim())),
      status.problems.map((problem) => problem.title),
    );
    await agrees(look, server, metrics, status);
    assert.equal(await look.number("mismatches", "Somebody else had the KeyPackage first", 1), 6);
    assert.equal(await look.number("mismatches", "The KeyPackage is not known here", 1), 1);
    assert.equal(await look.number("mismatches", "The device could not open the Welcome", 1), 1);
    assert.match(await look.text("#problems"), /Welcome has been held for more than 1 s/);
  });
});

test("a page that is open follows the server, keeps what is typed, and does not chatter", async () => {
  const server = await start("--test-times", "plots=1s");
  const traffic = new Traffic(server.api);
  const [device] = await traffic.addDevices(1, 1, 12);
  await server.backUp();
  const look = await Look.at(browser, server.adminURL);
  assert.match(await look.text("#verdict"), well);
  const said = await look.page.evaluateHandle(() => {
    const spoken = [];
    const note = (changes) => spoken.push(...changes.map((change) => change.target.textContent));
    for (const live of document.querySelectorAll("[role=status]")) {
      new MutationObserver(note).observe(live, { childList: true, characterData: true, subtree: true });
    }
    return spoken;
  });
  await look.page.fill("#q", "somebody@example.org");
  const asOf = await look.text("#about time");
  for (let i = 0; i < 2; i++) {
    await publish(server.api, device, 1, 5);
    await look.page.waitForFunction((n) => document.querySelector("#figures b").textContent === String(n), 13 + 5 * (i + 1), { timeout: 15_000 });
  }
  assert.notEqual(await look.text("#about time"), asOf, "the page says of when it is");
  assert.deepEqual(await said.jsonValue(), [], "nothing is read out while all stays well");
  assert.equal(await look.page.inputValue("#q"), "somebody@example.org");
  assert.equal(await look.page.evaluate(() => document.activeElement.id), "q", "the focus stays");

  const probe = async () => {
    const { added } = await prepareGroup(newDevice("adder"), 1, [(await newDevice("nobody").newKeyPackage(1)).bare]);
    await traffic.assertRefused(added.wrappedWelcome);
  };
  await probe();
  await look.page.locator("#problems").filter({ hasText: "Somebody was turned away." }).waitFor({ timeout: 15_000 });
  assert.match(await look.text("#verdict"), well, "that somebody tries something out is no headline");
  assert.deepEqual(await said.jsonValue(), [], "nor is it read out");
  for (let i = 0; i < 2; i++) await probe();
  await look.page.waitForFunction(() => document.querySelector("#verdict").textContent === "Joiners are being turned away.", null, { timeout: 15_000 });
  assert.ok((await said.jsonValue()).length > 0, "what becomes wrong is read out");
  assert.match(await look.page.title(), /^Joiners are being turned away\./);
  await look.check("turned");
  await look.close();
});

test("a page whose server is gone says so and since when, and goes on when it is back", async () => {
  const server = await start();
  for (const screen of [screens[0], screens[3]]) {
    const look = await Look.at(browser, server.adminURL, screen);
    const asOf = await look.text("#about time");
    look.expect(/ERR_CONNECTION_(REFUSED|RESET)/);
    await server.halt();
    const silence = look.page.locator("#silence");
    await silence.filter({ hasText: "has not answered since" }).waitFor({ timeout: 15_000 });
    const told = await silence.innerText();
    const since = told.match(/since (\d\d:\d\d:\d\d) UTC\./);
    assert.ok(since && since[1] >= asOf.slice(0, 8), `${told} after ${asOf}`);
    assert.equal(await look.text("#about time"), `${since[1]} UTC`, "since the last answer");
    assert.equal(await look.page.title(), "No answer – welcomed");
    await pause(6_000); // and once more
    assert.equal(await silence.innerText(), told, "it is said once");
    await look.check("gone");
    await server.resume();
    await look.page.waitForFunction(() => document.querySelector("#silence").textContent === "", null, { timeout: 15_000 });
    assert.match(await look.page.title(), /^(All is well|The disk is slow)/);
    look.expected();
    await look.check("back");
    await look.close();
  }
});

test("a page without JavaScript has the same numbers, and says that it stands still", async () => {
  const { server } = await busyServer();
  const metrics = await server.scrape();
  const look = await Look.at(browser, server.adminURL, { ...screens[2], name: "phone-light", javaScriptEnabled: false });
  assert.match(await look.text(".hint"), /^Without JavaScript this page stays as it was at \d\d:\d\d:\d\d UTC: load it again\.$/);
  await agrees(look, server, metrics, await server.status());
  await look.picture("noscript-phone-light");
  assert.deepEqual(look.complaints, []);
  await Promise.all([look.page.waitForNavigation(), look.page.click(".hint a")]);
  assert.match(await look.text("#verdict"), well);
  await look.close();
});

test("everything can be reached with the keyboard, in the order in which it is seen", async () => {
  const { server } = await busyServer();
  const look = await Look.at(browser, server.adminURL);
  const reached = [];
  for (let i = 0; i < 12; i++) {
    await look.page.keyboard.press("Tab");
    const name = await look.page.evaluate(() => {
      const at = document.activeElement;
      return at === document.body ? "" : at.id || at.textContent.trim();
    });
    if (name === "") break;
    const outline = await look.page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    assert.notEqual(outline, "none", `${name} shows that it has the focus`);
    reached.push(name);
  }
  assert.deepEqual(reached.slice(0, 5), ["welcomed", "q", "Explain", "welcome", "Explain the file"]);
  assert.deepEqual(reached.slice(5), ["/status.json", "/metrics", "/livez", "/readyz"]);
  await look.close();
});

test("the page is for who has the admin token, and a browser is asked for it", async () => {
  const server = await start("--admin-token", "a-secret-of-the-operator");
  const stranger = await fetch(server.adminURL);
  assert.equal(stranger.status, 401);
  assert.match(stranger.headers.get("WWW-Authenticate"), /Basic realm=/);
  const operator = await Look.at(browser, server.adminURL, { ...screens[0], httpCredentials: { username: "me", password: "a-secret-of-the-operator" } });
  assert.equal(await operator.text("#verdict"), "All is well, and nothing is here yet.");
  const asOf = await operator.text("#about time");
  await operator.page.waitForFunction((then) => document.querySelector("#about time").textContent !== then, asOf, { timeout: 15_000 });
  await operator.check("token");
  await operator.close();
});

test("the form explains a user, and a Welcome in a file", async () => {
  const { server, traffic } = await busyServer();
  const [known] = traffic.devices;
  for (const screen of screens) {
    const look = await Look.at(browser, server.adminURL, screen);
    await look.page.fill("#q", known.device.user);
    await Promise.all([look.page.waitForNavigation(), look.page.click("text=Explain >> nth=0")]);
    assert.equal(await look.text(".evidence h2"), `${known.device.user}/${known.device.device}`, "an id keeps its case");
    await look.check("explain-user");
    await look.close();
  }
  const { added } = await traffic.addToGroup([known.device], 1);
  const file = join(server.directory, "welcome.mls");
  await writeFile(file, added.wrappedWelcome);
  const look = await Look.at(browser, server.adminURL);
  await look.page.setInputFiles("#welcome", file);
  await Promise.all([look.page.waitForNavigation(), look.page.click("text=Explain the file")]);
  assert.match(await look.text("main"), new RegExp(known.device.user));
  await look.check("explain-welcome");
  await look.close();
});
