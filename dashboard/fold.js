// Folds server messages into the rows of each subscription.
//
// Contract: `FoldedSubscription` is what one subscription has been told so far; `Fold.take(message)` applies one server
// message and returns the subscriptions whose rows changed. Snapshot parts become visible at `last`, where part 0 replaces
// everything; batches likewise. A batch covers (from, time]: it is applied only where the subscription stands, so a row is
// never shown that the view did not have at `position`.
//
// Failure: `GapError` when messages do not follow on what is held. The rows and `position` are still those of a moment, so
// the remedy is a new connection that resumes from there.

/** Messages do not follow on what is held. */
export class GapError extends Error {}

/** The identity of a row: its key columns as one string. */
export function keyOf(values) {
  return JSON.stringify(values);
}

/** What one subscription has been told. */
export class FoldedSubscription {
  constructor(id, channel, filters) {
    this.id = id;
    this.channel = channel;
    this.filters = filters;
    /** Rows (arrays in the order of the schema's columns) by key. */
    this.rows = new Map();
    /** Column name → index. */
    this.columns = {};
    /** Rises with each change of the rows. */
    this.revision = 0;
    /** Whether rows of a whole snapshot are held. */
    this.loaded = false;
    /** Where the rows hold: {epoch, time}; null before the first snapshot. */
    this.position = null;
    /** The last error about this subscription, as text; null when there is none. */
    this.error = null;
    this.view = null;
    this.keyIndexes = [];
    this.reset();
  }

  /** Forgets the connection; rows, their schema and the position stay. */
  reset() {
    this.name = null;
    this.group = null;
    this.moving = false;
    this.applied = null;
    this.parts = null;
  }

  /** Whether the rows are those of the group's time. */
  get current() {
    return this.loaded && this.moving;
  }

  /** A row's column by name. */
  value(row, column) {
    return row[this.columns[column]];
  }

  rowKey(row) {
    return keyOf(this.keyIndexes.map((index) => row[index]));
  }
}

/** All subscriptions of one connection. */
export class Fold {
  constructor() {
    this.subscriptions = new Map();
    this.sequence = null;
    this.batch = null;
  }

  /** Forgets everything about the connection; rows and positions stay. */
  disconnect() {
    this.sequence = null;
    this.batch = null;
    for (const subscription of this.subscriptions.values()) subscription.reset();
  }

  /** Whether all rows that are held are those of the group's time. */
  get caughtUp() {
    return [...this.subscriptions.values()].every((one) => one.current || !one.loaded || one.error !== null);
  }

  add(subscription) {
    this.subscriptions.set(subscription.id, subscription);
  }

  remove(id) {
    this.subscriptions.delete(id);
  }

  /** Applies a message; returns the subscriptions whose rows changed. */
  take(message) {
    switch (message.type) {
      case "subscription_confirmed":
        this.confirm(message);
        return [];
      case "initial_data":
        return this.snapshot(message);
      case "batch":
        return this.collect(message);
      case "progress":
        this.progress(message);
        return [];
      default:
        return [];
    }
  }

  confirm(message) {
    const subscription = this.subscriptions.get(message.subscriptionId);
    if (!subscription) return;
    const [schema] = message.schemas;
    subscription.name = message.subscription;
    subscription.group = message.group;
    subscription.error = null;
    subscription.moving = false;
    subscription.parts = null;
    subscription.view = schema.view;
    subscription.keyIndexes = schema.key;
    subscription.columns = Object.fromEntries(schema.columns.map(([name], index) => [name, index]));
    if (message.mode === "resumed" && !subscription.position) {
      throw new GapError(`${subscription.channel} is resumed but nothing is held`);
    }
  }

  snapshot(message) {
    const subscription = this.subscriptions.get(message.subscriptionId);
    if (!subscription) return [];
    if (message.part === 0) {
      subscription.parts = { next: 0, rows: new Map() };
    }
    const { parts } = subscription;
    if (!parts || parts.next !== message.part) {
      throw new GapError(`${subscription.channel}: part ${message.part} of a snapshot, expected ${parts?.next ?? 0}`);
    }
    parts.next += 1;
    for (const row of message.rows) parts.rows.set(subscription.rowKey(row), row);
    if (!message.last) return [];
    subscription.rows = parts.rows;
    subscription.parts = null;
    subscription.loaded = true;
    subscription.moving = false;
    subscription.position = { epoch: message.epoch, time: message.time };
    subscription.revision += 1;
    return [subscription];
  }

  /** Puts the parts of a batch together. */
  collect(message) {
    const part = message.part ?? 0;
    if (this.sequence !== null && message.sequence !== this.sequence && message.sequence !== this.sequence + 1) {
      throw new GapError(`batch ${message.sequence} after ${this.sequence}`);
    }
    this.sequence = message.sequence;
    if (part === 0) {
      this.batch = { ...message, next: 0, messages: [] };
    }
    const { batch } = this;
    if (!batch || batch.next !== part || batch.time !== message.time) {
      throw new GapError(`part ${part} of a batch, expected ${batch?.next ?? 0}`);
    }
    batch.next += 1;
    batch.messages.push(...message.messages);
    if (message.last === false) return [];
    this.batch = null;
    return this.apply(batch);
  }

  apply(batch) {
    const changed = [];
    for (const subscription of this.subscriptions.values()) {
      if (subscription.name === null || subscription.group !== batch.group) continue;
      const entries = batch.messages.filter((entry) => entry.subscription === subscription.name);
      if (!this.begin(subscription, batch, entries)) continue;
      if (applyEntries(subscription, entries)) changed.push(subscription);
      subscription.position = { epoch: batch.epoch, time: batch.time };
      subscription.applied = batch.time;
    }
    return changed;
  }

  /** Whether the batch moves the subscription; checks that it follows on what is held. */
  begin(subscription, batch, entries) {
    const { position } = subscription;
    const explicit = entries.find((entry) => entry.from !== undefined);
    if (!subscription.moving) {
      if (!explicit || !subscription.loaded || subscription.parts) return false;
      if (position.epoch !== batch.epoch || position.time !== explicit.from) {
        throw new GapError(`${subscription.channel}: from ${explicit.from} where ${position.time} is held`);
      }
      subscription.moving = true;
      return true;
    }
    const from = explicit?.from ?? batch.from;
    // What `progress` has told to be without change may be covered again.
    if (position.epoch !== batch.epoch || from > position.time || from < subscription.applied) {
      throw new GapError(`${subscription.channel}: from ${from} where ${position.time} is held`);
    }
    return true;
  }

  progress(message) {
    for (const subscription of this.subscriptions.values()) {
      const { position } = subscription;
      if (!subscription.moving || subscription.group !== message.group || position.epoch !== message.epoch) continue;
      if (message.time > position.time) subscription.position = { epoch: message.epoch, time: message.time };
    }
  }
}

/** Applies entries in order; whether anything changed. */
function applyEntries(subscription, entries) {
  let changed = false;
  for (const entry of entries) {
    if (entry.view !== subscription.view) continue;
    for (const key of entry.del ?? []) changed = subscription.rows.delete(keyOf(key)) || changed;
    for (const row of entry.up ?? []) {
      subscription.rows.set(subscription.rowKey(row), row);
      changed = true;
    }
  }
  if (changed) subscription.revision += 1;
  return changed;
}
