// Starts the real server for a test and speaks to it over HTTP.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";

const READY_WITHIN_MS = 60_000;
const binary = process.env.WEIR_BIN ?? new URL("../../../target/debug/weir", import.meta.url).pathname;

/** A server over a data folder of its own; `environment` lays configuration over the defaults. */
export class Weir {
  static async start(environment = {}) {
    const weir = new Weir();
    weir.environment = environment;
    weir.folder = await mkdtemp(join(tmpdir(), "weir-page-"));
    weir.port = 0;
    await weir.up();
    return weir;
  }

  /** Starts the process, again on the port that it had. */
  async up() {
    const { WEIR_BIN, ...inherited } = process.env;
    const environment = { ...inherited, ...this.environment };
    this.process = spawn(binary, ["serve", "--listen", `127.0.0.1:${this.port}`, "--data", join(this.folder, "data")],
      { env: environment, stdio: ["ignore", "pipe", "pipe"] });
    this.exited = once(this.process, "exit");
    this.said = [];
    const address = new Promise((resolve, reject) => {
      for (const stream of [this.process.stdout, this.process.stderr]) {
        createInterface({ input: stream }).on("line", (line) => {
          this.said.push(line);
          const found = /127\.0\.0\.1:(\d+)/.exec(line);
          if (found && found[1] !== "0") resolve(Number(found[1]));
        });
      }
      this.exited.then(([code]) => reject(new Error(`weir serve ended with ${code}:\n${this.said.join("\n")}`)), reject);
    });
    this.port = await address;
    this.url = `http://127.0.0.1:${this.port}`;
    await this.ready();
  }

  /** Waits for the condition that events are taken. */
  async ready() {
    const deadline = Date.now() + READY_WITHIN_MS;
    for (;;) {
      const answer = await fetch(`${this.url}/readyz`).catch(() => null);
      if (answer?.ok) return;
      if (Date.now() > deadline) throw new Error(`not ready: ${await answer?.text()}\n${this.said.join("\n")}`);
      await pause(20);
    }
  }

  /** Ends the process at once, as a power cut would. */
  async kill() {
    this.process.kill("SIGKILL");
    await this.exited;
  }

  async stop() {
    if (this.process.exitCode === null && this.process.signalCode === null) await this.kill();
    await rm(this.folder, { recursive: true, force: true });
  }

  /** Sends events and waits until they are durable. */
  async post(events, headers = {}) {
    const body = events.map((event) => JSON.stringify(event)).join("\n");
    const answer = await fetch(`${this.url}/v1/events`, { method: "POST", body, headers: { "content-type": "application/x-ndjson", ...headers } });
    const text = await answer.text();
    if (answer.status !== 202 || JSON.parse(text).rejected?.length > 0) throw new Error(`${answer.status}: ${text}`);
  }
}

/** The events of one run with one stream. */
export class Run {
  constructor(project, run, metadata = {}) {
    this.project = project;
    this.run = run;
    this.version = 0;
    this.metadata = { project, framework: "pytest", branch: "main", commit: "0123456789abcdef", userId: "ann", ...metadata };
  }

  event(eventType, data = {}) {
    this.version += 1;
    const streamId = `${this.project}/${this.run}`;
    return { eventId: `${streamId}#${this.version}`, eventType, streamId, version: this.version, timestamp: Date.now(),
      correlationId: this.run, data, metadata: this.metadata };
  }

  started(plannedTests) {
    return [this.event("run_started", { plannedTests }), this.event("test_suite_started", { testSuiteId: "unit", testSuiteName: "unit", plannedTests })];
  }

  test(number, result, fields = {}) {
    return this.event("test_case_completed", { testId: `t${number}`, testName: `test number ${number}`, testSuiteId: "unit", result, duration: 12, ...fields });
  }

  ended() {
    return [this.event("test_suite_completed", { testSuiteId: "unit" }), this.event("run_completed")];
  }
}
