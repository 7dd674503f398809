// The page in a real browser against the real server.
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { openBrowser, openPage, shots, until, untilHealth } from "./common/browser.mjs";
import { Run, Weir } from "./common/weir.mjs";

let browser;
before(async () => {
  browser = await openBrowser();
});
after(() => browser.close());

/** Runs a test with a server of its own; pages are closed and their problems told. */
function withServer(name, environment, body) {
  test(name, async (context) => {
    const weir = await Weir.start(typeof environment === "function" ? await environment() : environment);
    const pages = [];
    const open = async (path = "/", options = {}) => {
      const page = await openPage(browser, weir.url + path, options);
      pages.push(page);
      return page;
    };
    try {
      await body({ weir, open, context });
      for (const page of pages) assert.deepEqual(page.problems, []);
    } finally {
      for (const page of pages) await page.context().close();
      await weir.stop();
    }
  });
}

const rowOf = (page, run) => page.locator("tr.run", { has: page.locator("a.run-link", { hasText: new RegExp(`^${run}$`) }) });
const doneOf = (page, run) => rowOf(page, run).locator(".done");

async function untilDone(page, run, words) {
  await until(page, ([name, wanted]) => {
    const link = [...document.querySelectorAll("a.run-link")].find((one) => one.textContent === name);
    return link?.closest("tr").querySelector(".done").textContent === wanted;
  }, [run, words]);
}

withServer("a run appears when it is posted, and its progress moves", {}, async ({ weir, open }) => {
  const page = await open();
  await untilHealth(page, "Quiet");
  await page.getByText("No runs yet.").waitFor();
  const run = new Run("web", "r1");
  await weir.post([...run.started(4), run.test(1, "passed")]);
  await untilDone(page, "r1", "1 / 4");
  await untilHealth(page, "Live");
  const row = rowOf(page, "r1");
  assert.equal(await row.locator(".state").textContent(), "Running");
  assert.match(await row.textContent(), /web · pytest.*main.*01234567 · ann/);
  const width = () => row.locator('.segment[data-segment="passed"]').evaluate((segment) => segment.style.width);
  assert.equal(await width(), "25%");
  const element = await row.elementHandle();
  await weir.post([run.test(2, "passed"), run.test(3, "failed", { error: { message: "no" } })]);
  await untilDone(page, "r1", "3 / 4");
  assert.equal(await width(), "50%");
  assert.equal(await row.locator(".bar").getAttribute("aria-valuetext"), "3 of 4 finished: 2 passed, 1 failed, 0 errors, 0 skipped");
  await weir.post([run.test(4, "skipped"), ...run.ended()]);
  await until(page, () => document.querySelector("tr.run")?.dataset.state === "failed");
  assert.equal(await row.evaluate((now, then) => now === then, element), true, "the row is the same element, changed in place");
});

withServer("the tiles show the last minute and how complete it is", {}, async ({ weir, open }) => {
  const page = await open();
  const run = new Run("web", "r1");
  await weir.post([...run.started(10), ...[1, 2, 3].map((number) => run.test(number, "passed")), run.test(4, "failed")]);
  const card = page.locator(".card", { hasText: "web" });
  await until(page, () => document.querySelector('.card .tile[data-column="success_rate"] .value')?.textContent === "75.0");
  await until(page, () => document.querySelector(".card .completeness").textContent === "1 open stream · 6 not seen");
  assert.equal(await card.locator('.tile[data-column="error_rate"] .value').textContent(), "25.0");
  await page.getByText(/complete up to \d\d:\d\d:\d\d/).waitFor();
  await weir.post([...[5, 6, 7, 8, 9, 10].map((number) => run.test(number, "passed")), ...run.ended()]);
  await until(page, () => document.querySelector(".card .completeness").textContent === "complete");
});

