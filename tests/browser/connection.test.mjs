// The page's connection and what it tells of itself, with a socket and a clock of the test's own.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Connection } from "../../dashboard/connection.js";
import { FoldedSubscription } from "../../dashboard/fold.js";
import { health } from "../../dashboard/health.js";

const SCHEMA = { view: "missing", version: 1, key: [0], columns: [["project", "str"], ["count", "int"]] };

/** A world in which time moves by hand. */
function world({ token = null, unauthorizedHandshake = false } = {}) {
  const sockets = [];
  const timers = new Set();
  const clock = { now: 1_000_000 };
  class Socket {
    constructor(url, protocol) {
      Object.assign(this, { url, protocol, sent: [], closed: false });
      sockets.push(this);
    }
    send(text) {
      this.sent.push(JSON.parse(text));
    }
    close() {
      this.closed = true;
    }
    tell(...messages) {
      for (const message of messages) this.onmessage({ data: JSON.stringify(message) });
    }
  }
  const connection = new Connection({
    url: "ws://weir/v1/stream", WebSocketClass: Socket, now: () => clock.now, random: () => 1, token,
    setTimer: (run, ms) => {
      const timer = { run, at: clock.now + ms };
      timers.add(timer);
      return timer;
    },
    clearTimer: (timer) => timers.delete(timer),
    needsToken: async () => unauthorizedHandshake,
  });
  const advance = (ms) => {
    clock.now += ms;
    for (const timer of [...timers]) {
      if (timer.at <= clock.now && timers.delete(timer)) timer.run();
    }
  };
  return { connection, sockets, clock, advance, last: () => sockets.at(-1), state: () => health(connection.status, clock.now) };
}

const welcome = { type: "welcome", v: 1, connectionId: "c1", server: "g", epoch: "e1", time: 10, heartbeatMs: 4_000, limits: {} };
const confirmed = { type: "subscription_confirmed", subscriptionId: "m", subscription: "missing:0", channel: "missing", filterId: "0", mode: "snapshot", epoch: "e1", time: 10, group: 1, schemas: [SCHEMA] };
const rows = { type: "initial_data", subscriptionId: "m", subscription: "missing:0", view: "missing", epoch: "e1", time: 10, part: 0, last: true, rows: [["p", 1]] };
const batch = (sequence, from, time, entry) => ({ type: "batch", sequence, timestamp: 5, epoch: "e1", group: 1, from, time, net: true, messages: [{ subscription: "missing:0", view: "missing", ...entry }] });
const progress = (time, fields = {}) => ({ type: "progress", group: 1, epoch: "e1", time, timestamp: 5, stale: false, phase: "live", completeness: { behindMs: 0 }, ...fields });

/** A connection that is open and whose one subscription moves. */
function live() {
  const all = world();
  const subscription = new FoldedSubscription("m", "missing", {});
  all.connection.add(subscription);
  all.connection.connect();
  all.last().onopen();
  all.last().tell(welcome, confirmed, rows, batch(1, 10, 11, { from: 10, up: [["p", 2]] }));
  return { ...all, subscription };
}

test("hello subscribes to everything; what is added later is subscribed by itself", () => {
  const { last, connection } = live();
  assert.deepEqual(last().sent[0], { type: "hello", v: 1, caps: [], resume: [{ subscriptionId: "m", channel: "missing", filters: {} }] });
  assert.equal(last().protocol, "weir.v1");
  connection.add(new FoldedSubscription("t", "test_results", { runId: "r" }));
  assert.deepEqual(last().sent[1], { type: "subscribe", subscriptionId: "t", channel: "test_results", filters: { runId: "r" } });
});

test("after a break it backs off, resumes from its position and keeps the rows", () => {
  const { last, sockets, advance, subscription } = live();
  last().onclose({ code: 1006, reason: "" });
  assert.equal(sockets.length, 1);
  advance(499);
  assert.equal(sockets.length, 1);
  advance(1);
  assert.equal(sockets.length, 2);
  last().onopen();
  assert.deepEqual(last().sent[0].resume[0].since, { epoch: "e1", time: 11 });
  assert.deepEqual([...subscription.rows.values()], [["p", 2]]);
});

