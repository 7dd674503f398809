// The WebSocket to the server: hello, subscriptions, resume, reconnecting, and what is known of the server.
//
// Contract: subscriptions may be added and removed at any time; after a break all of them are resumed from where their rows
// stand in one `hello`. `onchange(subscriptions)` is called when rows change, `onstatus()` when anything in `status` does.
// The clock, the socket's class and the timers are given, so that tests can move time.
//
// Failure: any break backs off from 0.5 s to 15 s with jitter; a refusal (close codes 4400, 4429) waits for a person;
// a missing or wrong token (4401, 4403) asks for one. A connection that says nothing for three heartbeats is given up.

import { Fold, GapError } from "./fold.js";
import { serverTrouble } from "./health.js";

const BACKOFF_MIN_MS = 500;
const BACKOFF_MAX_MS = 15_000;
const CONNECT_TIMEOUT_MS = 10_000;
const HEARTBEAT_DEFAULT_MS = 15_000;
const SILENT_HEARTBEATS = 3;
const REFUSED = new Set([4400, 4429]);
const TOKEN_WANTED = new Set([4401, 4403]);

export class Connection {
  constructor({ url, WebSocketClass, now, setTimer, clearTimer, random, token, needsToken }) {
    Object.assign(this, { url, WebSocketClass, now, setTimer, clearTimer, random, token, needsToken });
    this.fold = new Fold();
    this.socket = null;
    this.attempt = 0;
    this.timer = null;
    this.onchange = () => {};
    this.onstatus = () => {};
    this.status = {
      /** `connecting` `open` `waiting` `refused` `unauthorized` */
      link: "connecting",
      heartbeatMs: HEARTBEAT_DEFAULT_MS,
      /** When a batch or progress last came, by the local clock; null before the first. */
      heardAt: null,
      /** When rows last changed, by the local clock. */
      changedAt: null,
      /** When the connection was lost, by the local clock; null once all that was shown is current again. */
      lostAt: null,
      /** When the next attempt is made. */
      retryAt: null,
      /** The server's clock minus the local one. */
      clockOffsetMs: 0,
      /** Up to which time, epoch ms, everything is in; null before the first. */
      upTo: null,
      /** The last `progress`; null before. */
      progress: null,
      /** What the server last said of its numbers on this connection, a `progress`; null, all is well, before. It holds until
       * the next: a server tells any change of it at once, batches or not. */
      condition: null,
      /** When something last came while the server's numbers were current. */
      currentAt: null,
      reason: null,
    };
  }

  /** Opens the connection now, whatever the back-off says. */
  connect() {
    this.drop();
    this.set({ link: "connecting", retryAt: null });
    const socket = new this.WebSocketClass(this.url, "weir.v1");
    this.socket = socket;
    this.timer = this.setTimer(() => this.lose("the server does not answer"), CONNECT_TIMEOUT_MS);
    socket.onopen = () => this.opened(socket);
    socket.onmessage = (event) => this.heard(socket, event.data);
    socket.onclose = (event) => this.closed(socket, event);
  }

  /** Uses a token from now on. */
  authenticate(token) {
    this.token = token;
    this.attempt = 0;
    this.connect();
  }

  add(subscription) {
    this.fold.add(subscription);
    if (this.status.link === "open") this.send({ type: "subscribe", ...wish(subscription) });
  }

  remove(subscription) {
    this.fold.remove(subscription.id);
    if (this.status.link === "open") this.send({ type: "unsubscribe", subscriptionId: subscription.id });
  }

  /** To be called about once a second: gives up a connection that says nothing. */
  tick() {
    const { link, heardAt, heartbeatMs } = this.status;
    if (link === "open" && this.now() - Math.max(heardAt ?? 0, this.openedAt) > SILENT_HEARTBEATS * heartbeatMs) {
      this.lose("the server went silent");
    }
  }

