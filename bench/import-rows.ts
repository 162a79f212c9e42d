/** The SQLite file of the import bench: messages as an application has them, made up from a seed. */
import { DatabaseSync } from 'node:sqlite';

/** Columns of the table, in the order in which rows are made. */
export const COLUMNS = [
  'id INTEGER PRIMARY KEY',
  'account_id INTEGER NOT NULL',
  'subject VARCHAR(120) NOT NULL',
  'body TEXT',
  'score REAL',
  'is_read BOOLEAN NOT NULL',
  'sent_at DATETIME NOT NULL',
  'size_bytes INTEGER',
  'attachment BLOB',
] as const;

const WORDS =
  'the rehearsal starts at nine please bring your own score and a pencil we moved piano two to the small hall café Übung ♪ naïve 😀 C:\\notes "quoted" it’s 100% done'.split(
    ' ',
  );
const DAY_ZERO_MS = Date.UTC(2019, 0, 1);
const SPAN_MS = 6 * 365 * 86_400_000;
const ROWS_OF_TRANSACTION = 50_000;

/** Numbers from 0 to below 1 that follow from the seed alone. */
function chance(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Makes the file with so many rows and one index beside its key. */
export function makeMessages(path: string, { rows, seed }: { rows: number; seed: number }): void {
  using db = new DatabaseSync(path);
  db.exec('PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF');
  db.exec(`CREATE TABLE messages (${COLUMNS.join(', ')})`);
  const insert = db.prepare(`INSERT INTO messages VALUES (${COLUMNS.map(() => '?').join(', ')})`);
  const next = chance(seed);
  for (let id = 1; id <= rows; id += 1) {
    if (id % ROWS_OF_TRANSACTION === 1) db.exec('BEGIN');
    insert.run(id, ...cells(next));
    if (id % ROWS_OF_TRANSACTION === 0 || id === rows) db.exec('COMMIT');
  }
  db.exec('CREATE INDEX messages_account_id ON messages (account_id, sent_at)');
}

/** The cells after the key: most are short, a few long, some NULL. */
function cells(next: () => number): (string | number | bigint | Uint8Array | null)[] {
  return [
    Math.floor(next() * 50_000),
    words(next, 3 + Math.floor(next() * 6)),
    body(next),
    real(next),
    next() < 0.7 ? 1 : 0,
    moment(next),
    next() < 0.1 ? null : BigInt(Math.floor(next() ** 4 * 1e10)),
    next() < 0.5 ? null : bytes(next, next() < 0.8 ? 16 + next() * 48 : 200 + next() * 800),
  ];
}

function body(next: () => number): string | null {
  const kind = next();
  if (kind < 0.05) return null;
  if (kind < 0.6) return words(next, 4 + Math.floor(next() * 10));
  if (kind < 0.9) return `${words(next, 20)}\n\n${words(next, Math.floor(next() * 40))}`;
  if (kind < 0.99) return Array.from({ length: 6 }, () => words(next, 20)).join('\r\n\t');
  return Array.from({ length: 40 }, () => words(next, 20)).join('\n');
}

function words(next: () => number, count: number): string {
  let text = '';
  for (let place = 0; place < count; place += 1)
    text += `${place === 0 ? '' : ' '}${WORDS[Math.floor(next() * WORDS.length)]}`;
  return text;
}

/** Prices of two places, and measurements with all their digits. */
function real(next: () => number): number | null {
  const kind = next();
  if (kind < 0.1) return null;
  return kind < 0.5 ? Math.round(next() * 1e6) / 100 : (next() - 0.5) * 1e6;
}

/** Local time to the microsecond, as object mappers write it. */
function moment(next: () => number): string {
  const second = new Date(DAY_ZERO_MS + next() * SPAN_MS).toISOString();
  const micros = next() < 0.02 ? 0 : Math.floor(next() * 1e6);
  return `${second.slice(0, 10)} ${second.slice(11, 19)}.${String(micros).padStart(6, '0')}`;
}

function bytes(next: () => number, length: number): Uint8Array {
  return Uint8Array.from({ length: Math.floor(length) }, () => next() * 256);
}
