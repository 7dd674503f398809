// The tests that take longest, and how that changes.

import { attribute, h, hide, KeyedList, text } from "../dom.js";
import { count, counted, duration } from "../format.js";
import { emptyState, moreButton, panel } from "../parts.js";

const STEP = 50;

export function mountSlow(app) {
  const tests = app.store.watch("slow_tests");
  const body = h("tbody");
  const table = h("table.plain.slow-tests", { "aria-label": "Slow tests" }, tableHead(), body);
  const empty = emptyState();
  const more = moreButton(STEP, () => app.store.announce());
  const list = new KeyedList(body, () => testRow(app, tests));
  const { element, note } = panel("Slow tests", {}, table, empty.element, more.element);
  return {
    element,
    draw() {
      const rows = [...tests.rows.values()].filter((row) => tests.value(row, "test") !== ""
        && (app.project === null || tests.value(row, "project") === app.project));
      rows.sort((a, b) => tests.value(b, "p50") - tests.value(a, "p50") || (tests.rowKey(a) < tests.rowKey(b) ? -1 : 1));
      list.draw(rows.slice(0, more.limit), (row) => tests.rowKey(row));
      more.update(rows.length);
      hide(table, rows.length === 0);
      empty.update(tests, rows.length, "No test has said how long it took in the last 7 days.");
      text(note, rows.length > 0 ? `the ${counted(rows.length, "slowest", "slowest")} by median, over 7 days` : "");
    },
    unmount: () => app.store.release(tests),
  };
}

function tableHead() {
  const heading = (label, className = "") => h(`th${className}`, { scope: "col" }, label);
  return h("thead", {}, h("tr", {}, heading("Test"), heading("Median", ".number"), heading("p95", ".number"),
    heading("Newest day", ".number"), heading("Runs", ".number")));
}

function testRow(app, tests) {
  const name = h("span");
  const where = h("span.sub");
  const [median, p95, change, runs] = [h("td.number.num"), h("td.number.num"), h("td.number.num.change"), h("td.number.num")];
  return {
    element: h("tr.slow-test", {}, h("th", { scope: "row" }, name, where), median, p95, change, runs),
    update(row) {
      const value = (column) => tests.value(row, column);
      text(name, value("name") ?? value("test"));
      text(where, [app.project === null ? value("project") : null, value("suite")].filter(Boolean).join(" · "));
      text(median, duration(value("p50")));
      text(p95, duration(value("p95")));
      text(change, changeOf(value("change")));
      attribute(change, "data-trend", trendOf(value("change")));
      text(runs, count(value("runs")));
    },
  };
}

/** Against the days before, in percent; what is less than a tenth is none. */
function changeOf(change) {
  if (change === null) return "";
  if (Math.abs(change) < 10) return "as before";
  return change > 0 ? `+${count(Math.round(change))} %` : `−${count(Math.round(-change))} %`;
}

function trendOf(change) {
  if (change === null || Math.abs(change) < 10) return null;
  return change > 0 ? "rising" : "falling";
}
