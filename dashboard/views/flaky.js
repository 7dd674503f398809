// The tests that fail now and then: what they are, by what evidence, and what would clear them.

import { arrowKeys, attribute, h, hide, KeyedList, text } from "../dom.js";
import { ago, clock, count, counted, percent } from "../format.js";
import { emptyState, moreButton, panel, stateMark, word } from "../parts.js";
import { runAddress } from "../router.js";

const STEP = 100;
/** Attempts shown of the evidence: the newest. */
const SHOWN = 4;
const STATES = ["broken", "flaky", "fixed"];
const REASONS = {
  retry: () => "failed, then passed in one run",
  commit: () => "failed and passed on one commit",
  flips: (flips) => `changed its outcome ${counted(flips, "time")}`,
  failures: () => "keeps failing",
  passes: () => "passes again",
  days: () => "no failure for days",
};

export function mountFlaky(app) {
  const tests = app.store.watch("flaky_tests", { state: STATES });
  const body = h("tbody");
  const table = h("table.plain.flaky-tests", { "aria-label": "Flaky tests" }, tableHead(), body);
  arrowKeys(body, "a.attempt");
  const empty = emptyState();
  const more = moreButton(STEP, () => app.store.announce());
  const list = new KeyedList(body, () => testRow(app, tests));
  const { element, note } = panel("Flaky tests", {}, table, empty.element, more.element);
  return {
    element,
    draw() {
      const rows = [...tests.rows.values()].filter((row) => app.project === null || tests.value(row, "project") === app.project);
      const rank = (row) => STATES.indexOf(tests.value(row, "state"));
      rows.sort((a, b) => rank(a) - rank(b) || tests.value(b, "since") - tests.value(a, "since") || (tests.rowKey(a) < tests.rowKey(b) ? -1 : 1));
      list.draw(rows.slice(0, more.limit), (row) => tests.rowKey(row));
      more.update(rows.length);
      hide(table, rows.length === 0);
      empty.update(tests, rows.length, "None: no test has failed and passed without a reason lately.");
      const amount = (state) => rows.filter((row) => tests.value(row, "state") === state).length;
      text(note, rows.length > 0 ? STATES.map((state) => `${count(amount(state))} ${word(state).toLowerCase()}`).join(", ") : "");
    },
    unmount: () => app.store.release(tests),
  };
}

function tableHead() {
  const heading = (label, className = "") => h(`th${className}`, { scope: "col" }, label);
  return h("thead", {}, h("tr", {}, heading("Test"), heading("State"), heading("Failed", ".number.col-failed"),
    heading("Decided by"), heading("Clear after", ".col-clear"), heading("Since", ".number")));
}

function testRow(app, tests) {
  const name = h("span");
  const where = h("span.sub");
  const state = stateMark();
  const failed = h("td.number.num.col-failed");
  const reason = h("span.reason");
  const attempts = h("span.sub");
  const clear = h("td.col-clear");
  const since = h("td.number.num");
  return {
    element: h("tr.flaky-test", {}, h("th", { scope: "row" }, name, where), h("td", {}, state.element), failed, h("td", {}, reason, attempts), clear, since),
    update(row) {
      const value = (column) => tests.value(row, column);
      text(name, value("name") ?? value("test"));
      text(where, [app.project === null ? value("project") : null, value("branch")].filter(Boolean).join(" · "));
      state.update(value("state"));
      text(failed, `${percent(value("flake_rate"))} % of ${count(value("outcomes"))}`);
      text(reason, REASONS[value("reason")]?.(value("flips")) ?? "");
      drawAttempts(attempts, value("project"), value("evidence") ?? []);
      const needed = value("passes_needed");
      text(clear, needed === null ? "" : `${counted(needed, "pass", "passes")} in a row, or no failure until ${clock(value("clears_at"), app.now())}`);
      text(since, ago(value("since"), app.now()));
    },
  };
}

function drawAttempts(element, project, evidence) {
  const shown = evidence.slice(-SHOWN).map((attempt) => JSON.parse(attempt));
  const words = shown.map(({ run, attempt, outcome }) => `${run} #${attempt} ${outcome}`);
  if (element.dataset.shown === words.join("\n")) return;
  element.dataset.shown = words.join("\n");
  element.replaceChildren(...shown.map(({ run }, index) => {
    const link = h("a.attempt", {}, words[index]);
    attribute(link, "href", runAddress(project, run));
    return link;
  }));
}
