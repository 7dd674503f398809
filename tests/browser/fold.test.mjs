// The page's folding of snapshots and batches, without a browser.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Fold, FoldedSubscription, GapError } from "../../dashboard/fold.js";

const SCHEMA = { view: "run_progress", version: 1, key: [0, 1], columns: [["project", "str"], ["run", "str"], ["finished", "int"]] };

function confirmed(fields = {}) {
  return { type: "subscription_confirmed", subscriptionId: "s1", subscription: "run_progress:f0", channel: "run_progress",
    filterId: "f0", mode: "snapshot", epoch: "e1", time: 10, group: 1, schemas: [SCHEMA], ...fields };
}

function part(number, last, rows, fields = {}) {
  return { type: "initial_data", subscriptionId: "s1", subscription: "run_progress:f0", view: "run_progress", epoch: "e1",
    time: 10, part: number, last, rows, ...fields };
}

function batch(sequence, from, time, entries, fields = {}) {
  return { type: "batch", sequence, timestamp: 0, epoch: "e1", group: 1, from, time, net: true,
    messages: entries.map((entry) => ({ subscription: "run_progress:f0", view: "run_progress", ...entry })), ...fields };
}

function progress(time) {
  return { type: "progress", group: 1, epoch: "e1", time, timestamp: 0, stale: false, phase: "live", completeness: {} };
}

function subscribed(...messages) {
  const fold = new Fold();
  const subscription = new FoldedSubscription("s1", "run_progress", {});
  fold.add(subscription);
  for (const message of messages) fold.take(message);
  return { fold, subscription };
}

const rows = (subscription) => [...subscription.rows.values()].sort();

/** A subscription that moves, with runs a and b at time 10. */
const moving = () => subscribed(confirmed(), part(0, true, [["p", "a", 1], ["p", "b", 2]]), batch(1, 8, 10, [{ from: 10 }]));

test("snapshot parts show at last, and part 0 replaces what was there", () => {
  const { fold, subscription } = subscribed(confirmed());
  fold.take(part(0, false, [["p", "a", 1]]));
  assert.deepEqual(rows(subscription), []);
  assert.equal(subscription.loaded, false);
  assert.deepEqual(fold.take(part(1, true, [["p", "b", 2]])), [subscription]);
  assert.deepEqual(rows(subscription), [["p", "a", 1], ["p", "b", 2]]);
  assert.deepEqual(subscription.position, { epoch: "e1", time: 10 });
  fold.take(part(0, true, [["p", "c", 3]], { epoch: "e2", time: 4 }));
  assert.deepEqual(rows(subscription), [["p", "c", 3]]);
  assert.deepEqual(subscription.position, { epoch: "e2", time: 4 });
});

test("a snapshot part out of turn is a gap", () => {
  const { fold } = subscribed(confirmed(), part(0, false, []));
  assert.throws(() => fold.take(part(2, true, [])), GapError);
});

test("batches replace rows by key and remove keys", () => {
  const { fold, subscription } = moving();
  const changed = fold.take(batch(2, 10, 12, [{ up: [["p", "a", 5], ["p", "c", 1]], del: [["p", "b"]] }]));
  assert.deepEqual(changed, [subscription]);
  assert.deepEqual(rows(subscription), [["p", "a", 5], ["p", "c", 1]]);
  assert.deepEqual(subscription.position, { epoch: "e1", time: 12 });
});

test("until the entry with its own from, the group's batches do not move a subscription", () => {
  const { fold, subscription } = subscribed(confirmed(), part(0, true, [["p", "a", 1]]));
  assert.deepEqual(fold.take(batch(1, 11, 13, [])), []);
  fold.take(progress(14));
  assert.deepEqual(subscription.position, { epoch: "e1", time: 10 });
  assert.equal(subscription.current, false);
  fold.take(batch(2, 13, 15, [{ from: 10, up: [["p", "a", 4]] }]));
  assert.deepEqual(rows(subscription), [["p", "a", 4]]);
  assert.deepEqual(subscription.position, { epoch: "e1", time: 15 });
  assert.equal(subscription.current, true);
});

test("an own from that is not where the subscription stands is a gap", () => {
  const { fold } = subscribed(confirmed(), part(0, true, []));
  assert.throws(() => fold.take(batch(1, 9, 15, [{ from: 11 }])), GapError);
});