withServer("the window can be switched, and a project's parts are shown in it", {}, async ({ weir, open }) => {
  const page = await open();
  const run = new Run("web", "r1");
  const old = run.test(1, "failed");
  await weir.post([...run.started(3), { ...old, timestamp: Date.now() - 120_000 }, run.test(2, "passed"), run.test(3, "passed")]);
  const tile = (column) => page.locator(`.card .tile[data-column="${column}"] .value`);
  await until(page, () => document.querySelector('.card .tile[data-column="success_rate"] .value')?.textContent === "100");
  assert.equal(await page.getByRole("heading", { name: "Last 60 seconds" }).count(), 1);
  const height = () => page.locator("section.metrics").evaluate((section) => section.getBoundingClientRect().height);
  const before = await height();
  await page.getByRole("button", { name: "10 min", exact: true }).click();
  await until(page, () => document.querySelector('.card .tile[data-column="success_rate"] .value')?.textContent === "66.7");
  assert.equal(await page.getByRole("heading", { name: "Last 10 minutes" }).count(), 1);
  assert.equal(await page.locator(".card").count(), 1);
  assert.equal(await height(), before, "the page is as long as before");
  assert.equal(await page.locator(".card .completeness").textContent(), "1 open stream", "what is to come is of now");
  for (const column of ["average_duration", "p50", "p95", "p99"]) assert.match(await tile(column).textContent(), /\d (ms|s)$/);

  await page.locator(".card").click();
  const parts = page.locator("table.suite-metrics");
  for (const [scope, name] of [["Suites", "unit"], ["Branches", "main"], ["Frameworks", "pytest"]]) {
    await page.getByRole("button", { name: scope, exact: true }).click();
    await parts.locator("tbody th", { hasText: new RegExp(`^${name}$`) }).waitFor();
    assert.match(await parts.locator("tbody tr").first().textContent(), /66.7 %/);
  }
  await page.getByRole("button", { name: "60 s", exact: true }).click();
  await until(page, () => /100 %/.test(document.querySelector("table.suite-metrics tbody tr")?.textContent));
});

withServer("a project's card shows only its runs", {}, async ({ weir, open }) => {
  const page = await open();
  for (const project of ["web", "api"]) {
    const run = new Run(project, `${project}-1`);
    await weir.post([...run.started(2), run.test(1, "passed")]);
  }
  await rowOf(page, "web-1").waitFor();
  await rowOf(page, "api-1").waitFor();
  await page.locator(".card", { hasText: "api" }).click();
  await rowOf(page, "web-1").waitFor({ state: "detached" });
  assert.equal(await rowOf(page, "api-1").count(), 1);
  await page.getByRole("button", { name: "Show all projects" }).click();
  await rowOf(page, "web-1").waitFor();
});

withServer("one run shows its failing test with the error, its suites and what is missing", {}, async ({ weir, open }) => {
  const run = new Run("web/shop", "build #7 é");
  await weir.post([...run.started(5), run.test(1, "passed"), run.test(2, "skipped"),
    run.test(3, "failed", { error: { message: "AssertionError: expected 200, got 503\nat checkout.spec.ts:118", type: "AssertionError" } })]);
  const page = await open(`/#/runs/${encodeURIComponent("web/shop")}/${encodeURIComponent("build #7 é")}`);
  const failing = page.locator("button.test").first();
  await failing.waitFor();
  assert.equal(await page.locator("h1").textContent(), "build #7 é");
  assert.equal(await failing.locator(".state").textContent(), "Failed");
  assert.match(await failing.textContent(), /test number 3.*AssertionError: expected 200, got 503/);
  assert.equal(await failing.getAttribute("aria-expanded"), "false");
  await failing.press("Enter");
  assert.equal(await failing.getAttribute("aria-expanded"), "true");
  assert.match(await page.locator(".error-text").first().textContent(), /expected 200, got 503/);
  assert.match(await page.locator("button.suite").textContent(), /unit.*3 \/ 5.*1 failed/);

  const choose = async (name, amount) => {
    await page.locator("button.choice", { hasText: name }).click();
    await until(page, (wanted) => document.querySelectorAll("button.test").length === wanted, amount);
  };
  await choose(/^Failed/, 1);
  await choose(/^Passed/, 1);
  await choose(/^All/, 3);
  await page.getByRole("searchbox", { name: "Search tests" }).fill("503");
  await until(page, () => document.querySelectorAll("button.test").length === 1);
  await page.getByRole("searchbox", { name: "Search tests" }).fill("");

  await weir.post([run.event("test_case_started", { testId: "t4", testName: "test number 4", testSuiteId: "unit" })]);
  await page.locator("button.test", { hasText: "test number 4" }).waitFor();
  await weir.post(run.ended());
  await page.getByText(/announced and never seen/).first().waitFor();
  await page.getByText(/began and never ended/).waitFor();
});