test("the back-off grows to 15 s and starts anew once the server has spoken", () => {
  const { last, sockets, advance, connection } = live();
  const waits = [];
  for (let attempt = 0; attempt < 7; attempt += 1) {
    last().onclose({ code: 4101, reason: "restart" });
    waits.push(connection.status.retryAt - connection.now());
    advance(waits.at(-1));
    assert.equal(sockets.length, attempt + 2);
  }
  assert.deepEqual(waits, [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
  last().onopen();
  last().tell(welcome, progress(12));
  last().onclose({ code: 4200, reason: "rebalance" });
  advance(0);
  last().onopen();
  last().tell(welcome, progress(13));
  last().onclose({ code: 1006, reason: "" });
  assert.equal(connection.status.retryAt - connection.now(), 500);
});

test("a hole in the stream ends the connection, and the next resumes from what is held", () => {
  const { last, sockets, advance, subscription, state } = live();
  const [broken] = sockets;
  broken.tell(batch(2, 12, 14, { up: [["p", 9]] }));
  assert.equal(broken.closed, true);
  assert.equal(state().state, "stale");
  broken.tell(batch(3, 11, 15, { up: [["p", 7]] }));
  assert.deepEqual([...subscription.rows.values()], [["p", 2]]);
  advance(500);
  last().onopen();
  assert.deepEqual(last().sent[0].resume[0].since, { epoch: "e1", time: 11 });
});

test("a refusal waits for a person", () => {
  for (const code of [4400, 4429]) {
    const { last, sockets, advance, connection, state } = live();
    last().onclose({ code, reason: "forbidden" });
    advance(3_600_000);
    assert.equal(sockets.length, 1);
    assert.match(state().text, /refused: forbidden/);
    connection.connect();
    assert.equal(sockets.length, 2);
  }
});

test("4401, 4403 and a handshake with 401 ask for a token, which the next hello carries", async () => {
  const asks = [
    ({ last }) => last().onclose({ code: 4401, reason: "" }),
    ({ last }) => last().onclose({ code: 4403, reason: "the token lacks the role read" }),
  ];
  for (const ask of asks) {
    const all = live();
    ask(all);
    assert.equal(all.connection.status.link, "unauthorized");
    assert.deepEqual([all.state().state, all.state().text], ["stale", "a token is needed"]);
    all.connection.authenticate("secret");
    all.last().onopen();
    assert.equal(all.last().sent[0].token, "secret");
  }
  const { connection, last } = world({ unauthorizedHandshake: true });
  connection.connect();
  last().onclose({ code: 1006, reason: "" });
  await Promise.resolve();
  await Promise.resolve();
  assert.equal(connection.status.link, "unauthorized");
});

test("an error of one subscription stays with it, and a passing one is tried again", () => {
  const { last, connection, advance, subscription } = live();
  const other = new FoldedSubscription("t", "test_results", {});
  connection.add(other);
  last().tell({ type: "error", code: "too_large", error: "narrow it", temporary: false, subscriptionId: "t" });
  assert.equal(other.error, "narrow it");
  assert.equal(subscription.error, null);
  last().tell({ type: "error", code: "rate_limited", error: "slowly", temporary: true, retryAfterMs: 700, subscriptionId: "t" });
  const sent = last().sent.length;
  advance(700);
  assert.deepEqual(last().sent.slice(sent).map(({ type, subscriptionId }) => [type, subscriptionId]), [["subscribe", "t"]]);
});

test("connecting, live, quiet and stale are told apart", () => {
  const { connection, sockets, last, advance, state } = world();
  connection.connect();
  assert.equal(state().state, "connecting");
  last().onopen();
  connection.add(new FoldedSubscription("m", "missing", {}));
  last().tell(welcome);
  assert.equal(state().state, "connecting");
  last().tell(confirmed, rows, batch(1, 10, 11, { from: 10, up: [["p", 2]] }));
  assert.equal(state().state, "live");
  advance(3_000);
  last().tell(progress(12));
  advance(3_000);
  assert.deepEqual([state().state, state().since], ["quiet", 1_000_000]);
  advance(3_000);
  assert.equal(state().state, "quiet", "6 s without a word are within one and a half heartbeats of 4 s");
  advance(1);
  assert.deepEqual([state().state, state().text, state().since], ["stale", "the server says nothing", 1_003_000]);
  last().tell(progress(13));
  assert.equal(state().state, "quiet");
  advance(12_001);
  connection.tick();
  assert.equal(connection.status.link, "waiting", "three heartbeats of silence end the connection");
  assert.equal(sockets[0].closed, true);
});

test("after a break it is stale until everything that is shown has caught up", () => {
  const { last, connection, advance, state } = live();
  const other = new FoldedSubscription("o", "missing", { project: "p" });
  connection.add(other);
  const named = { subscriptionId: "o", subscription: "missing:1" };
  assert.equal(state().state, "live", "what has never been shown is not stale");
  last().tell({ ...confirmed, ...named, time: 11 }, { ...rows, ...named, time: 11 });
  assert.equal(state().state, "live");
  last().tell({ ...batch(2, 11, 12, {}), messages: [{ subscription: "missing:1", view: "missing", from: 11 }] });
  last().onclose({ code: 1006, reason: "" });
  assert.deepEqual([state().state, state().since], ["stale", 1_000_000]);
  advance(500);
  last().onopen();
  assert.deepEqual([state().state, state().text], ["stale", "catching up"]);
  last().tell(welcome, { ...confirmed, mode: "resumed" }, { ...confirmed, ...named, mode: "resumed" });
  last().tell(batch(1, 12, 20, { from: 12, up: [["p", 5]] }));
  assert.equal(state().text, "catching up");
  last().tell({ ...batch(2, 20, 21, {}), messages: [{ subscription: "missing:1", view: "missing", from: 12 }] });
  assert.equal(state().state, "live");
});

test("what the server says of its own numbers makes them stale", () => {
  for (const [fields, words] of [
    [{ phase: "recovering", completeness: { replayed: 30, toReplay: 120 } }, /recovering: 25 %/],
    [{ phase: "starting" }, /starting/],
    [{ phase: "draining" }, /shutting down/],
    [{ completeness: { behindMs: 9_000, behindRecords: 70 } }, /behind by 9 s \(70 records\)/],
    [{ stale: true }, /do not move/],
  ]) {
    const { last, state } = live();
    last().tell(progress(12, fields));
    assert.equal(state().state, "stale");
    assert.match(state().text, words);
    last().tell(progress(13));
    assert.equal(state().state, "live");
  }
});

test("what the server said of its numbers stands, whatever batches come, until it says otherwise or a new connection begins", () => {
  const { last, state, advance } = live();
  const behind = { stale: true, completeness: { behindMs: 30_000, behindRecords: 9 } };
  last().tell(progress(12, behind));
  advance(10);
  last().tell({ ...batch(2, 12, 14, { up: [["p", 3]] }), timestamp: 14 });
  assert.deepEqual([state().state, state().since], ["stale", 1_000_000], "its ticks are of now, its events are not");
  assert.match(state().text, /behind by 30 s/);
  last().tell(progress(15), { ...batch(3, 15, 16, { up: [["p", 4]] }), timestamp: 60_000 });
  assert.equal(state().state, "live", "revoked");
  last().tell(progress(17, behind));
  last().onclose({ code: 4101, reason: "restart" });
  advance(500);
  last().onopen();
  last().tell(welcome, { ...confirmed, mode: "resumed" }, batch(1, 17, 18, { from: 17, up: [["p", 5]] }));
  assert.equal(state().state, "live", "a server that is told anew says what is wrong, and this one did not");
});