test("a batch that leaves a hole, goes back, skips a number or is of another epoch is a gap", () => {
  assert.throws(() => moving().fold.take(batch(2, 11, 12, [])), GapError);
  assert.throws(() => moving().fold.take(batch(2, 9, 12, [])), GapError);
  assert.throws(() => moving().fold.take(batch(4, 10, 12, [])), GapError);
  assert.throws(() => moving().fold.take(batch(2, 10, 12, [], { epoch: "e2" })), GapError);
});

test("progress moves the position, and a batch may begin before it", () => {
  const { fold, subscription } = moving();
  fold.take(progress(20));
  assert.deepEqual(subscription.position, { epoch: "e1", time: 20 });
  fold.take(batch(2, 10, 22, [{ up: [["p", "b", 9]] }]));
  assert.deepEqual(subscription.position, { epoch: "e1", time: 22 });
  fold.take(progress(25));
  fold.take(batch(3, 25, 26, []));
  assert.deepEqual(subscription.position, { epoch: "e1", time: 26 });
});

test("a batch in parts shows at its last", () => {
  const { fold, subscription } = moving();
  assert.deepEqual(fold.take(batch(2, 10, 12, [{ up: [["p", "a", 7]] }], { part: 0, last: false })), []);
  assert.deepEqual(rows(subscription), [["p", "a", 1], ["p", "b", 2]]);
  fold.take(batch(3, 10, 12, [{ del: [["p", "b"]] }], { part: 1, last: true }));
  assert.deepEqual(rows(subscription), [["p", "a", 7]]);
});

test("after a break rows and position stay, and a resume goes on from there", () => {
  const { fold, subscription } = moving();
  fold.disconnect();
  assert.equal(subscription.current, false);
  assert.equal(subscription.loaded, true);
  assert.deepEqual([...subscription.rows].map(([key, row]) => [key, subscription.rowKey(row), subscription.value(row, "run")]),
    [['["p","a"]', '["p","a"]', "a"], ['["p","b"]', '["p","b"]', "b"]]);
  fold.take(confirmed({ mode: "resumed", time: 10 }));
  fold.take(batch(1, 28, 30, [{ from: 10, up: [["p", "a", 8]] }]));
  assert.deepEqual(rows(subscription), [["p", "a", 8], ["p", "b", 2]]);
  assert.deepEqual(subscription.position, { epoch: "e1", time: 30 });
});

test("a break within a snapshot leaves the rows of before", () => {
  const { fold, subscription } = moving();
  fold.disconnect();
  fold.take(confirmed({ time: 40 }));
  fold.take(part(0, false, [["p", "z", 1]], { time: 40 }));
  fold.disconnect();
  assert.deepEqual(rows(subscription), [["p", "a", 1], ["p", "b", 2]]);
  assert.deepEqual(subscription.position, { epoch: "e1", time: 10 });
});

test("entries of others with the same view do not touch a subscription", () => {
  const { fold, subscription } = moving();
  const entry = { subscription: "run_progress:f9", view: "run_progress", up: [["p", "x", 1]] };
  assert.deepEqual(fold.take({ ...batch(2, 10, 12, []), messages: [entry] }), []);
  assert.deepEqual(rows(subscription), [["p", "a", 1], ["p", "b", 2]]);
});

test("random histories fold to the same rows as a plain recomputation", () => {
  let seed = 7;
  const random = (limit) => {
    seed = (seed * 1103515245 + 12345) % 2147483648;
    return Math.floor((seed / 2147483648) * limit);
  };
  const { fold, subscription } = subscribed(confirmed(), part(0, true, []), batch(1, 0, 10, [{ from: 10 }]));
  const truth = new Map();
  let [sequence, time] = [1, 10];
  for (let step = 0; step < 2000; step += 1) {
    const touched = new Map();
    for (let change = random(5); change > 0; change -= 1) touched.set(`r${random(20)}`, random(3) === 0 ? null : random(100));
    const [up, del] = [[], []];
    for (const [run, finished] of touched) {
      if (finished === null) del.push(["p", run]);
      else up.push(["p", run, finished]);
      if (finished === null) truth.delete(run);
      else truth.set(run, ["p", run, finished]);
    }
    sequence += 1;
    fold.take(batch(sequence, time, time + 2, [{ up }, { del }]));
    time += 2;
    if (random(20) === 0) {
      fold.disconnect();
      fold.take(confirmed({ mode: "resumed", time }));
      sequence = 0;
      fold.take(batch(0, time, time, [{ from: time }]));
    }
    assert.deepEqual(rows(subscription), [...truth.values()].sort());
  }
});
