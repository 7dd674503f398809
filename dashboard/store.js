// The rows that the page shows: one subscription for each (channel, filter) in use, shared by whoever watches it.
//
// Contract: `watch` returns the subscription, whose `rows` are current as soon as the next frame is drawn; `release` gives it
// back, and the last one ends it. Changes are announced once per animation frame, not once per message.

import { FoldedSubscription } from "./fold.js";

export class Store {
  constructor(connection, schedule) {
    this.connection = connection;
    this.schedule = schedule;
    this.watched = new Map();
    this.counter = 0;
    this.scheduled = false;
    this.onframe = () => {};
    connection.onchange = () => this.announce();
    connection.onstatus = () => this.announce();
  }

  watch(channel, filters = {}) {
    const name = `${channel} ${JSON.stringify(filters)}`;
    let entry = this.watched.get(name);
    if (!entry) {
      this.counter += 1;
      const subscription = new FoldedSubscription(`${channel}-${this.counter}`, channel, filters);
      entry = { name, subscription, users: 0 };
      this.watched.set(name, entry);
      this.connection.add(subscription);
    }
    entry.users += 1;
    return entry.subscription;
  }

  release(subscription) {
    for (const entry of this.watched.values()) {
      if (entry.subscription !== subscription) continue;
      entry.users -= 1;
      if (entry.users === 0) {
        this.watched.delete(entry.name);
        this.connection.remove(subscription);
      }
    }
  }

  /** Has the page drawn at the next frame. */
  announce() {
    if (this.scheduled) return;
    this.scheduled = true;
    this.schedule(() => {
      this.scheduled = false;
      this.onframe();
    });
  }
}