withServer("ten thousand tests of a run stay a short list that can be searched", {}, async ({ weir, open }) => {
  const run = new Run("web", "huge");
  const events = run.started(10_000);
  for (let number = 1; number <= 10_000; number += 1) events.push(run.test(number, number % 5_000 === 0 ? "failed" : "passed"));
  await weir.post(events);
  const page = await open("/#/runs/web/huge");
  await until(page, () => document.querySelector(".legends .done")?.textContent === "10,000 / 10,000");
  await until(page, () => document.querySelectorAll("button.test").length === 200);
  assert.match(await page.locator("button.test").first().textContent(), /^Failed/);
  await page.getByRole("button", { name: "Show 200 more of 10,000" }).click();
  await until(page, () => document.querySelectorAll("button.test").length === 400);
  await page.getByRole("searchbox", { name: "Search tests" }).fill("number 9999");
  await until(page, () => document.querySelectorAll("button.test").length === 1);
});

withServer("failures come together as patterns", {}, async ({ weir, open }) => {
  const run = new Run("web", "r1");
  const failures = [1, 2, 3].map((number) => run.test(number, "failed", { error: { type: "TimeoutError", message: `timed out after ${number}0000 ms` } }));
  await weir.post([...run.started(3), ...failures]);
  const page = await open("/#/patterns");
  const pattern = page.locator("button.pattern");
  await until(page, () => document.querySelector("button.pattern .amount")?.textContent === "3");
  assert.match(await pattern.textContent(), /TimeoutError.*timed out after %/);
  await pattern.click();
  assert.match(await page.locator(".error-text").textContent(), /timed out after \d0000 ms/);
  assert.equal(await page.locator(".amount").getAttribute("data-trend"), "rising");
  assert.match(await page.locator(".spread").textContent(), /^3 in the last hour, 3 in 24 hours, in 1 run, /);
});

withServer("flaky tests stand with what decided, and go when it is taken back", {}, async ({ weir, open }) => {
  const page = await open("/#/flaky");
  await page.getByText("None: no test has failed").waitFor();
  const run = new Run("web", "r1", { branch: "main" });
  await weir.post([...run.started(3), run.test(1, "failed"), run.test(1, "passed", { attempt: 2 }), run.test(2, "failed"), run.test(3, "passed")]);
  await until(page, () => document.querySelectorAll("tr.flaky-test").length === 1);
  const row = page.locator("tr.flaky-test");
  assert.match(await row.textContent(), /test number 1.*main.*Flaky.*50.0 % of 2.*failed, then passed in one run/);
  assert.deepEqual(await row.locator("a.attempt").allTextContents(), ["r1 #1 failed", "r1 #2 passed"]);
  assert.match(await row.textContent(), /9 passes in a row, or no failure until/);
  await weir.post([run.event("result_withdrawn", { testId: "t1", attempt: 1 })]);
  await until(page, () => document.querySelectorAll("tr.flaky-test").length === 0);
});

withServer("an alert stands with its run while it fires, and on the project's card", {}, async ({ weir, open }) => {
  const rule = { kind: "alert", project: "web", view: "run_progress", filter: { state: ["running"] }, when: [{ column: "failed", is: ">=", threshold: 1 }],
    severity: "warning", message: "{value} tests of {run} fail" };
  const answer = await fetch(`${weir.url}/v1/rules/failing?wait=applied`, { method: "PUT", body: JSON.stringify(rule), headers: { "content-type": "application/json" } });
  assert.equal(answer.status, 200, await answer.text());
  const page = await open();
  const fires = () => [...document.querySelectorAll(".alert .what")].filter((what) => what.textContent.includes("tests of")).length;
  const tile = (wanted) => until(page, (words) => document.querySelector('.card .tile[data-column="firing_alerts"] .value')?.textContent === words, wanted);
  const run = new Run("web", "a · b");
  await weir.post([...run.started(2), run.test(1, "passed")]);
  await tile("0");
  assert.equal(await page.evaluate(fires), 0);
  await weir.post([run.test(2, "failed", { error: { message: "no" } })]);
  const alert = page.locator(".alert", { hasText: "1 tests of a · b fail" });
  await alert.waitFor();
  assert.match(await alert.textContent(), /Warning.*web \/ a · b · failing/);
  await until(page, () => Number(document.querySelector('.card .tile[data-column="firing_alerts"] .value').textContent) >= 1);
  await page.getByRole("link", { name: "All alerts" }).click();
  await page.getByRole("heading", { name: "Alerts", level: 2 }).waitFor();
  await alert.getByRole("link", { name: "web / a · b" }).click();
  assert.equal(await page.locator("h1").last().textContent(), "a · b");
  await page.goto(`${weir.url}/#/alerts`);
  await alert.waitFor();
  await weir.post(run.ended());
  await alert.waitFor({ state: "detached" });
});

