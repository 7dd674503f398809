// The failure patterns: what failures have in common, most frequent first.

import { arrowKeys, attribute, h, hide, KeyedList, text } from "../dom.js";
import { ago, clock, count, counted } from "../format.js";
import { emptyState, icon, moreButton, panel } from "../parts.js";

const STEP = 50;

export function mountPatterns(app, { limit = STEP, link = false } = {}) {
  const patterns = app.store.watch("failure_patterns");
  const items = h("ul.patterns", { "aria-label": "Failure patterns" });
  arrowKeys(items, "button.pattern");
  const empty = emptyState();
  const more = moreButton(limit, () => app.store.announce());
  const list = new KeyedList(items, () => patternRow(app, patterns));
  const all = h("a.panel-link", { href: "#/patterns" }, "All patterns");
  const { element, note } = panel("Failure patterns", { tools: link ? [all] : [] }, columnHeads(), items, empty.element, ...(link ? [] : [more.element]));

  return {
    element,
    draw() {
      const rows = [...patterns.rows.values()].filter((row) => app.project === null || patterns.value(row, "project") === app.project);
      rows.sort((a, b) => patterns.value(b, "count_10m") - patterns.value(a, "count_10m")
        || patterns.value(b, "last_seen_at") - patterns.value(a, "last_seen_at")
        || (patterns.rowKey(a) < patterns.rowKey(b) ? -1 : 1));
      const shown = rows.slice(0, link ? limit : more.limit);
      list.draw(shown, (row) => patterns.rowKey(row));
      more.update(rows.length);
      hide(items, rows.length === 0);
      hide(items.previousElementSibling, rows.length === 0);
      empty.update(patterns, rows.length, "No failures in the last 24 hours.");
      const of = link && rows.length > limit ? `the first ${limit} of ${count(rows.length)}` : counted(rows.length, "pattern");
      text(note, rows.length === 0 ? "" : `${of}, by occurrences in 10 minutes`);
    },
    unmount: () => app.store.release(patterns),
  };
}

function columnHeads() {
  return h("div.pattern-heads", { "aria-hidden": "true" }, h("span.number", {}, "10 min"), h("span", {}, "Pattern"),
    h("span.number", {}, "Tests"), h("span.number", {}, "First seen"), h("span.number", {}, "Last seen"), h("span"));
}

function patternRow(app, patterns) {
  const amount = h("span.number.num.amount");
  const kind = h("span.kind");
  const pattern = h("span.pattern-text");
  const tests = h("span.num");
  const first = h("span.number.num.first");
  const last = h("span.number.num.last");
  const button = h("button.pattern", { type: "button", "aria-expanded": "false", onclick: () => toggle() },
    amount, h("span.pattern-what", {}, kind, pattern), h("span.number.tests", {}, tests, h("span.visually-hidden", {}, " tests")), first, last, icon("chevron"));
  const spread = h("p.spread");
  const sampleTest = h("p.sample-test");
  const sampleMessage = h("pre.error-text", { tabindex: 0, "aria-label": "Sample message" });
  const more = h("div.details", { hidden: true }, spread, sampleTest, sampleMessage);
  function toggle() {
    more.hidden = !more.hidden;
    attribute(button, "aria-expanded", String(!more.hidden));
  }
  return {
    element: h("li", {}, button, more),
    update(row) {
      const value = (column) => patterns.value(row, column);
      const now = app.now();
      text(amount, count(value("count_10m")));
      attribute(amount, "data-zero", !value("count_10m"));
      text(kind, [app.project === null ? value("project") : null, value("type")].filter(Boolean).join(" · "));
      text(pattern, value("pattern"));
      text(tests, `${value("capped") ? "≥ " : ""}${count(value("tests"))}`);
      text(first, clock(value("first_seen_at"), now));
      text(last, ago(value("last_seen_at"), now));
      attribute(amount, "data-trend", value("trend"));
      attribute(amount, "title", value("trend") === "steady" ? null : `${value("trend")}: against the 50 minutes before`);
      text(spread, spreadOf(value));
      text(sampleTest, `For example ${value("sample_test") ?? "a run that failed by itself"}:`);
      text(sampleMessage, value("sample_message"));
    },
  };
}

/** In how many places it was seen, and what these have in common. */
function spreadOf(value) {
  const least = value("capped") ? "at least " : "";
  const places = [counted(value("runs"), "run"), counted(value("users"), "user"), counted(value("workers"), "worker")]
    .map((place) => least + place).join(", ");
  const common = value("common").length > 0 ? `; all with ${value("common").join(", ")}` : "";
  return `${count(value("count_1h"))} in the last hour, ${count(value("count_24h"))} in 24 hours, in ${places}${common}.`;
}