  opened(socket) {
    if (socket !== this.socket) return;
    this.clearTimer(this.timer);
    this.openedAt = this.now();
    this.set({ link: "open", reason: null, condition: null });
    const resume = [...this.fold.subscriptions.values()].map(wish);
    this.send({ type: "hello", v: 1, ...(this.token ? { token: this.token } : {}), caps: [], resume });
  }

  heard(socket, data) {
    if (socket !== this.socket) return;
    try {
      this.take(JSON.parse(data));
    } catch (error) {
      if (!(error instanceof GapError) && !(error instanceof SyntaxError)) throw error;
      this.lose(`the stream broke off (${error.message})`);
    }
  }

  take(message) {
    if (message.type === "welcome") {
      this.set({ heartbeatMs: message.heartbeatMs });
      return;
    }
    if (message.type === "error") {
      this.failed(message);
      return;
    }
    const changed = this.fold.take(message);
    if (message.type === "batch" || message.type === "progress") this.alive(message, changed);
    if (message.type === "subscription_confirmed" || changed.length > 0) this.onchange(changed);
  }

  alive(message, changed) {
    this.attempt = 0;
    const now = this.now();
    const fields = { heardAt: now, clockOffsetMs: message.timestamp - now };
    if (this.fold.caughtUp) fields.lostAt = null;
    if (changed.length > 0) fields.changedAt = now;
    if (message.type === "progress") {
      Object.assign(fields, { progress: message, condition: message, upTo: message.completeness.upTo ?? message.time });
    } else {
      fields.upTo = message.time;
    }
    if (!serverTrouble(fields.condition ?? this.status.condition)) fields.currentAt = now;
    this.set(fields);
  }

  failed({ error, subscriptionId, temporary, retryAfterMs }) {
    const subscription = this.fold.subscriptions.get(subscriptionId);
    if (!subscription) {
      this.set({ reason: error });
      return;
    }
    subscription.error = error;
    if (temporary) {
      this.setTimer(() => {
        if (this.fold.subscriptions.get(subscriptionId) === subscription && subscription.name === null) this.add(subscription);
      }, retryAfterMs ?? 1_000);
    }
    this.onchange([subscription]);
  }

  closed(socket, { code, reason }) {
    if (socket !== this.socket) return;
    const neverOpen = this.status.link === "connecting";
    if (TOKEN_WANTED.has(code)) {
      this.drop();
      this.set({ link: "unauthorized", reason, lostAt: this.status.lostAt ?? this.now() });
    } else if (REFUSED.has(code)) {
      this.drop();
      this.set({ link: "refused", reason: reason || `closed with ${code}`, lostAt: this.status.lostAt ?? this.now() });
    } else {
      this.lose(reason || "the connection was lost", code === 4200 ? 0 : undefined);
      // A handshake refused with 401 looks like any other to a WebSocket: ask over HTTP.
      if (neverOpen) this.needsToken().then((needed) => needed && this.unauthorized(), () => {});
    }
  }

  unauthorized() {
    if (this.status.link === "open") return;
    this.drop();
    this.set({ link: "unauthorized", reason: null });
  }

  /** Gives the connection up and plans the next. */
  lose(reason, delayMs = this.backoff()) {
    this.drop();
    const now = this.now();
    this.set({ link: "waiting", reason, lostAt: this.status.lostAt ?? now, retryAt: now + delayMs });
    this.timer = this.setTimer(() => this.connect(), delayMs);
  }

  backoff() {
    const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** this.attempt);
    this.attempt += 1;
    return ceiling / 2 + (this.random() * ceiling) / 2;
  }

  drop() {
    this.clearTimer(this.timer);
    const { socket } = this;
    this.socket = null;
    this.fold.disconnect();
    if (socket) socket.close();
  }

  send(message) {
    this.socket.send(JSON.stringify(message));
  }

  set(fields) {
    Object.assign(this.status, fields);
    this.onstatus();
  }
}

function wish({ id, channel, filters, position }) {
  return { subscriptionId: id, channel, filters, ...(position ? { since: position } : {}) };
}
