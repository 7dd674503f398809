// The tiles of the last 60 seconds, one card a project, each with how complete its numbers are.

import { attribute, h, hide, KeyedList, text } from "../dom.js";
import { clock, count, counted, duration, percent, rate } from "../format.js";
import { emptyState, panel } from "../parts.js";

const TILES = [
  ["success_rate", "Success", "%", percent],
  ["tests_per_second", "Tests / s", "", rate],
  ["error_rate", "Errors", "%", percent],
  ["average_duration", "Average", "", duration],
  ["running_tests", "Running", "", count],
  ["failure_patterns", "Patterns", "", count],
];
const SUITES_MAX = 12;

export function mountMetrics(app) {
  const metrics = app.store.watch("live_metrics");
  const cards = h("div.cards", { role: "group", "aria-label": "Projects; choose one to see only its runs" });
  const empty = emptyState();
  const list = new KeyedList(cards, () => projectCard(app, metrics));
  const suites = suiteTable(metrics);
  const { element, note } = panel("Last 60 seconds", {}, cards, empty.element, suites.element);
  element.classList.add("metrics");

  return {
    element,
    draw() {
      const rows = [...metrics.rows.values()];
      const projects = rows.filter((row) => metrics.value(row, "scope") === "project");
      projects.sort((a, b) => (metrics.value(a, "project") < metrics.value(b, "project") ? -1 : 1));
      list.draw(projects, (row) => metrics.value(row, "project"));
      attribute(cards, "data-count", Math.min(projects.length, 4));
      empty.update(metrics, projects.length, "No tests in the last 60 seconds.");
      suites.draw(app.project === null ? [] : rows.filter((row) => suiteOf(metrics, row, app.project)));
      text(note, completeUpTo(app));
    },
    unmount: () => app.store.release(metrics),
  };
}

function completeUpTo(app) {
  const at = app.connection.status.upTo;
  return at !== null ? `complete up to ${clock(at, app.now())}` : "";
}

function projectCard(app, metrics) {
  const name = h("span.card-name");
  const mark = h("span.completeness");
  const values = TILES.map(([column, label, unit]) => {
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
      project = metrics.value(row, "project");
      text(name, project);
      attribute(element, "aria-pressed", String(app.project === project));
      TILES.forEach(([column, , , format], index) => {
        const number = metrics.value(row, column);
        text(values[index].value, format(number));
        attribute(values[index].tile, "data-level", level(column, number));
      });
      const { complete, words } = completeness(metrics, row);
      text(mark, words);
      attribute(mark, "data-complete", String(complete));
    },
  };
}

/** How much is still to come, in words. */
function completeness(metrics, row) {
  const open = metrics.value(row, "open_streams") ?? 0;
  const unseen = metrics.value(row, "not_seen") ?? 0;
  if (open === 0 && unseen === 0) return { complete: true, words: "complete" };
  const words = [];
  if (open > 0) words.push(counted(open, "open stream"));
  if (unseen > 0) words.push(`${count(unseen)} not seen`);
  return { complete: false, words: words.join(" · ") };
}

function level(column, number) {
  if (number == null) return null;
  if (column === "success_rate") return number < 90 ? "bad" : number < 98 ? "fair" : null;
  if (column === "error_rate") return number > 10 ? "bad" : number > 2 ? "fair" : null;
  return null;
}

function suiteOf(metrics, row, project) {
  return metrics.value(row, "scope") === "suite" && metrics.value(row, "project") === project;
}

/** The busiest suites of the chosen project. */
function suiteTable(metrics) {
  const columns = ["tests_per_second", "success_rate", "average_duration", "running_tests"];
  const formats = { tests_per_second: rate, success_rate: (value) => `${percent(value)} %`, average_duration: duration, running_tests: count };
  const body = h("tbody");
  const headings = ["Suite", "Tests / s", "Success", "Average", "Running"];
  const caption = h("caption");
  const element = h("table.plain.suite-metrics", {}, caption,
    h("thead", {}, h("tr", {}, ...headings.map((heading, index) => h(index ? "th.number" : "th", { scope: "col" }, heading)))), body);
  const list = new KeyedList(body, () => {
    const name = h("th", { scope: "row" });
    const cells = columns.map(() => h("td.number.num"));
    return {
      element: h("tr", {}, name, ...cells),
      update(row) {
        text(name, metrics.value(row, "name"));
        columns.forEach((column, index) => text(cells[index], formats[column](metrics.value(row, column))));
      },
    };
  });
  return {
    element,
    draw(rows) {
      hide(element, rows.length === 0);
      rows.sort((a, b) => metrics.value(b, "tests_per_second") - metrics.value(a, "tests_per_second")
        || (metrics.value(a, "name") < metrics.value(b, "name") ? -1 : 1));
      list.draw(rows.slice(0, SUITES_MAX), (row) => metrics.value(row, "name"));
      text(caption, rows.length > SUITES_MAX ? `The ${SUITES_MAX} busiest of ${rows.length} suites` : "Suites");
    },
  };
}
