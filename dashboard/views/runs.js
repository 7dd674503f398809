// The runs: those that are live and those that ended not long ago, with progress that moves.

import { arrowKeys, attribute, h, hide, KeyedList, text } from "../dom.js";
import { ago, commit, count, DASH, duration } from "../format.js";
import { choice, countsOf, emptyState, moreButton, panel, progressBar, stateMark } from "../parts.js";
import { runAddress } from "../router.js";
import { elapsedMs } from "../time.js";

const STEP = 100;
const COUNTS = [["passed", "Passed"], ["failed", "Failed"], ["errored", "Errors"], ["skipped", "Skipped"], ["flaky", "Flaky"]];
const STATES = [["all", "All"], ["running", "Running"], ["failed", "Failed"], ["passed", "Passed"], ["abandoned", "Abandoned"]];

export function mountRuns(app) {
  const runs = app.store.watch("run_progress");
  const body = h("tbody", { role: "rowgroup" });
  const table = h("table.runs", { role: "table", "aria-label": "Runs" }, tableHead(), body);
  arrowKeys(body, "a.run-link");
  const empty = emptyState();
  const more = moreButton(STEP, () => app.store.announce());
  const states = choice("Show runs that are", STATES, "all", () => changed());
  const search = h("input.search", { type: "search", placeholder: "Run, branch, commit or user", "aria-label": "Search runs", oninput: () => changed() });
  const list = new KeyedList(body, () => runRow(app, runs));
  const tools = h("div.tools", {}, states.element, search);
  const { element, note } = panel("Runs", {}, tools, table, empty.element, more.element);

  function changed() {
    more.reset();
    app.store.announce();
  }

  return {
    element,
    draw() {
      const ofProject = [...runs.rows.values()].filter((row) => app.project === null || runs.value(row, "project") === app.project);
      const words = search.value.trim().toLowerCase();
      const found = words === "" ? ofProject : ofProject.filter((row) => matches(runs, row, words));
      const amounts = { all: found.length, running: 0, failed: 0, passed: 0, abandoned: 0 };
      for (const row of found) amounts[runs.value(row, "state")] += 1;
      states.counts(amounts);
      const shown = states.value === "all" ? found : found.filter((row) => runs.value(row, "state") === states.value);
      shown.sort(byTime(runs));
      list.draw(shown.slice(0, more.limit), (row) => runs.rowKey(row));
      more.update(shown.length);
      hide(table, shown.length === 0);
      empty.update(runs, shown.length, ofProject.length === 0 ? "No runs yet. Send one with: weir send report.xml" : "No run matches.");
      text(note, app.project === null ? "" : `of ${app.project}`);
    },
    unmount: () => app.store.release(runs),
  };
}

function tableHead() {
  const heading = (label, className) => h(`th${className}`, { scope: "col", role: "columnheader" }, label);
  return h("thead", { role: "rowgroup" }, h("tr", { role: "row" },
    heading("State", ".col-state"), heading("Run", ".col-run"), heading("Branch", ".col-source"), heading("Progress", ".col-progress"),
    ...COUNTS.map(([column, label]) => heading(label, `.number.col-${column}`)),
    heading("Duration", ".number.col-duration"), heading("Last event", ".number.col-last")));
}

/** The live ones first, the youngest of them on top; then the others by when they ended. Rows move only when a state does. */
function byTime(runs) {
  const live = (row) => (runs.value(row, "state") === "running" ? 0 : 1);
  const at = (row) => runs.value(row, live(row) === 0 ? "first_event_at" : "last_event_at") ?? 0;
  return (a, b) => live(a) - live(b) || at(b) - at(a) || (runs.rowKey(a) < runs.rowKey(b) ? -1 : 1);
}

function matches(runs, row, words) {
  return ["project", "run", "branch", "commit", "user", "framework"].some((column) => runs.value(row, column)?.toLowerCase().includes(words));
}

function runRow(app, runs) {
  const cell = (className, ...content) => h(`td.${className}`, { role: "cell" }, ...content);
  const state = stateMark();
  const link = h("a.run-link");
  const project = h("span.sub");
  const branch = h("span.branch");
  const source = h("span.sub");
  const bar = progressBar("Progress");
  const done = h("span.done.num");
  const rest = h("span.sub.rest");
  const counts = COUNTS.map(([column]) => cell(`number.num.count.col-${column}`, h("span.value"), h("span.narrow-label")));
  const elapsed = cell("number.num.col-duration");
  const last = cell("number.num.col-last");
  const element = h("tr.run", { role: "row" }, cell("col-state", state.element), cell("col-run", link, project),
    cell("col-source", branch, source), cell("col-progress", bar.element, h("span.progress-words", {}, done, rest)), ...counts, elapsed, last);
  element.addEventListener("click", (event) => {
    if (!event.target.closest("a") && getSelection().isCollapsed) link.click();
  });

  return {
    element,
    update(row) {
      const value = (column) => runs.value(row, column);
      const numbers = countsOf(runs, row);
      const now = app.now();
      state.update(value("state"));
      attribute(element, "data-state", value("state"));
      attribute(link, "href", runAddress(value("project"), value("run")));
      text(link, value("run"));
      text(project, [value("project"), value("framework")].filter(Boolean).join(" · "));
      text(branch, value("branch") ?? DASH);
      text(source, [commit(value("commit")), value("user")].filter(Boolean).join(" · "));
      bar.update(numbers);
      text(done, doneWords(numbers));
      text(rest, restWords(runs, row));
      COUNTS.forEach(([column, label], index) => {
        text(counts[index].firstChild, count(numbers[column]));
        text(counts[index].lastChild, column === "errored" && numbers[column] === 1 ? "error" : label.toLowerCase());
        attribute(counts[index], "data-zero", !numbers[column]);
      });
      text(elapsed, duration(elapsedMs(value("state"), value("first_event_at"), value("last_event_at"), app.asOf())));
      text(last, ago(value("last_event_at"), now));
    },
  };
}

export function doneWords({ planned, finished }) {
  return planned == null ? `${count(finished ?? 0)} finished` : `${count(finished ?? 0)} / ${count(planned)}`;
}

/** What is still open. */
function restWords(runs, row) {
  if (runs.value(row, "state") !== "running") return "";
  const open = runs.value(row, "open_streams") ?? 0;
  const streams = Math.max(runs.value(row, "streams") ?? 0, runs.value(row, "planned_shards") ?? 0);
  return streams > 1 ? `${count(open)} of ${count(streams)} streams open` : "";
}