withServer("a project's card shows what its runs cover and how many tests are flaky", {}, async ({ weir, open }) => {
  const page = await open();
  const run = new Run("web", "r1");
  const tile = (column, wanted) => until(page, ([name, words]) => document.querySelector(`.card .tile[data-column="${name}"] .value`)?.textContent === words, [column, wanted]);
  await weir.post([...run.started(2), run.test(1, "failed", { attempt: 1, error: { message: "no" } }), run.test(1, "passed", { attempt: 2 })]);
  await tile("flaky_tests", "1");
  await tile("live_coverage", "–");
  await weir.post([run.event("coverage_updated", { coverage: { files: [{ path: "src/a.rs", covered: "1-3", instrumented: "1-4" }] } })]);
  await tile("live_coverage", "75.0");
});

withServer("slow tests stand by their medians", {}, async ({ weir, open }) => {
  const page = await open("/#/slow");
  await page.getByText("No test has said how long it took").waitFor();
  const run = new Run("web", "r1");
  await weir.post([...run.started(2), run.test(1, "passed", { duration: 90 }), run.test(2, "passed", { duration: 1650 })]);
  await until(page, () => document.querySelectorAll("tr.slow-test").length === 2);
  assert.deepEqual(await page.locator("tr.slow-test").first().locator("th, td").allTextContents().then((cells) => cells.slice(1)), ["1.6 s", "1.6 s", "", "1"]);
  assert.match(await page.locator("tr.slow-test th").first().textContent(), /test number 2/);
});

withServer("people stand with their runs and how the last one went", {}, async ({ weir, open }) => {
  const page = await open("/#/people");
  await page.getByText("Nobody yet.").waitFor();
  const [first, second, others] = [new Run("web", "r1"), new Run("web", "r2"), new Run("web", "r3", { userId: "bob" })];
  await weir.post([...first.started(1), first.test(1, "failed"), ...first.ended(), ...second.started(1), ...others.started(1)]);
  const ofUser = (user) => page.locator("tr.person", { has: page.locator("th", { hasText: user }) });
  await until(page, () => document.querySelectorAll("tr.person").length === 2);
  await until(page, () => document.querySelector("tr.person .state:not([hidden])")?.textContent === "Failed");
  assert.deepEqual(await ofUser("ann").locator("td.number").allTextContents().then((cells) => cells.slice(0, 2)), ["1", "2"]);
  assert.deepEqual(await ofUser("bob").locator("td.number").allTextContents().then((cells) => cells.slice(0, 2)), ["1", "1"]);
  assert.equal(await ofUser("bob").locator(".state").isHidden(), true, "none of his has ended");
  await weir.post([others.test(1, "passed"), ...others.ended()]);
  await until(page, () => [...document.querySelectorAll("tr.person .state")].some((state) => state.textContent === "Passed"));
  await ofUser("bob").locator("a.run-link").click();
  await page.locator("button.test").waitFor();
});

withServer("what a run covers stands by flag and file, least covered first", {}, async ({ weir, open }) => {
  const run = new Run("web", "r1");
  const covers = (flag, path, covered, instrumented) => run.event("coverage_updated", { coverage: { flag, files: [{ path, covered, instrumented }] } });
  await weir.post([...run.started(1), covers("unit", "src/a.js", "1-9", "1-10"), covers("unit", "src/b.js", "", "1-10")]);
  const page = await open("/#/runs/web/r1");
  const panel = page.locator("section.panel", { has: page.getByRole("heading", { name: "Coverage" }) });
  await panel.getByText("src/b.js").waitFor();
  assert.deepEqual(await panel.locator(".covered-flags .covered").allTextContents(), ["unit9 of 20 lines · 1 session45.0 %"]);
  assert.deepEqual(await panel.locator(".covered-files .covered").allTextContents(), ["src/b.js0 of 10 lines · unit0 %", "src/a.js9 of 10 lines · unit90.0 %"]);
  await weir.post([covers("e2e", "src/b.js", "1-10", "1-10")]);
  await until(page, () => document.querySelectorAll(".covered-flags .covered").length === 3);
  assert.match(await panel.locator(".covered-flags .covered").first().textContent(), /^All together19 of 20 lines.*95.0 %$/);
});

