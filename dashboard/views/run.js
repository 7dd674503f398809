// One run: where it stands, what is missing, its suites and its tests with outcome and error.

import { arrowKeys, attribute, h, hide, KeyedList, text } from "../dom.js";
import { ago, clock, commit, count, counted, DASH, duration } from "../format.js";
import { countsOf, panel, progressBar, stateMark } from "../parts.js";
import { elapsedMs } from "../time.js";
import { mountCoverage } from "./coverage.js";
import { mountMissing } from "./problems.js";
import { mountTests } from "./tests.js";
import { doneWords } from "./runs.js";

export function mountRun(app, { project, run }) {
  const runs = app.store.watch("run_progress");
  const suites = app.store.watch("suite_progress", { project, runId: run });
  const head = runHead(app, runs, project, run);
  const missing = mountMissing(app, { project, run });
  const coverage = mountCoverage(app, { project, run });
  const tests = mountTests(app, { project, run });
  const suitePanel = suiteList(suites, (suite) => tests.ofSuite(suite));
  return {
    element: h("div.run-page", {}, head.element, missing.element, suitePanel.element, coverage.element, tests.element),
    title: run,
    draw() {
      const row = runs.rows.get(JSON.stringify([project, run])) ?? null;
      head.draw(row);
      suitePanel.draw(tests.suite);
      missing.draw();
      tests.draw();
      coverage.draw();
    },
    unmount() {
      app.store.release(runs);
      app.store.release(suites);
      missing.unmount();
      tests.unmount();
      coverage.unmount();
    },
  };
}

const FACTS = ["Project", "Branch", "Commit", "User", "Framework", "Began", "Duration", "Last event", "Streams"];
const COUNTS = [["passed", "passed"], ["failed", "failed"], ["errored", "errors"], ["skipped", "skipped"], ["flaky", "flaky"]];

function runHead(app, runs, project, run) {
  const state = stateMark();
  const gone = h("p.empty-state", {}, "");
  const bar = progressBar("Progress");
  const done = h("span.done.num");
  const legend = COUNTS.map(([column, label]) => h("span.legend", { "data-segment": column }, h("span.num.value"), " ", h("span", {}, label)));
  const facts = FACTS.map((name) => h("div.fact", {}, h("dt", {}, name), h("dd")));
  const numbers = h("div.run-progress", {}, bar.element, h("div.legends", {}, done, ...legend), h("dl.facts", {}, ...facts));
  const element = h("section.panel.run-head", {},
    h("nav.crumbs", { "aria-label": "Breadcrumb" }, h("a", { href: "#/" }, "Runs"), h("span", { "aria-hidden": "true" }, "/"), h("span", {}, project)),
    h("div.run-title", {}, h("h1", { tabindex: -1 }, run), state.element), gone, numbers);
  return {
    element,
    draw(row) {
      hide(numbers, row === null);
      hide(state.element, row === null);
      hide(gone, row !== null);
      text(gone, runs.loaded ? "This run is not live: it ended a while ago, or no event of it has come yet." : "Waiting for the first numbers…");
      if (row === null) return;
      const counts = countsOf(runs, row);
      const value = (column) => runs.value(row, column);
      state.update(value("state"));
      bar.update(counts);
      text(done, doneWords(counts));
      legend.forEach((part, index) => {
        const amount = counts[COUNTS[index][0]];
        text(part.firstChild, count(amount));
        if (COUNTS[index][0] === "errored") text(part.lastChild, amount === 1 ? "error" : "errors");
        attribute(part, "data-zero", !amount);
      });
      factsOf(app, project, value).forEach((fact, index) => text(facts[index].lastChild, fact));
    },
  };
}

function factsOf(app, project, value) {
  const now = app.now();
  const open = value("open_streams") ?? 0;
  const shards = value("planned_shards");
  const streams = `${count(value("streams") ?? 0)}${shards == null ? "" : ` of ${counted(shards, "shard")}`}`;
  return [project, value("branch") ?? DASH, commit(value("commit")) ?? DASH, value("user") ?? DASH, value("framework") ?? DASH,
    clock(value("first_event_at"), now), duration(elapsedMs(value("state"), value("first_event_at"), value("last_event_at"), app.asOf())),
    ago(value("last_event_at"), now), open > 0 ? `${streams}, ${count(open)} open` : streams];
}

function suiteList(suites, onchoose) {
  const items = h("ul.suites");
  arrowKeys(items, "button.suite");
  let chosen = null;
  const list = new KeyedList(items, () => {
    const name = h("span.suite-name");
    const bar = progressBar("Progress of the suite");
    const done = h("span.num.done");
    const bad = h("span.num.bad");
    const time = h("span.num.number");
    const state = stateMark();
    let suite;
    const button = h("button.suite", { type: "button", onclick: () => onchoose(suite) }, state.element, name, bar.element, done, bad, time);
    return {
      element: h("li", {}, button),
      update(row) {
        const counts = countsOf(suites, row);
        suite = suites.value(row, "suite");
        state.update(suites.value(row, "state"));
        text(name, suites.value(row, "name") ?? suite);
        bar.update(counts);
        text(done, doneWords(counts));
        text(bad, badWords(counts));
        text(time, duration(suites.value(row, "duration")));
        attribute(button, "aria-pressed", String(chosen === suite));
      },
    };
  });
  const { element, note } = panel("Suites", {}, items);
  return {
    element,
    draw(suite) {
      chosen = suite;
      const rows = [...suites.rows.values()];
      rows.sort((a, b) => bad(suites, b) - bad(suites, a) || (suites.rowKey(a) < suites.rowKey(b) ? -1 : 1));
      list.draw(rows, (row) => suites.rowKey(row));
      hide(element, rows.length === 0);
      text(note, rows.length > 1 ? `${counted(rows.length, "suite")}; choose one to see only its tests` : "");
    },
  };
}

const bad = (suites, row) => ((suites.value(row, "failed") ?? 0) + (suites.value(row, "errored") ?? 0) > 0 ? 1 : 0);

function badWords({ failed, errored }) {
  const words = [];
  if (failed) words.push(`${count(failed)} failed`);
  if (errored) words.push(counted(errored, "error"));
  return words.join(", ");
}
