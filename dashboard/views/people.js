// The people: who is at work, and how their last run went.

import { arrowKeys, attribute, h, hide, KeyedList, text } from "../dom.js";
import { ago, count, counted } from "../format.js";
import { emptyState, moreButton, panel, stateMark } from "../parts.js";
import { runAddress } from "../router.js";

const STEP = 100;

export function mountPeople(app) {
  const people = app.store.watch("user_activity");
  const body = h("tbody");
  const table = h("table.plain.people", { "aria-label": "People" }, tableHead(), body);
  arrowKeys(body, "a.run-link");
  const empty = emptyState();
  const more = moreButton(STEP, () => app.store.announce());
  const list = new KeyedList(body, () => personRow(app, people));
  const { element, note } = panel("People", {}, table, empty.element, more.element);
  return {
    element,
    draw() {
      const rows = [...people.rows.values()].filter((row) => app.project === null || people.value(row, "project") === app.project);
      rows.sort((a, b) => people.value(b, "last_active_at") - people.value(a, "last_active_at") || (people.rowKey(a) < people.rowKey(b) ? -1 : 1));
      list.draw(rows.slice(0, more.limit), (row) => people.rowKey(row));
      more.update(rows.length);
      hide(table, rows.length === 0);
      empty.update(people, rows.length, "Nobody yet. Runs say who started them: weir send report.xml --user ann");
      const running = rows.filter((row) => people.value(row, "running_runs") > 0).length;
      text(note, rows.length > 0 ? `${counted(running, "person", "people")} with a run under way` : "");
    },
    unmount: () => app.store.release(people),
  };
}

function tableHead() {
  const heading = (label, className = "") => h(`th${className}`, { scope: "col" }, label);
  return h("thead", {}, h("tr", {}, heading("Who"), heading("Running", ".number"), heading("Today", ".number.col-today"),
    heading("Last result"), heading("Last run"), heading("Last event", ".number")));
}

function personRow(app, people) {
  const who = h("span");
  const project = h("span.sub");
  const running = h("td.number.num");
  const today = h("td.number.num.col-today");
  const result = stateMark();
  const link = h("a.run-link");
  const last = h("td.number.num");
  return {
    element: h("tr.person", {}, h("th", { scope: "row" }, who, project), running, today, h("td", {}, result.element), h("td", {}, link), last),
    update(row) {
      const value = (column) => people.value(row, column);
      // The user without a name stands for all who found no room.
      text(who, value("user") || "Others");
      text(project, app.project === null ? value("project") : "");
      text(running, count(value("running_runs")));
      text(today, count(value("runs_today")));
      hide(result.element, value("last_result") === null);
      if (value("last_result") !== null) result.update(value("last_result"));
      attribute(link, "href", runAddress(value("project"), value("last_run")));
      text(link, value("last_run"));
      text(last, ago(value("last_active_at"), app.now()));
    },
  };
}