withServer("the last errors stand with their run", {}, async ({ weir, open }) => {
  const run = new Run("web", "r1");
  await weir.post([...run.started(2), run.test(1, "failed", { error: { type: "TypeError", message: "x is not a function" } })]);
  const page = await open("/#/patterns");
  const panel = page.locator("section.panel", { has: page.getByRole("heading", { name: "Last errors" }) });
  await panel.getByText("TypeError: x is not a function").waitFor();
  assert.equal(await panel.locator(".sub a").getAttribute("href"), "#/runs/web/r1");
  await weir.post([run.event("result_withdrawn", { testId: "t1" })]);
  await panel.getByText("No errors in the last days.").waitFor();
});

withServer("what was not taken stands with its reason", {}, async ({ weir, open }) => {
  const run = new Run("web", "r1");
  const [first] = run.started(1);
  await weir.post([first]);
  await weir.post([first]);
  const page = await open("/#/problems");
  await page.getByText("1 × duplicate").waitFor();
});

withServer("a killed server makes the page stale, its return live again with the same numbers", {}, async ({ weir, open }) => {
  const page = await open();
  const run = new Run("web", "r1");
  await weir.post([...run.started(4), run.test(1, "passed"), run.test(2, "passed")]);
  await untilDone(page, "r1", "2 / 4");
  // Quiet, where the page came so late that its snapshot had all of it.
  await untilHealth(page, "Live", "Quiet");
  await weir.kill();
  await untilHealth(page, "Stale");
  const banner = page.locator("#banner");
  assert.match(await banner.textContent(), /Not live: .* The numbers below are those of \d\d:\d\d:\d\d/);
  assert.match(await page.locator("#health-since").textContent(), /^since \d\d:\d\d:\d\d$/);
  assert.match(await page.title(), /^\(stale\)/);
  assert.equal(await page.locator("#announce").getAttribute("role"), "status");
  assert.match(await page.locator("#announce").textContent(), /^Stale: /);
  assert.equal(await doneOf(page, "r1").textContent(), "2 / 4", "the last numbers stay");
  assert.equal(await doneOf(page, "r1").evaluate((done) => getComputedStyle(done).textDecorationStyle), "dotted", "and are marked");
  await weir.up();
  await untilHealth(page, "Quiet", "Live");
  assert.equal(await banner.isVisible(), false);
  assert.equal(await doneOf(page, "r1").textContent(), "2 / 4");
  await weir.post([run.test(3, "passed")]);
  await untilDone(page, "r1", "3 / 4");
  await untilHealth(page, "Live");
});

withServer("everything can be reached and done with the keyboard", {}, async ({ weir, open }) => {
  for (const name of ["r1", "r2", "r3"]) {
    const run = new Run("web", name);
    await weir.post([...run.started(2), run.test(1, "failed", { error: { message: "no" } })]);
  }
  const page = await open();
  for (const name of ["r1", "r2", "r3"]) await rowOf(page, name).waitFor();
  const focused = () => page.evaluate(() => document.activeElement.textContent.trim());
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "Skip to the content");
  assert.equal(await page.evaluate(() => document.activeElement.getBoundingClientRect().top >= 0), true, "the skip link shows itself");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "content");
  const order = [];
  for (let step = 0; step < 30; step += 1) {
    await page.keyboard.press("Tab");
    if (await page.evaluate(() => document.activeElement.matches("a.run-link"))) break;
    order.push(await focused());
    assert.equal(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle), "solid", `focus on ${order.at(-1)} is visible`);
  }
  assert.match(order.join(" | "), /web.*\| All3 \| Running3/);
  const names = await page.locator("a.run-link").allTextContents();
  assert.equal(await focused(), names[0]);
  await page.keyboard.press("ArrowDown");
  assert.equal(await focused(), names[1]);
  await page.keyboard.press("End");
  assert.equal(await focused(), names[2]);
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("Enter");
  await page.locator("button.test").waitFor();
  assert.equal(await page.evaluate(() => `${document.activeElement.tagName} ${document.activeElement.textContent}`), `H1 ${names[1]}`);
  for (let step = 0; step < 30 && !(await page.evaluate(() => document.activeElement.matches("button.test"))); step += 1) await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  assert.equal(await page.locator("button.test").getAttribute("aria-expanded"), "true");
});

