/**
 * Write traffic: creates, changes and removes rows over HTTP at a bounded rate, and writes down what was acknowledged.
 * Configured by the environment:
 *
 *   PIANO_URL      where the application is
 *   PIANO_LEDGER   the file to append to
 *   PIANO_RATE     writes a second, default 40
 *   PIANO_SEED     what is written when; default 1
 *
 * On SIGTERM it ends what is under way and prints its counts.
 */
import { appendFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Entry } from './ledger.ts';
import { makeRandom } from './random.ts';
import type { Random } from './random.ts';
import type { Row, TableName, Value } from './tables.ts';

const RATE = 40;
const LANES = 4;
const ANSWER_MS = 15_000;
const RETRY_MS = 200;
const OWN_ROWS_MAX = 200;

export type Writer = {
  /** So far. */
  counts(): Counts;
  /** Ends what is under way, then stops. */
  stop(): Promise<Counts>;
};
export type Counts = Record<Entry['outcome'], number>;

export type StartWriter = {
  url: string;
  ledger: string;
  /** Writes a second, all lanes together; default 40. */
  ratePerSecond?: number;
  seed?: number;
};

/** Starts the traffic. The application must have at least one user and one song. */
export function startWriter({ url, ledger, ratePerSecond = RATE, seed = 1 }: StartWriter): Writer {
  const counts: Counts = { acknowledged: 0, refused: 0, unknown: 0 };
  const stopping = new AbortController();
  const note = (entry: Entry): void => {
    appendFileSync(ledger, `${JSON.stringify(entry)}\n`);
    counts[entry.outcome] += 1;
  };
  const everyMs = (1_000 * LANES) / ratePerSecond;
  const lanes = Array.from({ length: LANES }, (_none, index) =>
    lane({
      url,
      note,
      everyMs,
      random: makeRandom(seed * LANES + index),
      lane: index,
      signal: stopping.signal,
    }),
  );
  return {
    counts: () => ({ ...counts }),
    async stop() {
      stopping.abort();
      await Promise.all(lanes);
      return { ...counts };
    },
  };
}

type Lane = {
  url: string;
  note: (entry: Entry) => void;
  everyMs: number;
  random: Random;
  lane: number;
  signal: AbortSignal;
};

/** One write at a time; each lane changes only rows that it made itself. */
async function lane(part: Lane): Promise<void> {
  const own: { table: TableName; row: Row }[] = [];
  let next = Date.now();
  for (let turn = 0; !part.signal.aborted; turn += 1) {
    const wish = wishFor(part, own, turn);
    await attempt(part, own, wish);
    if (own.length > OWN_ROWS_MAX) own.shift();
    next = Math.max(next + part.everyMs, Date.now() - part.everyMs);
    await pause(next - Date.now(), part.signal);
  }
}

type Wish =
  | { operation: 'create'; table: TableName; body: Record<string, Value> }
  | { operation: 'update'; table: TableName; at: number; body: Record<string, Value> }
  | { operation: 'remove'; table: TableName; at: number };

function wishFor({ random, lane: index }: Lane, own: { table: TableName; row: Row }[], turn: number): Wish {
  const sessions = own.flatMap(({ table }, at) => (table === 'sessions' ? [at] : []));
  const at = sessions[random.whole(0, Math.max(0, sessions.length - 1))];
  if (at !== undefined && random.chance(0.25)) {
    const body = { completed: random.chance(0.5), score: random.next() * 100, notes: `again ♪ ${turn}` };
    return { operation: 'update', table: 'sessions', at, body };
  }
  if (at !== undefined && random.chance(0.06)) return { operation: 'remove', table: 'sessions', at };
  if (random.chance(0.15))
    return { operation: 'create', table: 'users', body: newUser(random, `${index}-${turn}`) };
  if (random.chance(0.1)) return { operation: 'create', table: 'songs', body: newSong(random, turn) };
  return { operation: 'create', table: 'sessions', body: newSession(random) };
}

function newUser(random: Random, mark: string): Record<string, Value> {
  return {
    email: `writer-${mark}-${random.whole(1, 999_999_999)}@piano.example`,
    name: random.pick(['Renée', '小林', 'Łukasz', 'Ann']),
    level: random.whole(1, 60),
    is_teacher: random.chance(0.1),
    birthday: random.chance(0.5)
      ? null
      : `19${random.whole(50, 99)}-0${random.whole(1, 9)}-1${random.whole(0, 9)}`,
    monthly_fee: random.chance(0.5) ? null : (random.whole(0, 99_99) / 100).toFixed(2),
    avatar: random.chance(0.7) ? null : Buffer.from(random.bytes(32)).toString('base64'),
    created_at: now(),
  };
}

