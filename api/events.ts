/**
 * The live view of a run: journal rows as server-sent events with their seq as id, progress in between. One LISTEN of
 * PostgreSQL serves all streams; a stream reads only its own rows, so a slow client holds nothing but itself.
 */
import type { Logger } from 'pino';
import type { Json } from '../procedures/plan.ts';
import { TERMINAL } from '../procedures/states.ts';
import type { ApiStore, JournalRow, PhaseView } from '../store/types.ts';

export type SentEvent = { id?: number; event: string; data: { [key: string]: Json } } | { comment: string };

const PAGE = 200;
const HEARTBEAT_MS = 15_000;
const PROGRESS_EVERY_MS = 1_000;
/** Without a notification the rows are looked for this often: a notification can be lost with its connection. */
const LOOK_EVERY_MS = 5_000;
const STREAMS_MAX = 200;
const STREAMS_A_PERSON_MAX = 20;

export type EventHub = {
  /** Takes a place among the streams; undefined where there is none. Give it back with `close`. */
  open(person: string): { close(): void } | undefined;
  /** Rows after `after`, then whatever comes, until the run has ended, the signal aborts or the process drains. */
  follow(run: number, after: number, signal: AbortSignal): AsyncGenerator<SentEvent>;
  /** Ends all streams; the clients come back by themselves. */
  drain(): void;
};

/** Listens until the signal aborts. */
export function makeEventHub(options: {
  store: ApiStore;
  signal: AbortSignal;
  log: Pick<Logger, 'error'>;
  heartbeatMs?: number;
}): EventHub {
  const { store } = options;
  const draining = new AbortController();
  const waiting = new Map<number, Set<() => void>>();
  const seen = new Map<number, number>();
  const open = new Map<string, number>();
  const progress = makeProgressReader(store);

  store
    .listen((run) => {
      if (!waiting.has(run)) return;
      seen.set(run, (seen.get(run) ?? 0) + 1);
      for (const wake of waiting.get(run) ?? []) wake();
    }, options.signal)
    .catch((error: unknown) => options.log.error({ err: error }, 'events: listening has ended'));

  return {
    open(person) {
      const mine = open.get(person) ?? 0;
      const all = [...open.values()].reduce((sum, count) => sum + count, 0);
      if (all >= STREAMS_MAX || mine >= STREAMS_A_PERSON_MAX) return undefined;
      open.set(person, mine + 1);
      let isOpen = true;
      return {
        close() {
          if (!isOpen) return;
          isOpen = false;
          const left = (open.get(person) ?? 1) - 1;
          if (left === 0) open.delete(person);
          else open.set(person, left);
        },
      };
    },

    async *follow(run, after, requestSignal) {
      const signal = AbortSignal.any([requestSignal, draining.signal]);
      let wake = nobody;
      const onNews = () => wake();
      const mine = waiting.get(run) ?? new Set();
      waiting.set(run, mine.add(onNews));
      signal.addEventListener('abort', onNews);
      try {
        let last = after;
        let lookedAt = 0;
        let sentAt = Date.now();
        const shown = new Map<string, string>();
        while (!signal.aborted) {
          const version = seen.get(run) ?? 0;
          for (;;) {
            const rows = await store.journal(run, { after: last, limit: PAGE });
            for (const row of rows) {
              last = row.seq;
              sentAt = Date.now();
              yield eventOf(row);
              if (isLast(row)) return;
            }
            if (rows.length < PAGE) break;
          }
          lookedAt = Date.now();
          while (
            !signal.aborted &&
            (seen.get(run) ?? 0) === version &&
            Date.now() - lookedAt < LOOK_EVERY_MS
          ) {
            for (const event of changed(await progress(run), shown)) {
              sentAt = Date.now();
              yield event;
            }
            if (Date.now() - sentAt >= (options.heartbeatMs ?? HEARTBEAT_MS)) {
              sentAt = Date.now();
              yield { comment: 'still here' };
            }
            if (signal.aborted || (seen.get(run) ?? 0) !== version) break;
            await new Promise<void>((resolve) => {
              const timer = setTimeout(resolve, PROGRESS_EVERY_MS);
              wake = () => {
                clearTimeout(timer);
                resolve();
              };
            });
          }
        }
        if (draining.signal.aborted) yield { comment: 'come back' };
      } finally {
        signal.removeEventListener('abort', onNews);
        mine.delete(onNews);
        if (mine.size === 0) {
          waiting.delete(run);
          seen.delete(run);
        }
      }
    },

    drain: () => draining.abort(),
  };
}

