// Wires the page: connection, store, address, header; draws the view that the address names once per frame.

import { Connection } from "./connection.js";
import { attribute, h, hide, text } from "./dom.js";
import { ago, clock, counted, duration } from "./format.js";
import { health } from "./health.js";
import { parse } from "./router.js";
import { Store } from "./store.js";
import { mountAlerts } from "./views/alerts.js";
import { mountErrors } from "./views/errors.js";
import { mountFlaky } from "./views/flaky.js";
import { mountSlow } from "./views/slow.js";
import { mountMetrics } from "./views/metrics.js";
import { mountPatterns } from "./views/patterns.js";
import { mountPeople } from "./views/people.js";
import { mountMissing, mountRejects } from "./views/problems.js";
import { mountRun } from "./views/run.js";
import { mountRuns } from "./views/runs.js";

const TOKEN_KEY = "weir.token";
const HEALTH_WORDS = { live: "Live", quiet: "Quiet", stale: "Stale", connecting: "Connecting" };
const HOME_PATTERNS = 8;
const HOME_ALERTS = 5;
const byId = (id) => document.getElementById(id);

const connection = new Connection({
  url: new URL("/v1/stream", location.href.replace(/^http/, "ws")).href,
  WebSocketClass: WebSocket,
  now: () => Date.now(),
  setTimer: (run, ms) => setTimeout(run, ms),
  clearTimer: (timer) => clearTimeout(timer),
  random: () => Math.random(),
  token: sessionStorage.getItem(TOKEN_KEY),
  needsToken: async () => (await fetch("/v1/views/rejects?limit=1", { cache: "no-store" })).status === 401,
});
const store = new Store(connection, (draw) => requestAnimationFrame(draw));

const app = {
  store,
  connection,
  /** The project that is looked at; null for all. */
  project: null,
  /** The server's time, epoch ms. */
  now: () => Date.now() + connection.status.clockOffsetMs,
  /** Of which server time the rows are: while nothing is heard, what runs is not known to go on. */
  asOf: () => (connection.status.heardAt ?? Date.now()) + connection.status.clockOffsetMs,
  choose(project) {
    app.project = project;
    store.announce();
  },
};

const runs = store.watch("run_progress");
let page = null;

/** Several views as one page. */
function stack(title, ...views) {
  return {
    element: h("div.stack", {}, h("h1.visually-hidden", { tabindex: -1 }, title), ...views.map((view) => view.element)),
    title,
    draw: () => views.forEach((view) => view.draw()),
    unmount: () => views.forEach((view) => view.unmount()),
  };
}

function mount({ page: name, project, run }) {
  switch (name) {
    case "runs":
      return stack("Runs", mountAlerts(app, { limit: HOME_ALERTS, link: true }), mountMetrics(app), mountRuns(app),
        mountPatterns(app, { limit: HOME_PATTERNS, link: true }));
    case "alerts":
      return stack("Alerts", mountAlerts(app));
    case "patterns":
      return stack("Failures", mountPatterns(app), mountErrors(app));
    case "slow":
      return stack("Slow tests", mountSlow(app));
    case "flaky":
      return stack("Flaky tests", mountFlaky(app));
    case "people":
      return stack("People", mountPeople(app));
    case "problems":
      return stack("Missing and rejected", mountMissing(app), mountRejects(app));
    case "run":
      return mountRun(app, { project, run });
    default:
      return stack("Not found", { element: h("p.empty-state", {}, "There is no such page. ", h("a", { href: "#/" }, "Go to the runs")), draw() {}, unmount() {} });
  }
}

function navigate() {
  if (location.hash === "#content") return;
  const address = parse(location.hash);
  const before = page;
  page = { ...mount(address), address };
  byId("content").replaceChildren(page.element);
  before?.unmount();
  for (const link of document.querySelectorAll(".pages a")) {
    const here = link.dataset.page === address.page || (link.dataset.page === "runs" && address.page === "run");
    attribute(link, "aria-current", here ? "page" : null);
  }
  if (before) {
    scrollTo(0, 0);
    page.element.querySelector("h1")?.focus({ preventScroll: true });
  }
  draw();
}

function draw() {
  const now = Date.now();
  const state = health(connection.status, now);
  drawHealth(state, now);
  drawProject();
  page.draw();
  const running = [...runs.rows.values()].filter((row) => runs.value(row, "state") === "running").length;
  const about = page.address.page === "runs" ? counted(running, "run") + " running" : page.title;
  const title = `${state.state === "stale" ? "(stale) " : ""}${about} – Weir`;
  if (document.title !== title) document.title = title;
}

let announced = null;

function drawHealth({ state, text: words, since }, now) {
  attribute(byId("health"), "data-state", state);
  attribute(byId("health"), "title", words);
  attribute(document.body, "data-state", state);
  text(byId("health-word"), HEALTH_WORDS[state]);
  text(byId("health-since"), sinceWords(state, since, now));
  hide(byId("banner"), state !== "stale" || connection.status.link === "unauthorized");
  if (state === "stale") text(byId("banner-text"), bannerWords(words, since, now));
  hide(byId("reconnect"), !["waiting", "refused"].includes(connection.status.link));
  hide(byId("token"), connection.status.link !== "unauthorized");
  text(byId("token-problem"), connection.token && connection.status.reason ? connection.status.reason : "");
  const announcement = `${HEALTH_WORDS[state]}: ${words.replace(/ by \d.*|: \d.*/, "")}`;
  if (announced !== announcement) {
    announced = announcement;
    text(byId("announce"), announcement);
  }
}

function sinceWords(state, since, now) {
  if (since === null || state === "live" || state === "connecting") return "";
  return state === "quiet" ? `for ${duration(now - since)}` : `since ${clock(since, now)}`;
}

function bannerWords(words, since, now) {
  const { retryAt } = connection.status;
  const retry = retryAt !== null && retryAt > now ? ` Trying again in ${Math.ceil((retryAt - now) / 1000)} s.` : "";
  const held = since === null ? "" : ` The numbers below are those of ${clock(since, now)}, ${ago(since, now)}.`;
  return `Not live: ${words}.${held}${retry}`;
}

function drawProject() {
  const shown = app.project !== null && page.address.page !== "run";
  hide(byId("project-bar"), !shown);
  if (shown) text(byId("project-words"), `Only ${app.project}`);
}

byId("project-clear").addEventListener("click", () => {
  app.choose(null);
  byId("content").focus({ preventScroll: true });
});
byId("reconnect").addEventListener("click", () => connection.connect());
byId("skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("content").focus();
});
byId("token").addEventListener("submit", (event) => {
  event.preventDefault();
  const token = byId("token-input").value.trim();
  sessionStorage.setItem(TOKEN_KEY, token);
  byId("token-input").value = "";
  connection.authenticate(token);
});
addEventListener("hashchange", navigate);
addEventListener("online", () => connection.status.link === "waiting" && connection.connect());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && connection.status.link === "waiting") connection.connect();
});

store.onframe = draw;
navigate();
connection.connect();
// Relative times move, and silence is noticed, without any message.
setInterval(() => {
  connection.tick();
  store.announce();
}, 1_000);
