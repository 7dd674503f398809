// The tiles of a sliding window, one card a project, each with how complete its numbers are and, from its dashboard, what
// fires, is flaky and is covered now; and what the chosen project is made of. One window is shown, and one subscription a window is held: its rows move at the server's pace.

import { attribute, h, hide, KeyedList, text } from "../dom.js";
import { clock, count, counted, duration, percent, rate } from "../format.js";
import { choice, emptyState, panel } from "../parts.js";

const WINDOWS = [["60s", "60 s"], ["10m", "10 min"], ["1h", "1 h"]];
const WORDS = { "60s": "60 seconds", "10m": "10 minutes", "1h": "hour" };
const SCOPES = [["suite", "Suites"], ["branch", "Branches"], ["framework", "Frameworks"]];
const TILES = [
  ["success_rate", "Success", "%", percent],
  ["tests_per_second", "Tests / s", "", rate],
  ["error_rate", "Errors", "%", percent],
  ["average_duration", "Average", "", duration],
  ["p50", "p50", "", duration],
  ["p95", "p95", "", duration],
  ["running_tests", "Running", "", count],
  ["failure_patterns", "Patterns", "", count],
  ["p99", "p99", "", duration],
];
/** Of now, whatever the window: from the project's row of `dashboard`. */
const NOW_TILES = [
  ["firing_alerts", "Alerts", "", count],
  ["flaky_tests", "Flaky", "", count],
  ["live_coverage", "Covered", "%", percent],
];
const ROWS_MAX = 12;

export function mountMetrics(app) {
  const shown = new Shown(app.store);
  const cards = h("div.cards", { role: "group", "aria-label": "Projects; choose one to see only its runs" });
  const empty = emptyState();
  const list = new KeyedList(cards, () => projectCard(app, shown));
  const windows = choice("Window", WINDOWS, "60s", () => app.store.announce());
  const scopes = choice("Of the project, show its", SCOPES, "suite", () => app.store.announce());
  const table = scopeTable(shown);
  const details = h("div.details", {}, scopes.element, table.element);
  const { element, heading, note } = panel("Last 60 seconds", { tools: [windows.element] }, cards, empty.element, details);
  element.classList.add("metrics");

  return {
    element,
    draw() {
      shown.choose(windows.value, app.project, scopes.value);
      const projects = [...shown.projects.rows.values()];
      projects.sort((a, b) => (shown.projects.value(a, "project") < shown.projects.value(b, "project") ? -1 : 1));
      list.draw(projects, (row) => shown.projects.value(row, "project"));
      attribute(cards, "data-count", Math.min(projects.length, 4));
      text(heading, `Last ${WORDS[shown.window]}`);
      empty.update(shown.projects, projects.length, `No tests in the last ${WORDS[shown.window]}.`);
      hide(details, app.project === null);
      table.draw();
      text(note, completeUpTo(app));
    },
    unmount: () => shown.release(),
  };
}

/** The rows that are shown: of the projects in one window, of them now, and of what the chosen one is made of. */
class Shown {
  constructor(store) {
    this.store = store;
    this.window = "60s";
    this.now = this.ofProjects("60s");
    this.projects = this.ofProjects("60s");
    this.dashboard = store.watch("dashboard");
    this.parts = null;
    this.coming = null;
    this.part = "";
  }

  ofProjects(window) {
    return this.store.watch("live_metrics", { window, scope: "project" });
  }

  /** What is shown stays until what is wanted is there. */
  choose(window, project, scope) {
    if (this.coming && this.coming.window !== window) this.drop();
    if (window !== this.window) {
      this.coming ??= { window, rows: this.ofProjects(window) };
      if (this.coming.rows.loaded || this.coming.rows.error !== null) {
        this.store.release(this.projects);
        [this.projects, this.window, this.coming] = [this.coming.rows, window, null];
      }
    }
    const part = project === null ? "" : JSON.stringify([window, project, scope]);
    if (part === this.part) return;
    if (this.parts) this.store.release(this.parts);
    this.parts = project === null ? null : this.store.watch("live_metrics", { window, project, scope });
    this.part = part;
  }

  drop() {
    this.store.release(this.coming.rows);
    this.coming = null;
  }

  release() {
    if (this.coming) this.drop();
    for (const rows of [this.now, this.projects, this.dashboard, this.parts]) if (rows) this.store.release(rows);
  }
}

function completeUpTo(app) {
  const at = app.connection.status.upTo;
  return at !== null ? `complete up to ${clock(at, app.now())}` : "";
}

