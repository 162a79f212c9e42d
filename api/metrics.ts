/**
 * `/metrics` in the text format of Prometheus, on an address of its own: it needs no token, so it is not for the world. What
 * is in the database is read when it is asked for, and every API process says the same of it; what requests took each process
 * says of itself.
 */
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';
import type { StoreMetrics } from '../store/metrics.ts';

/** Seconds. An answer is wanted within 250 ms. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

export type Metrics = {
  /** A request of this route was answered. */
  answered(request: { method: string; route: string; status: number; ms: number }): void;
  text(): Promise<string>;
};

export function makeMetrics(read: () => Promise<StoreMetrics>): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, prefix: 'countdown_api_' });
  const requests = new Histogram({
    name: 'countdown_http_request_duration_seconds',
    help: 'What requests to the API took, by route.',
    labelNames: ['method', 'route', 'status'],
    buckets: BUCKETS,
    registers: [registry],
  });
  const tell = makeTellers(registry);
  const up = new Gauge({
    name: 'countdown_store_up',
    help: 'Whether the database answered this scrape.',
    registers: [registry],
  });
  return {
    answered: ({ method, route, status, ms }) => requests.observe({ method, route, status }, ms / 1_000),
    async text() {
      try {
        tell(await read());
        up.set(1);
      } catch {
        up.set(0);
      }
      return registry.metrics();
    },
  };
}

type Labels = Record<string, string>;

const by = <T extends { environment: string }>(rows: readonly T[], value: (row: T) => number) =>
  rows.map((row) => [{ environment: row.environment }, value(row)] as const);

type PhaseRow = StoreMetrics['phases'][number];
const byKind = (rows: readonly PhaseRow[], value: (row: PhaseRow) => number) =>
  rows.map((row): [Labels, number] => {
    const { environment, runbook, direction } = row;
    return [{ environment, runbook, direction }, value(row)];
  });

/** One metric a column: names are the field's, labels those that a person would group by. */
function makeTellers(registry: Registry): (found: StoreMetrics) => void {
  const gauge = (name: string, help: string, labelNames: string[]) => {
    const made = new Gauge({ name: `countdown_${name}`, help, labelNames, registers: [registry] });
    return (rows: readonly (readonly [Labels, number])[]) => {
      made.reset();
      for (const [labels, value] of rows) made.set(labels, value);
    };
  };
  const total = (name: string, help: string, labelNames: string[]) => {
    const made = new Counter({ name: `countdown_${name}`, help, labelNames, registers: [registry] });
    return (rows: readonly (readonly [Labels, number])[]) => {
      made.reset();
      for (const [labels, value] of rows) made.inc(labels, value);
    };
  };
  const environment = ['environment'];
  const kind = ['environment', 'runbook', 'direction'];
  const runs = gauge('runs', 'Runs by state.', ['environment', 'state']);
  const waiting = gauge('approvals_waiting', 'Approvals that are open.', environment);
  const asked = gauge('approval_oldest_seconds', 'Age of the oldest open approval.', environment);
  const desk = gauge('desk_runs', 'Runs that are stuck: a person must act.', environment);
  const stuck = gauge('desk_oldest_seconds', 'How long the first of them has been.', environment);
  const failed = gauge('undo_failed_phases', 'Phases of open runs whose undo has failed.', environment);
  const queued = gauge('lease_waits', 'Runs that are due and wait for a target.', environment);
  const queue = gauge('lease_wait_oldest_seconds', 'How long the first of them has waited.', environment);
  const late = gauge('rollbacks_late', 'Runs that unwind for longer than their objective.', environment);
  const lag = gauge('journal_lag_seconds', 'Age of the oldest decision that its run has not answered.', []);
  const unsent = gauge('decisions_undelivered', 'Decisions that their run has not answered.', []);
  const phases = total('phases_total', 'Phases that ended well; direction run or undo.', kind);
  const seconds = total('phase_seconds_total', 'What they took together.', kind);
  return (found) => {
    runs(found.runs.map((row) => [{ environment: row.environment, state: row.state }, row.runs]));
    waiting(by(found.approvals, (row) => row.waiting));
    asked(by(found.approvals, (row) => row.oldestMs / 1_000));
    desk(by(found.desk, (row) => row.runs));
    stuck(by(found.desk, (row) => row.oldestMs / 1_000));
    failed(by(found.undoFailed, (row) => row.phases));
    queued(by(found.leaseWaits, (row) => row.runs));
    queue(by(found.leaseWaits, (row) => row.oldestMs / 1_000));
    late(by(found.lateRollbacks, (row) => row.runs));
    lag([[{}, found.undelivered.oldestMs / 1_000]]);
    unsent([[{}, found.undelivered.decisions]]);
    phases(byKind(found.phases, (row) => row.phases));
    seconds(byKind(found.phases, (row) => row.seconds));
  };
}

/** Answers `GET /metrics` and nothing else. */
export function metricsServer(metrics: Metrics): Server {
  return createServer((request, response) => {
    if (request.method !== 'GET' || request.url !== '/metrics') {
      response.writeHead(404).end();
      return;
    }
    metrics.text().then(
      (text) =>
        response.writeHead(200, { 'Content-Type': 'text/plain; version=0.0.4; charset=utf-8' }).end(text),
      () => response.writeHead(500).end(),
    );
  });
}
