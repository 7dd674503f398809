// The tests of one run: what went wrong first, filtered by outcome, suite and name. Holds 10,000 tests: only those that
// are shown have elements, and order is computed when rows or filters change.

import { arrowKeys, attribute, h, hide, KeyedList, text } from "../dom.js";
import { clock, counted, duration } from "../format.js";
import { choice, emptyState, icon, moreButton, panel, stateMark } from "../parts.js";

const STEP = 200;
const RANK = { failed: 0, error: 0, timeout: 0, running: 1, passed: 2, skipped: 3 };
const CHOICES = [["all", "All"], ["failed", "Failed"], ["error", "Errors"], ["flaky", "Flaky"], ["running", "Running"], ["passed", "Passed"], ["skipped", "Skipped"]];

export function mountTests(app, { project, run }) {
  const tests = app.store.watch("test_results", { project, runId: run });
  const items = h("ul.tests", { "aria-label": "Tests" });
  arrowKeys(items, "button.test");
  const empty = emptyState();
  const more = moreButton(STEP, () => refresh());
  const outcomes = choice("Show tests that are", CHOICES, "all", () => changed());
  const search = h("input.search", { type: "search", placeholder: "Test or error", "aria-label": "Search tests", oninput: () => changed() });
  const suiteChip = h("button.chip", { type: "button", onclick: () => ofSuite(null) });
  const list = new KeyedList(items, () => testRow(app, tests));
  const tools = h("div.tools", {}, outcomes.element, suiteChip, search);
  const { element, note } = panel("Tests", {}, tools, items, empty.element, more.element);
  let suite = null;
  let drawn = null;

  function refresh() {
    drawn = null;
    app.store.announce();
  }
  function changed() {
    more.reset();
    refresh();
  }
  function ofSuite(wanted) {
    suite = suite === wanted ? null : wanted;
    changed();
  }

  return {
    element,
    ofSuite,
    get suite() {
      return suite;
    },
    draw() {
      hide(suiteChip, suite === null);
      empty.update(tests, list.nodes.size, tests.rows.size === 0 ? "No tests seen yet." : "No test matches.");
      if (drawn === tests.revision) return;
      drawn = tests.revision;
      const { shown, amounts } = select(tests, { suite, outcome: outcomes.value, words: search.value.trim().toLowerCase() });
      outcomes.counts(amounts);
      list.draw(shown.slice(0, more.limit), (row) => tests.rowKey(row));
      more.update(shown.length);
      hide(items, shown.length === 0);
      empty.update(tests, shown.length, tests.rows.size === 0 ? "No tests seen yet." : "No test matches.");
      text(suiteChip, `Suite ${suite}: show all suites`);
      text(note, counted(amounts.all, "test"));
    },
    unmount: () => app.store.release(tests),
  };
}

const GROUPS = { failed: "failed", error: "error", timeout: "error", running: "running", passed: "passed", skipped: "skipped" };

/** The rows to show, in order, and how many each choice would show. */
function select(tests, { suite, outcome, words }) {
  const amounts = Object.fromEntries(CHOICES.map(([value]) => [value, 0]));
  const shown = [];
  for (const row of tests.rows.values()) {
    if (suite !== null && tests.value(row, "suite") !== suite) continue;
    if (words !== "" && !matches(tests, row, words)) continue;
    const group = GROUPS[tests.value(row, "outcome")];
    amounts.all += 1;
    amounts[group] += 1;
    const flaky = tests.value(row, "flaky") === true;
    if (flaky) amounts.flaky += 1;
    if (outcome === "all" || outcome === group || (outcome === "flaky" && flaky)) shown.push(row);
  }
  const rank = (row) => RANK[tests.value(row, "outcome")] - (tests.value(row, "flaky") === true ? 0.5 : 0);
  const name = (row) => nameOf(tests, row);
  shown.sort((a, b) => rank(a) - rank(b) || (name(a) < name(b) ? -1 : name(a) > name(b) ? 1 : tests.rowKey(a) < tests.rowKey(b) ? -1 : 1));
  return { shown, amounts };
}

function nameOf(tests, row) {
  return tests.value(row, "name") || tests.value(row, "test");
}

function matches(tests, row, words) {
  return ["name", "test", "suite", "error"].some((column) => tests.value(row, column)?.toLowerCase().includes(words));
}

function testRow(app, tests) {
  const state = stateMark();
  const name = h("span.test-name");
  const suite = h("span.sub");
  const error = h("span.error-line");
  const tags = h("span.tags");
  const time = h("span.number.num");
  const button = h("button.test", { type: "button", "aria-expanded": "false", onclick: () => toggle() },
    state.element, h("span.test-what", {}, name, suite, error), tags, time, icon("chevron"));
  const full = h("pre.error-text", { tabindex: 0, "aria-label": "Error" });
  const facts = h("p.sub");
  const details = h("div.details", { hidden: true }, full, facts);
  let current;
  function toggle() {
    details.hidden = !details.hidden;
    attribute(button, "aria-expanded", String(!details.hidden));
    fill();
  }
  function fill() {
    if (details.hidden) return;
    const value = (column) => tests.value(current, column);
    hide(full, !value("error"));
    text(full, value("error"));
    text(facts, factsOf(app, value));
  }
  return {
    element: h("li", {}, button, details),
    update(row) {
      if (row === current) return;
      current = row;
      const value = (column) => tests.value(row, column);
      state.update(value("outcome"));
      attribute(button, "data-outcome", value("outcome"));
      text(name, nameOf(tests, row));
      text(suite, value("suite"));
      const line = value("error")?.trim().split("\n", 1)[0] ?? "";
      text(error, line);
      hide(error, line === "");
      text(tags, marks(value));
      text(time, duration(value("duration")));
      fill();
    },
  };
}

function marks(value) {
  const words = [];
  if (value("flaky") === true) words.push("flaky");
  if (value("attempts") > 1) words.push(counted(value("attempts"), "attempt"));
  return words.join(" · ");
}

function factsOf(app, value) {
  const facts = [["Test", value("test")], ["Finished", value("finished_at") == null ? null : clock(value("finished_at"), app.now())],
    ["Attempts", value("attempts")], ["Framework", value("framework")], ["Worker", value("worker")], ["Shard", value("shard")],
    ["Tags", value("tags")?.join(", ")], ["Pattern", value("error_fingerprint")]];
  return facts.filter(([, fact]) => fact != null && fact !== "").map(([name, fact]) => `${name}: ${fact}`).join("  ·  ");
}