function nobody(): void {}

/** Reads a run's phases at most once a second, however many streams look at it. */
function makeProgressReader(store: ApiStore): (run: number) => Promise<PhaseView[]> {
  const known = new Map<number, { at: number; phases: Promise<PhaseView[]> }>();
  return async (run) => {
    const now = Date.now();
    for (const [other, entry] of known) if (now - entry.at >= PROGRESS_EVERY_MS) known.delete(other);
    const entry = known.get(run) ?? {
      at: now,
      phases: store.run(run).then((detail) => detail?.phases ?? []),
    };
    known.set(run, entry);
    return entry.phases;
  };
}

function changed(phases: readonly PhaseView[], shown: Map<string, string>): SentEvent[] {
  const events: SentEvent[] = [];
  for (const { phase, state, progress } of phases) {
    if (progress === null || (state !== 'running' && state !== 'undoing')) continue;
    const text = JSON.stringify(progress);
    if (shown.get(phase) === text) continue;
    shown.set(phase, text);
    events.push({ event: 'progress', data: { phase, ...progress } });
  }
  return events;
}

function isLast(row: JournalRow): boolean {
  return row.kind === 'run' && TERMINAL.some((state) => state === row.body['state']);
}

const EVENT_OF: Record<JournalRow['kind'], 'run' | 'phase' | 'decision'> = {
  asked: 'run',
  run: 'run',
  phase: 'phase',
  intent: 'phase',
  outcome: 'phase',
  approval: 'decision',
  decision: 'decision',
  refused: 'decision',
  token: 'decision',
};

/** What a phase is while a direction of it is under way. */
const UNDER_WAY: Record<string, string> = { run: 'running', undo: 'undoing', probe: 'maybe' };

/** One journal row as an event. Outputs stay in the evidence: an event says what moved. */
export function eventOf(row: JournalRow): SentEvent {
  const data: { [key: string]: Json } = { row: row.kind, at: row.at, actor: row.actor };
  if (row.phase !== null) data['phase'] = row.phase;
  if (row.direction !== null) data['direction'] = row.direction;
  if (row.try !== null) data['try'] = row.try;
  if (row.kind === 'intent' && row.direction !== null) data['state'] = UNDER_WAY[row.direction] ?? 'running';
  if (row.kind === 'asked') data['state'] = 'planned';
  for (const key of TOLD) {
    const value = row.body[key];
    if (value !== undefined) data[key] = TIMES.has(key) && typeof value === 'number' ? timeOf(value) : value;
  }
  return { id: row.seq, event: EVENT_OF[row.kind], data };
}

/** Members that the journal keeps as milliseconds since 1970 and an event tells as times are told everywhere. */
const TIMES = new Set(['dueAt']);

function timeOf(ms: number): string {
  return new Date(ms).toISOString();
}

/** The members of a row's body that an event repeats. */
const TOLD = [
  'state',
  'verdict',
  'summary',
  'because',
  'step',
  'result',
  'answer',
  'error',
  'waitingFor',
  'verified',
  'notVerified',
  'kind',
  'subject',
  'person',
  'door',
  'reason',
  'evidence',
  'round',
  'from',
  'dueAt',
  'reminder',
  'escalatedTo',
  'brokeGlass',
];

/** The wire form of an event. */
export function encodeEvent(event: SentEvent): string {
  if ('comment' in event) return `: ${event.comment}\n\n`;
  const id = event.id === undefined ? '' : `id: ${event.id}\n`;
  return `${id}event: ${event.event}\ndata: ${JSON.stringify(event.data)}\n\n`;
}
