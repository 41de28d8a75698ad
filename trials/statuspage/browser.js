// A real Chromium that fails a test on whatever a browser may complain about.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import axe from "axe-core";
import { chromium } from "playwright-core";
import { repository } from "../harness/server.js";

const chromiumPath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const pictures = join(repository, "build/statuspage");

export const screens = [
  { name: "desktop-light", viewport: { width: 1200, height: 900 }, colorScheme: "light" },
  { name: "desktop-dark", viewport: { width: 1200, height: 900 }, colorScheme: "dark" },
  { name: "phone-light", viewport: { width: 360, height: 740 }, colorScheme: "light", hasTouch: true, isMobile: true },
  { name: "phone-dark", viewport: { width: 360, height: 740 }, colorScheme: "dark", hasTouch: true, isMobile: true },
];

/** Each launch has a user data directory of its own, which is empty. */
export function launch() {
  return chromium.launch({
    executablePath: chromiumPath,
    headless: true,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

/** A page of which every complaint is kept. */
export class Look {
  complaints = [];
  #expected = /^$/;
  #seen = 0;

  /** @param {import("playwright-core").Browser} browser */
  static async at(browser, url, { name = "", ...options } = screens[0]) {
    const look = new Look();
    look.screen = { name, ...options };
    look.context = await browser.newContext({ reducedMotion: "reduce", ...options });
    look.page = await look.context.newPage();
    look.origin = new URL(url).origin;
    look.#listen();
    await look.page.goto(url);
    return look;
  }

  #listen() {
    const complain = (what) => (this.#expected.test(what) ? this.#seen++ : this.complaints.push(what));
    this.page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) complain(`console: ${message.text()}`);
    });
    this.page.on("pageerror", (error) => complain(`script: ${error}`));
    this.page.on("crash", () => complain("the page crashed"));
    this.page.on("request", (request) => {
      if (new URL(request.url()).origin !== this.origin) complain(`foreign: ${request.url()}`);
    });
    this.page.on("requestfailed", (request) => complain(`failed: ${request.url()} ${request.failure()?.errorText}`));
    this.page.on("response", (response) => {
      if (response.status() >= 400) complain(`${response.status()}: ${response.url()}`);
    });
  }

  /** From now on a browser has to complain of this, and may, until it is told otherwise. */
  expect(pattern) {
    this.#expected = pattern;
    this.#seen = 0;
  }

  /** It has. */
  expected() {
    assert.ok(this.#seen > 0, `the browser complained of ${this.#expected}`);
    this.#expected = /^$/;
  }

  /** Nothing was complained of, nothing is wider than the screen, and axe finds nothing. */
  async check(state) {
    const { name, viewport } = this.screen;
    const width = await this.page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= viewport.width, `${state}, ${name}: ${width} px wide on a screen of ${viewport.width}`);
    await this.#checkAccessibility(`${state}, ${name}`);
    await this.picture(`${state}-${name}`);
    assert.deepEqual(this.complaints, [], `${state}, ${name}: the browser has nothing to complain of`);
  }

  async #checkAccessibility(where) {
    await this.page.evaluate(axe.source);
    const found = await this.page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
    const violations = found.violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => node.html.slice(0, 160)).join(" | ")}`);
    assert.deepEqual(violations, [], `${where}: axe has nothing to complain of`);
    assert.ok(found.passes.length > 20, `${where}: axe looked at ${found.passes.length} rules`);
  }

  /** Sections that are folded, as on a phone, are opened. */
  async unfold() {
    const folded = this.page.locator(".folded h2 > button");
    for (let left = await folded.count(); left > 0; left--) await folded.first().click();
    assert.equal(await folded.count(), 0, "a section opens when its title is touched");
  }

  async picture(name) {
    await mkdir(pictures, { recursive: true });
    await this.page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
  }

  text(selector) {
    return this.page.locator(selector).innerText();
  }

  /** The cells behind a row's heading in a table of a section. */
  async row(section, heading) {
    const row = this.page.locator(`#${section} tr`).filter({ has: this.page.getByRole("rowheader", { name: heading, exact: true }) });
    return row.locator("td").allInnerTexts();
  }

  async number(section, heading, column = 0) {
    const cells = await this.row(section, heading);
    assert.ok(cells.length > column, `${section} has a row ${heading}`);
    return Number(cells[column].replaceAll(",", ""));
  }

  async figure(name) {
    const figure = this.page.locator("dl.figures > div").filter({ has: this.page.locator("dt", { hasText: name }) });
    return figure.locator("b").innerText();
  }

  close() {
    return this.context.close();
  }
}
