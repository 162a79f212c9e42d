/**
 * Makes a SQLite file as years of use would leave it: NULLs, blobs, decimals, dates, text in many scripts, rows that were
 * deleted so that the AUTOINCREMENT sequences are ahead. The same seed and number of rows give the same rows.
 *
 *   node examples/piano-keys/generate.ts FILE [ROWS] [SEED]
 */
import { DatabaseSync } from 'node:sqlite';
import type { SQLInputValue } from 'node:sqlite';
import { makeRandom } from './random.ts';
import type { Random } from './random.ts';
import { SQLITE_SCHEMA, columnsOf } from './tables.ts';
import type { TableName } from './tables.ts';

const ROWS = 100_000;
const ROWS_LEAST = 20;
const SEED = 20_261_122;
/** Rows that were there once, at the end of each table. */
const DELETED = 7;
const DAY_MS = 86_400_000;
const EPOCH_MS = Date.UTC(2020, 0, 1);
const DAYS = 2_500;

export type Generated = { users: number; songs: number; sessions: number };

/** Fills a new file. `rows` counts all tables together, at least 20, default 100,000. Throws where the file has rows already. */
export function generate(options: { file: string; rows?: number; seed?: number }): Generated {
  const rows = options.rows ?? ROWS;
  if (rows < ROWS_LEAST) throw new Error(`rows is ${rows}, expected at least ${ROWS_LEAST}.`);
  const users = Math.max(5, Math.floor(rows * 0.06));
  const songs = Math.max(5, Math.floor(rows * 0.04));
  const counts = { users, songs, sessions: rows - users - songs };
  const random = makeRandom(options.seed ?? SEED);
  const database = new DatabaseSync(options.file, { enableForeignKeyConstraints: true });
  try {
    database.exec('pragma journal_mode = wal; pragma synchronous = off;');
    database.exec(SQLITE_SCHEMA);
    if (database.prepare('select 1 from users limit 1').get() !== undefined) {
      throw new Error(`${options.file} has rows already; name a new file.`);
    }
    database.exec('begin');
    fill(database, 'users', counts.users, (id) => user(random, id));
    fill(database, 'songs', counts.songs, () => song(random, counts.users));
    fill(database, 'sessions', counts.sessions, () => session(random, counts));
    database.exec('commit; pragma wal_checkpoint(truncate);');
  } finally {
    database.close();
  }
  return counts;
}

function fill(
  database: DatabaseSync,
  table: TableName,
  count: number,
  cells: (id: number) => SQLInputValue[],
): void {
  const names = Object.keys(columnsOf(table));
  const marks = names.map(() => '?').join(', ');
  const insert = database.prepare(`insert into ${table} (${names.join(', ')}) values (${marks})`);
  for (let id = 1; id <= count + DELETED; id += 1) insert.run(...cells(id));
  database.prepare(`delete from ${table} where id > ?`).run(count);
}

/** The cells of each row stand in the order of the table's columns. */
function user(random: Random, id: number): SQLInputValue[] {
  return [
    `user${id}@piano.example`,
    `${random.pick(FIRST_NAMES)} ${random.pick(LAST_NAMES)}`,
    random.whole(1, 60),
    Number(random.chance(0.08)),
    random.chance(0.3) ? null : day(random, -20_000),
    random.chance(0.5) ? null : decimal(random, 120_00),
    random.chance(0.85) ? null : random.bytes(random.whole(0, 400)),
    moment(random),
  ];
}

function song(random: Random, users: number): SQLInputValue[] {
  return [
    `${random.pick(TITLES)} ${random.pick(KEYS)}, no. ${random.whole(1, 400)}`,
    random.chance(0.2) ? null : random.pick(COMPOSERS),
    // Not every decimal fraction is a double; these are.
    random.chance(0.5) ? random.whole(40, 208) : random.next() * 168 + 40,
    random.whole(1, 10),
    decimal(random, 99_99),
    Number(random.chance(0.6)),
    random.chance(0.4) ? null : day(random, -100_000),
    random.chance(0.7) ? null : random.bytes(random.whole(100, 1_000)),
    random.chance(0.1) ? null : random.whole(1, users),
    moment(random),
  ];
}

function session(random: Random, counts: Generated): SQLInputValue[] {
  return [
    random.whole(1, counts.users),
    random.whole(1, counts.songs),
    moment(random),
    random.whole(0, 180),
    random.chance(0.25) ? null : random.next() * 100,
    Number(random.chance(0.7)),
    random.chance(0.6) ? null : random.pick(NOTES),
  ];
}

/** A number, as the column's affinity keeps it: 12.5 for "12.50", 12 for "12.00". */
function decimal(random: Random, most: number): number {
  return random.whole(0, most) / 100;
}

function day(random: Random, earliest: number): string {
  return new Date(EPOCH_MS + random.whole(earliest, DAYS) * DAY_MS).toISOString().slice(0, 10);
}

function moment(random: Random): string {
  const at = new Date(EPOCH_MS + random.whole(0, DAYS) * DAY_MS + random.whole(0, 86_399) * 1_000);
  return at.toISOString().slice(0, 19).replace('T', ' ');
}

const FIRST_NAMES = [
  'Ana',
  'Bjørn',
  'Chloé',
  '大輔',
  'Ελένη',
  'Fatima',
  'Гриша',
  'Hồng',
  'Íris',
  'ジュン',
  '지우',
  'שירה',
  'عمر',
  'Zoë',
] as const;
const LAST_NAMES = [
  'Müller',
  "O'Brien",
  'García Márquez',
  '佐藤',
  'Παπαδόπουλος',
  'Иванова',
  'Nguyễn',
  'de la Cruz',
  'Åström',
  'Ng',
] as const;
const COMPOSERS = [
  'Frédéric Chopin',
  'Антон Рубинштейн',
  '坂本龍一',
  'Clara Schumann',
  'Dvořák, Antonín',
  'Scott "King of Ragtime" Joplin',
] as const;
const TITLES = [
  'Nocturne in',
  'Étude in',
  'Сюита in',
  '月の光 in',
  'Boléro ♯♭ in',
  'Études-Tableaux in',
  'Blues; or: Rag in',
] as const;
const KEYS = ['C', 'C♯ minor', 'D♭', 'E minor', 'F', 'G♯ minor', 'A', 'B♭ minor'] as const;
/** What breaks a careless copy: empty text, quotes, backslashes, tabs, line ends, emoji, marks that combine, the word NULL. */
const NOTES = [
  '',
  ' ',
  'NULL',
  String.raw`\N`,
  String.raw`left hand: C:\scales\new`,
  'two\nlines',
  'carriage\r\nreturn',
  'a\ttab, a "quote", an \'apostrophe\', a comma; a semicolon',
  'e\u0301 is not é until normalised',
  '🎹🎶 first time without a mistake 👩🏽‍🎤',
  'مرحبا بالعالم \u200Fright to left',
  '100 % — "fortissimo"',
  'line separator \u2028 and zero width \u200B space',
  'Slow down at bar 12, then a tempo. '.repeat(8),
] as const;

if (import.meta.main) {
  const [file, rows, seed] = process.argv.slice(2);
  if (file === undefined) {
    process.stderr.write('usage: node examples/piano-keys/generate.ts FILE [ROWS] [SEED]\n');
    process.exit(2);
  }
  const counts = generate({ file, rows: Number(rows ?? ROWS), seed: Number(seed ?? SEED) });
  process.stdout.write(`${JSON.stringify({ file, ...counts })}\n`);
}
