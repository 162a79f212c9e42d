/** DEFAULT expressions of SQLite as PostgreSQL writes them. What is not understood is no default: it is refused. */
import { DatabaseSync } from 'node:sqlite';
import { quote } from '../sqlite.ts';
import type { Cell } from '../sqlite.ts';
import { carrierOf } from './encoding.ts';
import type { Rule } from './rules.ts';

const LITERAL =
  /^(?:NULL|TRUE|FALSE|[+-]?\s*(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|'(?:[^']|'')*'|x'[0-9a-f]*')$/i;

const UTC = `now() AT TIME ZONE 'UTC'`;
/** What the clock means in SQLite, which knows UTC and whole seconds only; by expression, then by type. */
const MOMENT = {
  'timestamp without time zone': `date_trunc('second', ${UTC})`,
  'timestamp with time zone': `date_trunc('second', now())`,
  text: `to_char(${UTC}, 'YYYY-MM-DD HH24:MI:SS')`,
};
const DAY = { date: `(${UTC})::date`, text: `to_char(${UTC}, 'YYYY-MM-DD')` };
const CLOCK = {
  'time without time zone': `date_trunc('second', ${UTC})::time`,
  text: `to_char(${UTC}, 'HH24:MI:SS')`,
};
const EPOCH = { bigint: 'extract(epoch FROM now())::bigint' };
const MILLIS = {
  'timestamp without time zone': `date_trunc('milliseconds', ${UTC})`,
  text: `to_char(${UTC}, 'YYYY-MM-DD HH24:MI:SS.MS')`,
};
const CLOCKS: Record<string, Record<string, string>> = {
  CURRENT_TIMESTAMP: MOMENT,
  "DATETIME('NOW')": MOMENT,
  CURRENT_DATE: DAY,
  "DATE('NOW')": DAY,
  CURRENT_TIME: CLOCK,
  "TIME('NOW')": CLOCK,
  'UNIXEPOCH()': EPOCH,
  "UNIXEPOCH('NOW')": EPOCH,
};

/** Expressions whose letters' case counts. */
const EXACT: Record<string, Record<string, string>> = {
  "strftime('%Y-%m-%d %H:%M:%S','now')": MOMENT,
  "strftime('%Y-%m-%d %H:%M:%f','now')": MILLIS,
  "strftime('%Y-%m-%d','now')": DAY,
  "CAST(strftime('%s','now') AS INTEGER)": EPOCH,
};

/** The default as PostgreSQL takes it, null for none, undefined where it cannot be carried. */
export function defaultFor(sql: string | null, declared: string, rule: Rule): string | null | undefined {
  const plain = stripped(sql);
  if (plain === null || /^NULL$/i.test(plain)) return null;
  const clock = EXACT[plain.replace(/\s*,\s*/g, ',')] ?? CLOCKS[plain.toUpperCase()];
  if (clock !== undefined) return Object.hasOwn(clock, rule.type) ? clock[rule.type] : undefined;
  const text = /^"((?:[^"]|"")*)"$/.exec(plain)?.[1];
  const written = text === undefined ? plain : `'${text.replaceAll('""', '"').replaceAll("'", "''")}'`;
  if (!LITERAL.test(written)) return undefined;
  const cell = storedAs(written, declared);
  if (cell === null) return null;
  const field = carrierOf(rule.encoding).encode(cell);
  if (field === undefined) return undefined;
  // Text and bytes are written from the cell: their fields carry COPY's escapes.
  if (typeof cell === 'string' && rule.type === 'text') return `${literal(cell)}::text`;
  if (rule.type === 'bytea') return `'${field.slice(1)}'::bytea`;
  return field.includes('\\') ? undefined : `'${field.replaceAll("'", "''")}'::${rule.type}`;
}

/** Without the brackets around it. */
function stripped(sql: string | null): string | null {
  let text = sql?.trim() ?? null;
  while (text !== null && /^\([^()]*(?:\([^()]*\)[^()]*)*\)$/.test(text)) text = text.slice(1, -1).trim();
  return text;
}

/** The cell that SQLite itself makes of a literal in a column of this type. */
function storedAs(sql: string, declared: string): Cell {
  using db = new DatabaseSync(':memory:');
  // In quotes, since any word can be a type there.
  const type = declared === '' ? '' : quote(declared);
  db.exec(`CREATE TABLE one (cell ${type} DEFAULT ${sql}); INSERT INTO one DEFAULT VALUES`);
  const statement = db.prepare('SELECT cell FROM one');
  statement.setReadBigInts(true);
  return statement.get()?.['cell'] ?? null;
}

/** A text as an SQL literal, whatever `standard_conforming_strings` says. */
export function literal(text: string): string {
  const quoted = `'${text.replaceAll("'", "''").replaceAll('\\', '\\\\')}'`;
  return text.includes('\\') ? `E${quoted}` : quoted;
}
