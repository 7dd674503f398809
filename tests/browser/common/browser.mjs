// One Chromium for a test file, and pages that fail a test when a script breaks or the policy forbids something.
import { execFileSync } from "node:child_process";
import { chromium } from "playwright-core";

const ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const WAIT_MS = 30_000;

/** Where screenshots go, when somebody wants to look at them. */
export const shots = process.env.WEIR_SHOTS;

export async function openBrowser() {
  const executablePath = process.env.CHROMIUM ?? execFileSync("which", ["chromium"], { encoding: "utf8" }).trim();
  return chromium.launch({ executablePath, args: ARGUMENTS });
}

/** A page at `url`; what its scripts got wrong is in `page.problems`. */
export async function openPage(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(WAIT_MS);
  page.problems = [];
  page.on("pageerror", (error) => page.problems.push(String(error.stack ?? error)));
  page.on("console", (message) => {
    // A server that is down is not the page's fault.
    if (message.type() === "error" && !/ERR_CONNECTION|Failed to load resource|WebSocket connection/.test(message.text())) {
      page.problems.push(message.text());
    }
  });
  await page.goto(url);
  return page;
}

/** Waits until a function of the page, given `argument`, holds. */
export async function until(page, condition, argument) {
  await page.waitForFunction(condition, argument);
}

/** Waits until the connection state is the given word. */
export async function untilHealth(page, ...words) {
  await until(page, (wanted) => wanted.includes(document.querySelector("#health-word").textContent), words);
}