function newSong(random: Random, turn: number): Record<string, Value> {
  return {
    title: `Improvisation ♭${turn}`,
    tempo: random.next() * 100 + 60,
    price: (random.whole(0, 99_99) / 100).toFixed(2),
    is_public: random.chance(0.5),
    owner_id: 1,
    created_at: now(),
  };
}

function newSession(random: Random): Record<string, Value> {
  return {
    user_id: 1,
    song_id: 1,
    started_at: now(),
    minutes: random.whole(1, 180),
    score: random.chance(0.3) ? null : random.next() * 100,
    completed: random.chance(0.5),
    notes: random.chance(0.5) ? null : 'left hand\talone\n🎹',
  };
}

/** Tries again while writes are held or nobody listens. Each refusal is an entry of its own. */
async function attempt(part: Lane, own: { table: TableName; row: Row }[], wish: Wish): Promise<void> {
  const target = wish.operation === 'create' ? undefined : own[wish.at];
  const id = target?.row.id ?? null;
  const entry = { operation: wish.operation, table: wish.table, id, row: null };
  for (;;) {
    const answer = await send(part.url, wish, id);
    const at = new Date().toISOString();
    if (answer === 'held' || answer === 'refused') {
      part.note({ ...entry, at, outcome: 'refused' });
      if (answer === 'refused' || part.signal.aborted) return;
      await pause(RETRY_MS, part.signal);
      continue;
    }
    if (answer === 'unknown') {
      part.note({ ...entry, at, row: wouldBe(wish, target?.row), outcome: 'unknown' });
      // Whatever became of it, this row is no longer known, so it is not touched again.
      if (wish.operation !== 'create') own.splice(wish.at, 1);
      return;
    }
    part.note({ ...entry, at, id: answer.row?.id ?? id, row: answer.row, outcome: 'acknowledged' });
    remember(own, wish, answer.row);
    return;
  }
}

function remember(own: { table: TableName; row: Row }[], wish: Wish, row: Row | null): void {
  if (wish.operation === 'remove') own.splice(wish.at, 1);
  else if (row !== null && wish.operation === 'create') own.push({ table: wish.table, row });
  else if (row !== null && wish.operation === 'update') own[wish.at] = { table: wish.table, row };
}

function wouldBe(wish: Wish, before: Row | undefined): Row | null {
  return wish.operation === 'update' && before !== undefined ? { ...before, ...wish.body } : null;
}

/** `held`: not written, worth another try. `refused`: not written, for good. */
type Answer = { row: Row | null } | 'held' | 'refused' | 'unknown';

async function send(url: string, wish: Wish, id: number | null): Promise<Answer> {
  const path = `${url}/api/${wish.table}${id === null ? '' : `/${id}`}`;
  const method = { create: 'POST', update: 'PATCH', remove: 'DELETE' }[wish.operation];
  const body = wish.operation === 'remove' ? undefined : JSON.stringify(wish.body);
  try {
    const response = await fetch(path, {
      method,
      signal: AbortSignal.timeout(ANSWER_MS),
      ...(body === undefined ? {} : { body, headers: { 'Content-Type': 'application/json' } }),
    });
    const text = await response.text();
    if (response.status === 204) return { row: null };
    if (response.ok) return { row: JSON.parse(text) };
    if (response.status === 503) return 'held';
    return response.status < 500 ? 'refused' : 'unknown';
  } catch (error) {
    return nobodyListened(error) ? 'held' : 'unknown';
  }
}

function nobodyListened(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof Error && 'code' in cause && cause.code === 'ECONNREFUSED';
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(Math.max(0, ms), undefined, { signal }).catch(() => {});
}

function now(): string {
  return `${new Date().toISOString().slice(0, 19)}Z`;
}

if (import.meta.main) {
  const { PIANO_URL: url, PIANO_LEDGER: ledger, PIANO_RATE: rate, PIANO_SEED: seed } = process.env;
  if (url === undefined || ledger === undefined) {
    process.stderr.write(
      'writer: PIANO_URL and PIANO_LEDGER must be set; see examples/piano-keys/README.md.\n',
    );
    process.exit(2);
  }
  const writer = startWriter({ url, ledger, ratePerSecond: Number(rate ?? RATE), seed: Number(seed ?? 1) });
  process.stdout.write(`${JSON.stringify({ msg: 'writer: started', url })}\n`);
  const stop = async (): Promise<void> => {
    process.stdout.write(`${JSON.stringify({ msg: 'writer: stopped', ...(await writer.stop()) })}\n`);
    process.exit(0);
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void stop());
}