/** A server with something of everything. */
async function furnished(weir) {
  for (const severity of ["error", "warning", "info"]) {
    const rule = { kind: "alert", view: "run_progress", when: [{ column: "failed", is: ">=", threshold: 1 }], severity, message: `{run}: {value} failed, which is ${severity}` };
    const answer = await fetch(`${weir.url}/v1/rules/any-${severity}?wait=applied`, { method: "PUT", body: JSON.stringify(rule), headers: { "content-type": "application/json" } });
    assert.equal(answer.status, 200);
  }
  const long = new Run("a-project-with-a-rather-long-name", "build-2026-11-22T21-48-27Z-windows-latest-node-20-shard-3", { branch: "feature/a-branch-name-that-goes-on-and-on-and-on" });
  const message = "java.lang.IllegalStateException: connectionPoolExhausted".padEnd(300, "x");
  await weir.post([...long.started(40), long.test(1, "passed"), long.test(2, "failed", { error: { message, type: "java.lang.IllegalStateException" }, testName: "n".repeat(200) }), long.test(3, "error", { error: { message: "boom" } }), long.test(3, "passed", { attempt: 2 }), long.test(4, "skipped")]);
  const short = new Run("web", "r1");
  await weir.post([...short.started(2), short.test(1, "passed"), ...short.ended()]);
  await weir.post([long.event("test_case_started", { testId: "t9", testSuiteId: "unit" })]);
  return [["runs", "/", "tr.run"], ["alerts", "/#/alerts", ".alert"], ["patterns", "/#/patterns", "button.pattern"], ["flaky", "/#/flaky", "tr.flaky-test"], ["slow", "/#/slow", "tr.slow-test"], ["people", "/#/people", "tr.person"], ["problems", "/#/problems", ".problem"],
    ["run", `/#/runs/${long.project}/${long.run}`, "button.test"]];
}

withServer("nothing sticks out at 400 and at 1,600 pixels, in light and dark, and text can be read", {}, async ({ weir, open }) => {
  const places = await furnished(weir);
  const found = [];
  for (const [width, colorScheme] of [[400, "light"], [400, "dark"], [1600, "light"], [1600, "dark"]]) {
    for (const [name, path, landmark] of places) {
      const page = await open(path, { viewport: { width, height: 900 }, colorScheme });
      await page.locator(landmark).first().waitFor();
      if (name === "run") await page.locator("button.test").first().click();
      if (shots) await writeFile(join(shots, `test-${name}-${width}-${colorScheme}.png`), await page.screenshot({ fullPage: true }));
      const { sticking, dim, page: surface } = await page.evaluate(inspect);
      found.push(...sticking.map((what) => `${name} at ${width}: ${what} sticks out`), ...dim.map((what) => `${name} in ${colorScheme}: ${what}`));
      const stale = await page.evaluate(inspect, "stale");
      found.push(...stale.dim.map((what) => `${name}, stale, in ${colorScheme}: ${what}`));
      assert.equal(surface < 0.2, colorScheme === "dark");
      await page.context().close();
      assert.deepEqual(page.problems, []);
    }
  }
  assert.deepEqual(found, []);
});

withServer("at every width a run's bar has room, and no heading of the table runs into the next", {}, async ({ weir, open }) => {
  await furnished(weir);
  const page = await open("/", { viewport: { width: 1600, height: 900 } });
  await page.locator("tr.run").first().waitFor();
  const found = [];
  for (let width = 360; width <= 1600; width += 40) {
    for (const wide of [width, width + 1]) {
      await page.setViewportSize({ width: wide, height: 900 });
      const { bar, overlapping } = await page.evaluate(() => {
        const cells = [...document.querySelectorAll(".runs th")].filter((cell) => cell.getBoundingClientRect().width > 0);
        const text = (cell) => { const range = document.createRange(); range.selectNodeContents(cell); return range.getBoundingClientRect(); };
        const below = matchMedia("(max-width: 960px)").matches; // Then the headings are for screen readers.
        const overlapping = below ? [] : cells.filter((cell, index) => index > 0 && text(cell).left < text(cells[index - 1]).right).map((cell) => cell.textContent);
        return { bar: document.querySelector("tr.run .bar").getBoundingClientRect().width, overlapping };
      });
      if (bar < 90) found.push(`at ${wide}: a bar of ${bar} pixels`);
      found.push(...overlapping.map((heading) => `at ${wide}: ${heading}`));
    }
  }
  assert.deepEqual(found, []);
});