function projectCard(app, shown) {
  const name = h("span.card-name");
  const mark = h("span.completeness");
  const values = [...TILES, ...NOW_TILES].map(([column, label, unit]) => {
    const value = h("span.value.num");
    const tile = h("span.tile", { "data-column": column }, value, unit ? h("span.unit", {}, unit) : null, h("span.tile-label", {}, label));
    return { value, tile };
  });
  let project;
  const element = h("button.card", { type: "button", onclick: () => app.choose(app.project === project ? null : project) },
    h("span.card-head", {}, name, mark), h("span.tiles", {}, ...values.map(({ tile }) => tile)));
  return {
    element,
    update(row) {
      const metrics = shown.projects;
      project = metrics.value(row, "project");
      text(name, project);
      attribute(element, "aria-pressed", String(app.project === project));
      // Of what runs and is awaited, the row of the shortest window knows; without one there is nothing.
      const ofProject = (rows) => [...rows.rows.values()].find((other) => rows.value(other, "project") === project);
      const [now, glance] = [ofProject(shown.now), ofProject(shown.dashboard)];
      const gauge = (column) => (now ? shown.now.value(now, column) : 0) ?? 0;
      TILES.forEach(([column, , , format], index) => {
        const number = column === "running_tests" ? gauge(column) : metrics.value(row, column);
        text(values[index].value, format(number));
        attribute(values[index].tile, "data-level", level(column, number));
      });
      NOW_TILES.forEach(([column, , , format], index) => {
        const number = glance ? shown.dashboard.value(glance, column) : column === "live_coverage" ? null : 0;
        const { value, tile } = values[TILES.length + index];
        text(value, format(number));
        attribute(tile, "data-level", level(column, number));
        if (column === "live_coverage") attribute(tile, "title", trendWords(now ? shown.now.value(now, "coverage_trend") : null));
      });
      const { complete, words } = completeness(gauge("open_streams"), gauge("not_seen"));
      text(mark, words);
      attribute(mark, "data-complete", String(complete));
    },
  };
}

/** How much is still to come, in words. */
function completeness(open, unseen) {
  if (open === 0 && unseen === 0) return { complete: true, words: "complete" };
  const words = [];
  if (open > 0) words.push(counted(open, "open stream"));
  if (unseen > 0) words.push(`${count(unseen)} not seen`);
  return { complete: false, words: words.join(" · ") };
}

/** How coverage has changed, for whoever points at it. */
function trendWords(trend) {
  if (trend == null) return null;
  const points = trend.toFixed(1);
  return `${Number(points) === 0 ? "as" : `${trend > 0 ? "+" : ""}${points} points against what it was`} 10 minutes ago`;
}

function level(column, number) {
  if (number == null) return null;
  if (column === "firing_alerts" && number > 0) return "bad";
  if (column === "flaky_tests" && number > 0) return "fair";
  if (column === "success_rate") return number < 90 ? "bad" : number < 98 ? "fair" : null;
  if (column === "error_rate") return number > 10 ? "bad" : number > 2 ? "fair" : null;
  return null;
}

/** The busiest suites, branches or frameworks of the chosen project. */
function scopeTable(shown) {
  const columns = ["tests_per_second", "success_rate", "average_duration", "p95", "failure_patterns"];
  const formats = { tests_per_second: rate, success_rate: (value) => `${percent(value)} %`, average_duration: duration, p95: duration, failure_patterns: count };
  const body = h("tbody");
  const headings = ["Name", "Tests / s", "Success", "Average", "p95", "Patterns"];
  const caption = h("caption");
  const table = h("table.plain.suite-metrics", {}, caption,
    h("thead", {}, h("tr", {}, ...headings.map((heading, index) => h(index ? "th.number" : "th", { scope: "col" }, heading)))), body);
  const empty = emptyState();
  const list = new KeyedList(body, () => {
    const name = h("th", { scope: "row" });
    const cells = columns.map(() => h("td.number.num"));
    return {
      element: h("tr", {}, name, ...cells),
      update(row) {
        // The one without a name stands for all who found no room.
        text(name, shown.parts.value(row, "name") || "Others");
        columns.forEach((column, index) => text(cells[index], formats[column](shown.parts.value(row, column))));
      },
    };
  });
  return {
    element: h("div", {}, table, empty.element),
    draw() {
      if (!shown.parts) return;
      const rows = [...shown.parts.rows.values()];
      const value = (row, column) => shown.parts.value(row, column);
      hide(table, rows.length === 0);
      empty.update(shown.parts, rows.length, `None in the last ${WORDS[shown.window]}.`);
      rows.sort((a, b) => value(b, "tests_per_second") - value(a, "tests_per_second") || (value(a, "name") < value(b, "name") ? -1 : 1));
      list.draw(rows.slice(0, ROWS_MAX), (row) => value(row, "name"));
      text(caption, rows.length > ROWS_MAX ? `The ${ROWS_MAX} busiest of ${rows.length}` : "The busiest first");
    },
  };
}
