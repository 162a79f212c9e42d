/**
 * What the application keeps: users, songs and practice sessions. One description serves the SQLite schema, both stores,
 * the checks of what comes in and the form of what goes out, so an answer is the same whichever store gave it.
 */
import { z } from 'zod';

export type ColumnType = 'integer' | 'text' | 'real' | 'decimal' | 'boolean' | 'date' | 'datetime' | 'blob';
export type TableName = 'users' | 'songs' | 'sessions';

/** As it goes out: decimals are strings with two places, times are RFC 3339 in UTC, blobs are base64. */
export type Value = null | boolean | number | string;
export type Row = { id: number } & Record<string, Value>;

const text = z.string().max(2_000);
const count = z.number().int().min(0).max(1_000_000);
const decimal = z.string().regex(/^-?\d{1,8}\.\d{2}$/, 'a decimal with two places, as in "12.50"');
const date = z.iso.date();
const datetime = z.iso.datetime({ precision: 0 });
const blob = z.base64().max(16_384);
const id = z.number().int().min(1);

export const TABLES = {
  users: {
    columns: {
      email: 'text',
      name: 'text',
      level: 'integer',
      is_teacher: 'boolean',
      birthday: 'date',
      monthly_fee: 'decimal',
      avatar: 'blob',
      created_at: 'datetime',
    },
    body: z.strictObject({
      email: z.email(),
      name: text,
      level: count.default(1),
      is_teacher: z.boolean().default(false),
      birthday: date.nullable().default(null),
      monthly_fee: decimal.nullable().default(null),
      avatar: blob.nullable().default(null),
      created_at: datetime,
    }),
  },
  songs: {
    columns: {
      title: 'text',
      composer: 'text',
      tempo: 'real',
      difficulty: 'integer',
      price: 'decimal',
      is_public: 'boolean',
      published_on: 'date',
      sheet: 'blob',
      owner_id: 'integer',
      created_at: 'datetime',
    },
    body: z.strictObject({
      title: text,
      composer: text.nullable().default(null),
      tempo: z.number().min(1).max(1_000),
      difficulty: count.default(1),
      price: decimal.default('0.00'),
      is_public: z.boolean().default(false),
      published_on: date.nullable().default(null),
      sheet: blob.nullable().default(null),
      owner_id: id.nullable().default(null),
      created_at: datetime,
    }),
  },
  sessions: {
    columns: {
      user_id: 'integer',
      song_id: 'integer',
      started_at: 'datetime',
      minutes: 'integer',
      score: 'real',
      completed: 'boolean',
      notes: 'text',
    },
    body: z.strictObject({
      user_id: id,
      song_id: id,
      started_at: datetime,
      minutes: count,
      score: z.number().nullable().default(null),
      completed: z.boolean().default(false),
      notes: text.nullable().default(null),
    }),
  },
} as const satisfies Record<TableName, { columns: Record<string, ColumnType>; body: z.ZodObject }>;

export function isTable(name: string): name is TableName {
  return Object.hasOwn(TABLES, name);
}

/** The columns of a table with their types, without `id`. */
export function columnsOf(table: TableName): Record<string, ColumnType> {
  return TABLES[table].columns;
}

/** The schema of the SQLite file. PostgreSQL's tables have the same names and columns, and somebody else makes them. */
export const SQLITE_SCHEMA = `
create table if not exists users (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  email TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  level INTEGER NOT NULL DEFAULT 1,
  is_teacher BOOLEAN NOT NULL DEFAULT 0,
  birthday DATE,
  monthly_fee NUMERIC(10,2),
  avatar BLOB,
  created_at DATETIME NOT NULL
);
create table if not exists songs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  title TEXT NOT NULL,
  composer TEXT,
  tempo REAL NOT NULL,
  difficulty INTEGER NOT NULL DEFAULT 1,
  price NUMERIC(10,2) NOT NULL DEFAULT 0,
  is_public BOOLEAN NOT NULL DEFAULT 0,
  published_on DATE,
  sheet BLOB,
  owner_id INTEGER REFERENCES users (id),
  created_at DATETIME NOT NULL
);
create table if not exists sessions (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  user_id INTEGER NOT NULL REFERENCES users (id),
  song_id INTEGER NOT NULL REFERENCES songs (id),
  started_at DATETIME NOT NULL,
  minutes INTEGER NOT NULL,
  score REAL,
  completed BOOLEAN NOT NULL DEFAULT 0,
  notes TEXT
);
create index if not exists sessions_user_id on sessions (user_id);
create index if not exists sessions_song_id on sessions (song_id);
`;