/** In the page: elements wider than the window, texts with too little contrast, the luminance behind everything; as it looks in
 * a state of the connection, where one is given. */
function inspect(state) {
  const before = document.body.dataset.state;
  if (state) document.body.dataset.state = state;
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (colour) => brightness(rgba(colour));
  const brightness = (parts) => {
    const [r, g, b] = parts.slice(0, 3).map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (rgba(colour)[3] === 255) return colour;
    }
    return "white";
  };
  /** How a text's colour comes out over what is behind it, with the opacity of everything that it is in. */
  const shown = (element, below) => {
    const [colour, ground] = [rgba(getComputedStyle(element).color), rgba(below)];
    let share = colour[3] / 255;
    for (let at = element; at; at = at.parentElement) share *= Number(getComputedStyle(at).opacity);
    return brightness(colour.map((part, index) => share * part + (1 - share) * ground[index]));
  };
  const clipped = (element) => {
    for (let at = element.parentElement; at !== document.body; at = at.parentElement) {
      if (getComputedStyle(at).overflowX !== "visible" || at.matches("thead")) return true;
    }
    return false;
  };
  const sticking = [];
  const dim = [];
  if (document.documentElement.scrollWidth > document.documentElement.clientWidth) sticking.push("the page itself");
  for (const element of document.body.querySelectorAll("*")) {
    const box = element.getBoundingClientRect();
    if (box.width === 0 || element.closest(".visually-hidden, .announce, .skip")) continue;
    if (box.right > innerWidth + 1 && !clipped(element)) sticking.push(`${element.tagName}.${element.className}`);
    const own = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim() !== "");
    if (!own) continue;
    const below = behind(element);
    const [light, dark] = [shown(element, below), luminance(below)].sort((a, b) => b - a);
    const contrast = (light + 0.05) / (dark + 0.05);
    if (contrast < 4.5) dim.push(`${element.tagName}.${element.className} ${contrast.toFixed(2)}`);
  }
  if (state) document.body.dataset.state = before;
  return { sticking: [...new Set(sticking)], dim: [...new Set(dim)], page: luminance(getComputedStyle(document.documentElement).backgroundColor) };
}

withServer("no motion where none is wanted", {}, async ({ weir, open }) => {
  const page = await open("/", { reducedMotion: "reduce" });
  const run = new Run("web", "r1");
  await weir.post([...run.started(2), run.test(1, "passed")]);
  await rowOf(page, "r1").waitFor();
  const moving = await page.evaluate(() => document.getAnimations().length);
  assert.equal(moving, 0);
});

const TOKEN = "a-token-of-some-length";
withServer("where tokens are needed the page asks for one and keeps it for the tab", async () => {
  const { mkdtemp } = await import("node:fs/promises");
  const { tmpdir } = await import("node:os");
  const file = join(await mkdtemp(join(tmpdir(), "weir-page-")), "tokens");
  await writeFile(file, `read,write ${TOKEN} tests\n`);
  return { WEIR_AUTH_TOKENS_FILE: file };
}, async ({ weir, open }) => {
  const run = new Run("web", "r1");
  await weir.post([...run.started(2), run.test(1, "passed")], { authorization: `Bearer ${TOKEN}` });
  const page = await open();
  const input = page.getByLabel(/asks for a token/);
  await input.fill("not-the-right-token");
  await input.press("Enter");
  await until(page, () => document.querySelector("#token-problem").textContent !== "");
  assert.equal(await page.locator("tr.run").count(), 0);
  await input.fill(TOKEN);
  await input.press("Enter");
  await untilDone(page, "r1", "1 / 2");
  assert.equal(await input.isVisible(), false);
  await page.reload();
  await untilDone(page, "r1", "1 / 2");
});
