// What fires: worst first, each with what it says, since when, and the run that it is about.

import { attribute, h, hide, KeyedList, text } from "../dom.js";
import { ago, count, counted } from "../format.js";
import { emptyState, icon, moreButton, panel } from "../parts.js";
import { runAddress } from "../router.js";

const STEP = 100;
const SEVERITIES = ["error", "warning", "info"];
const WORDS = { error: "Error", warning: "Warning", info: "Info" };
/** Views whose rows are of a run: their key begins with it. */
const OF_RUNS = ["run_progress", "suite_progress", "coverage_summary", "missing"];

/** `link`: the first `limit` of them with a link to all, and nothing while nothing fires. */
export function mountAlerts(app, { limit = STEP, link = false } = {}) {
  const alerts = app.store.watch("alerts");
  const items = h("ul.problems.alerts", { "aria-label": "Alerts" });
  const empty = emptyState();
  const more = moreButton(limit, () => app.store.announce());
  const list = new KeyedList(items, () => alertRow(app, alerts));
  const all = h("a.panel-link", { href: "#/alerts" }, "All alerts");
  const { element, note } = panel("Alerts", { tools: link ? [all] : [] }, items, empty.element, ...(link ? [] : [more.element]));
  return {
    element,
    draw() {
      const rows = [...alerts.rows.values()].filter((row) => app.project === null || alerts.value(row, "project") === app.project);
      const rank = (row) => SEVERITIES.indexOf(alerts.value(row, "severity"));
      rows.sort((a, b) => rank(a) - rank(b) || alerts.value(b, "fired_at") - alerts.value(a, "fired_at") || (alerts.rowKey(a) < alerts.rowKey(b) ? -1 : 1));
      list.draw(rows.slice(0, link ? limit : more.limit), (row) => alerts.rowKey(row));
      more.update(rows.length);
      hide(element, link && rows.length === 0 && alerts.error === null);
      hide(items, rows.length === 0);
      empty.update(alerts, rows.length, "None: nothing fires.");
      const amount = (severity) => rows.filter((row) => alerts.value(row, "severity") === severity).length;
      const shown = link && rows.length > limit ? `the first ${limit} of ${count(rows.length)}` : counted(rows.length, "alert");
      const parts = SEVERITIES.filter((severity) => amount(severity) > 0).map((severity) => `${count(amount(severity))} ${WORDS[severity].toLowerCase()}`);
      text(note, rows.length > 0 ? `${shown}: ${parts.join(", ")}` : "");
    },
    unmount: () => app.store.release(alerts),
  };
}

function alertRow(app, alerts) {
  const label = h("span.label");
  const severity = h("span.state", {}, label);
  const message = h("span.what");
  const about = h("span.sub");
  const link = h("a");
  const since = h("span.number.num");
  let shown;
  return {
    element: h("li.problem.alert", {}, severity, h("span.problem-text", {}, message, h("span.sub", {}, link, about)), since),
    update(row) {
      const value = (column) => alerts.value(row, column);
      if (shown !== value("severity")) {
        shown = value("severity");
        severity.querySelector("svg")?.remove();
        severity.prepend(icon(shown));
        attribute(severity, "data-state", shown);
        text(label, WORDS[shown] ?? shown);
      }
      text(message, value("message"));
      const run = runOf(value("view"), value("subject"));
      hide(link, run === null);
      if (run !== null) {
        text(link, `${value("project")} / ${run}`);
        link.href = runAddress(value("project"), run);
      }
      text(about, run === null ? `${value("project")} · ${value("rule")}` : ` · ${value("rule")}`);
      text(since, ago(value("fired_at"), app.now()));
    },
  };
}

/** The run that an alert's subject names, if its view has rows of runs: parts are joined by ` · `, a `·` in one is doubled. */
export function runOf(view, subject) {
  if (!OF_RUNS.includes(view)) return null;
  return view === "run_progress" ? subject : subject.split(" · ")[0].replaceAll("··", "·");
}
