// Looks at the proxy's page with headless Chromium. For test_page.py, which says what must come out.
//
//   node page_check.mjs NODE_MODULES CHROMIUM URL SCENARIO [KEY]
//
// Prints lines of JSON: {"ready": true} where the test is to do something, and at the end what was seen.

import { createRequire } from "node:module";
import { join } from "node:path";

const [modules, executablePath, url, scenario, key] = process.argv.slice(2);
const load = createRequire(join(modules, "page_check.cjs"));
const { chromium } = load("playwright-core");
const { source: axe } = load("axe-core");

const FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const SIZES = [{ width: 320, height: 640 }, { width: 1280, height: 800 }];
const SCHEMES = ["light", "dark"];

const told = { errors: [], strangers: [] };
const tell = (what) => console.log(JSON.stringify(what));

/** The text of each element, as a person reads it. */
const textOf = (page, selector) => page.locator(selector).allInnerTexts();
const waitFor = (page, selector, hasText) => page.locator(selector, { hasText }).first().waitFor();

async function violations(page) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => globalThis.axe.run());
  return found.violations.map(({ id, impact, nodes }) => `${impact} ${id}: ${nodes.map((node) => node.html)}`);
}

const scenarios = {
  async looks(page) {
    await waitFor(page, "#waiting", /^4$/);
    await waitFor(page, "#batch-list .status", "in progress");
    told.before = await textOf(page, "#batch-list li");
    tell({ ready: true });
    await waitFor(page, "#waiting", /^5$/);
    await page.locator("#batch-list li").nth(told.before.length).waitFor();
    told.after = await textOf(page, "#batch-list li");
    told.bars = await page.getByRole("progressbar").evaluateAll((bars) => bars.map((bar) => bar.ariaValueText));
    told.title = await page.title();
    await look(page);
  },

  async isEmpty(page) {
    await waitFor(page, "#connection", "Live");
    told.text = await page.locator("main").innerText();
    await look(page);
  },

  async showsErrors(page) {
    await page.locator("#error-list li").first().waitFor();
    told.shown = await textOf(page, "#error-list li");
    told.elements = await page.locator("#error-list img, #error-list script, #batch-list img").count();
    told.injected = await page.evaluate(() => globalThis.injected ?? null);
    told.batches = await textOf(page, "#batch-list .id");
  },

  async showsCost(page) {
    await page.locator("#cost-list li").first().waitFor();
    told.rows = await textOf(page, "#cost-list li");
    told.elements = await page.locator("#cost-list img").count();
    told.totals = await page.locator("#totals").innerText();
    await look(page);
  },

  async showsFleet(page) {
    await page.locator("#engine-list tr").nth(1).waitFor();
    told.engines = await textOf(page, "#engine-list tr");
    told.note = await page.locator("#fleet-note").innerText();
    told.accounts = await textOf(page, "#key-list li");
    told.elements = await page.locator("#fleet img, #fleet a").count();
    await look(page);
  },

  async showsWhatFails(page) {
    await page.locator("#failure-list li").first().waitFor();
    const summary = page.locator("#failure-list summary").first();
    await summary.focus();
    await page.keyboard.press("Enter"); // by keyboard, and the next answer of the proxy leaves it open
    told.outline = await summary.evaluate((element) => getComputedStyle(element).outlineStyle);
    await page.locator("#failure-list .lines li").first().waitFor();
    await page.waitForResponse((response) => response.url().endsWith("/status"));
    told.lines = await textOf(page, "#failure-list .lines li:visible");
    told.causes = await textOf(page, "#failure-list > li:visible");
    told.more = await page.locator("#more-failures").innerText();
    await page.locator("#more-failures").press("Enter");
    told.allCauses = await page.locator("#failure-list > li").count();
    told.elements = await page.locator("#failures img, #queue img").count();
    told.kinds = await textOf(page, "#kind-list tr");
    told.plots = await page.locator("#plots svg").evaluateAll((plots) => plots.map((plot) => plot.ariaLabel));
    told.bars = await page.locator("#done-plot rect").count();
    await page.locator("#minutes summary").press("Enter");
    await page.locator("#minute-list tr").first().waitFor();
    told.minutes = await textOf(page, "#minute-list tr");
    told.live = await page.locator("[aria-live], [role=status], [role=alert]").evaluateAll((all) => all.map((each) => each.id));
    await look(page);
  },

  async hasManyBatches(page) {
    const shown = () => page.locator("#batch-list li:visible").count();
    await waitFor(page, "#more", "Show all");
    told.few = await shown();
    told.more = await page.locator("#more").innerText();
    await page.locator("#more").focus();
    await page.keyboard.press("Enter");
    await page.locator("#batch-list > li").nth(59).waitFor();
    told.all = await shown();
    told.isExpanded = await page.locator("#more").getAttribute("aria-expanded");
    told.statuses = await textOf(page, "#batch-list .status");
    told.ages = await textOf(page, "#batch-list .age");
    told.note = await page.locator("#batches-note").innerText();
    await page.keyboard.press("Enter");
    told.fewAgain = await shown();
    await look(page);
  },

  async losesTheProxy(page, context) {
    await waitFor(page, "#connection", "Live");
    await context.setOffline(true);
    await page.clock.runFor(2000);
    await waitFor(page, "#connection.lost", "The proxy has not answered");
    told.lost = await page.locator("#connection").innerText();
    await context.setOffline(false);
    await page.clock.runFor(2000);
    await waitFor(page, "#connection:not(.lost)", "Live");
    told.found = await page.locator("#connection").innerText();
  },

  async isHidden(page) {
    const hide = (isHidden) => page.evaluate((value) => {
      Object.defineProperty(document, "hidden", { value, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }, isHidden);
    const nextAnswer = () => page.waitForResponse((response) => response.url().endsWith("/status"));
    let asked = 0;
    await waitFor(page, "#connection", "Live");
    await page.clock.pauseAt(Date.now() + 60_000);
    page.on("request", () => asked++);
    const seen = nextAnswer();
    while (asked === 0) await page.clock.runFor(2000);
    await seen;
    asked = 0;
    await hide(true);
    await page.clock.runFor(60_000);
    told.askedWhileHidden = asked;
    await Promise.all([nextAnswer(), hide(false)]);
    told.askedOnceSeen = asked;
  },
};

/** Both schemes, small and large: what axe says, and how far one could scroll sideways. */
async function look(page) {
  told.violations = {};
  told.sideways = {};
  for (const size of SIZES) {
    for (const colorScheme of SCHEMES) {
      const name = `${colorScheme} ${size.width}`;
      await page.setViewportSize(size);
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      told.violations[name] = await violations(page);
      const root = "document.documentElement";
      told.sideways[name] = await page.evaluate(`${root}.scrollWidth - ${root}.clientWidth`);
    }
  }
}

const browser = await chromium.launch({ executablePath, args: FLAGS, chromiumSandbox: false });
try {
  const httpCredentials = key ? { username: "whoever", password: key } : undefined;
  const context = await browser.newContext({ viewport: SIZES[1], httpCredentials });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  const isLosing = scenario === "losesTheProxy"; // then Chromium itself writes to the console that it lost it
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type()) && !isLosing) told.errors.push(message.text());
  });
  page.on("pageerror", (error) => told.errors.push(String(error)));
  context.on("request", (request) => {
    if (!request.url().startsWith(`${url}/`) && !request.url().startsWith("data:")) told.strangers.push(request.url());
  });
  if (isLosing || scenario === "isHidden") await page.clock.install();
  await page.goto(`${url}/`);
  await scenarios[scenario](page, context);
} finally {
  await browser.close();
}
tell(told);
