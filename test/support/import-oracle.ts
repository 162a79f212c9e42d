/**
 * A second opinion on an import, which shares no code with it: reads both sides in the simplest way and compares them cell
 * by cell.
 */
import { DatabaseSync } from 'node:sqlite';

type Ask = (sql: string) => Promise<Record<string, unknown>[]>;
type Raw = { class: string; value: null | bigint | number | Uint8Array };

export type OracleInput = {
  /** The SQLite file. */
  path: string;
  ask: Ask;
  mapping: Record<string, string>;
  skip: readonly string[];
  timezone: string | null;
};

const quote = (name: string): string => `"${name.replaceAll('"', '""')}"`;
const hex = (bytes: Uint8Array | string): string => Buffer.from(bytes).toString('hex');

/** What differs, in words; nothing where every cell of the file stands in the target or in quarantine, and nothing else does. */
export async function disagreements(input: OracleInput): Promise<string[]> {
  using db = new DatabaseSync(input.path, { readOnly: true });
  const found: string[] = [];
  const apart: string[] = [];
  const left = (what: string): boolean => input.skip.includes(what);
  const listed = db
    .prepare(`SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table'`)
    .all();
  for (const { name } of listed) {
    const table = String(name);
    if (table.startsWith('sqlite_') || left(`table ${table}`)) continue;
    const columns = db
      .prepare('SELECT name FROM pragma_table_xinfo(?)')
      .all(table)
      .map((row) => String(row['name']))
      .filter((column) => !left(`column ${table}.${column}`));
    const types = await typesOf(input.ask, table);
    const mine = readSource(db, table, columns).map((row) => {
      const cells = row.map((cell, place) => {
        const column = columns[place] ?? '';
        const word = input.mapping[`${table}.${column}`] ?? '';
        const as = expected(cell, { type: types.get(column) ?? 'no column', word, timezone: input.timezone });
        if (as === undefined && word === 'quarantine') {
          apart.push(JSON.stringify([table, column, cell.class, hex(rawBytes(cell))]));
          return 'NULL';
        }
        return as ?? `impossible: ${cell.class} in ${types.get(column)}`;
      });
      return JSON.stringify(cells);
    });
    const theirs = await readTarget(input.ask, { table, columns, types });
    const bag = new Map<string, number>();
    for (const row of mine) bag.set(row, (bag.get(row) ?? 0) + 1);
    for (const row of theirs) bag.set(row, (bag.get(row) ?? 0) - 1);
    for (const [row, by] of bag)
      if (by !== 0) found.push(`${table}: ${by > 0 ? 'only in the source' : 'only in the target'} ${row}`);
  }
  const kept = await input.ask(
    `select jsonb_build_array("table", "column", class, encode(value, 'hex')) as cell from countdown.quarantine`,
  );
  const there = kept.map(({ cell }) => JSON.stringify(cell)).toSorted();
  if (there.join('\n') !== apart.toSorted().join('\n'))
    found.push(`quarantine holds ${there.join(' ')}, expected ${apart.toSorted().join(' ')}`);
  return found;
}

async function typesOf(ask: Ask, table: string): Promise<Map<string, string>> {
  const rows = await ask(
    `select attname, format_type(atttypid, null) as type from pg_attribute
     where attrelid = (select oid from pg_class where relnamespace = 'public'::regnamespace and relname = convert_from('\\x${hex(table)}', 'UTF8'))
       and attnum > 0 and not attisdropped`,
  );
  return new Map(rows.map(({ attname, type }) => [String(attname), String(type)]));
}

function readSource(db: DatabaseSync, table: string, columns: string[]): Raw[][] {
  const list = columns.map(
    (column) =>
      `typeof(${quote(column)}), CASE typeof(${quote(column)}) WHEN 'text' THEN CAST(${quote(column)} AS BLOB) ELSE ${quote(column)} END`,
  );
  const statement = db.prepare(`SELECT ${list.join(', ')} FROM ${quote(table)}`);
  statement.setReadBigInts(true);
  statement.setReturnArrays(true);
  const rows = statement.all() as unknown as (null | bigint | number | string | Uint8Array)[][];
  return rows.map((row) =>
    columns.map((_, place) => ({ class: String(row[place * 2]), value: row[place * 2 + 1] as Raw['value'] })),
  );
}

async function readTarget(
  ask: Ask,
  { table, columns, types }: { table: string; columns: string[]; types: Map<string, string> },
): Promise<string[]> {
  const list = columns.map((column, place) => {
    const name = quote(column);
    const type = types.get(column) ?? '';
    const bytes = type === 'bytea' ? name : `convert_to(${name}::text, 'UTF8')`;
    return `${type.startsWith('timestamp') ? `convert_to((extract(epoch from ${name}) * 1000000)::bigint::text, 'UTF8')` : bytes} as c${place}`;
  });
  const rows = await ask(`select ${list.join(', ')} from public.${quote(table)}`);
  return rows.map((row) =>
    JSON.stringify(
      columns.map((column, place) => {
        const bytes = row[`c${place}`];
        if (!(bytes instanceof Uint8Array)) return 'NULL';
        const type = types.get(column) ?? '';
        if (type === 'bytea' || type === 'text') return hex(bytes);
        const text = Buffer.from(bytes).toString();
        if (type === 'double precision') return double(Number(text));
        return type === 'numeric' ? decimal(text) : type.startsWith('time without') ? trimmed(text) : text;
      }),
    ),
  );
}

function rawBytes({ value }: Raw): Uint8Array {
  return value instanceof Uint8Array ? value : Buffer.from(String(value));
}

/** What must stand in a column of this type for such a cell; undefined where nothing can. */
function expected(
  { class: kind, value }: Raw,
  { type, word, timezone }: { type: string; word: string; timezone: string | null },
): string | undefined {
  if (value === null) return 'NULL';
  const text = value instanceof Uint8Array ? Buffer.from(value).toString() : String(value);
  const isNumber = kind === 'integer' || kind === 'real';
  switch (type) {
    case 'bigint':
      return kind === 'integer' ? text : undefined;
    case 'double precision':
      return isNumber && (kind === 'real' || BigInt(Number(value)) === value)
        ? double(Number(value))
        : undefined;
    case 'numeric':
      return isNumber && Number.isFinite(Number(value)) && !Object.is(value, -0) ? decimal(text) : undefined;
    case 'boolean':
      return /^(?:integer [01]|text (?:t|f|true|false))$/.test(`${kind} ${text}`)
        ? String(/^(?:1|t)/.test(text))
        : undefined;
    case 'text':
      if (kind === 'text') return isText(value as Uint8Array) ? hex(value as Uint8Array) : undefined;
      return isNumber && word === 'text' ? hex(numberText(kind, text)) : undefined;
    case 'bytea':
      if (isNumber) return word === 'bytea' ? hex(numberText(kind, text)) : undefined;
      return hex(value as Uint8Array);
    case 'date':
      return kind === 'text' && isDay(text) ? text : undefined;
    case 'time without time zone':
      return kind === 'text' && /^(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?$/.test(text)
        ? trimmed(text)
        : undefined;
    case 'timestamp without time zone':
      return kind === 'text' ? micros(text, 'none') : undefined;
    case 'timestamp with time zone':
      if (word.startsWith('epoch') || word === 'julian-day')
        return isNumber ? numberMicros(Number(value), word) : undefined;
      return kind === 'text' ? micros(text, timezone ?? 'own') : undefined;
    default:
      return undefined;
  }
}

function isText(bytes: Uint8Array): boolean {
  return !bytes.includes(0) && Buffer.from(Buffer.from(bytes).toString()).equals(bytes);
}

function numberText(kind: string, text: string): string {
  return kind === 'real' && /^-?\d+$/.test(text) ? `${text}.0` : text;
}

function double(value: number): string {
  return Object.is(value, -0) ? '-0' : String(value);
}

/** Up to 19 digits exactly, others as the double that they name. */
function decimal(text: string): string {
  const plain = text.includes('.') && !text.includes('e') ? text.replace(/\.?0+$/, '') : text;
  return /^-?\d{1,19}$/.test(plain) ? plain : String(Number(text));
}

const trimmed = (text: string): string => (text.includes('.') ? text.replace(/\.?0+$/, '') : text);

function isDay(text: string): boolean {
  if (!/^\d{4}-\d\d-\d\d$/.test(text) || text.startsWith('0000')) return false;
  const date = new Date(`${text}T00:00:00Z`);
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(text);
}

function micros(text: string, zone: string): string | undefined {
  const match = /^(\S{10})[ T](\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?(Z|[+-]\d\d:?\d\d)?$/.exec(text);
  if (match === null || !isDay(match[1] ?? '') || (match[2] ?? '') >= '24') return undefined;
  const own = match[4];
  if (zone === 'none' ? own !== undefined : own === undefined && zone === 'own') return undefined;
  const offset = own ?? (zone === 'none' || zone === 'UTC' ? 'Z' : zone);
  const ms = Date.parse(`${match[1]}T${match[2]}${offset}`);
  return Number.isNaN(ms) ? undefined : String(BigInt(ms) * 1000n + BigInt((match[3] ?? '').padEnd(6, '0')));
}

function numberMicros(value: number, word: string): string | undefined {
  const us =
    word === 'julian-day'
      ? Math.round((value - 2_440_587.5) * 86_400_000) * 1000
      : Math.round(value * (word === 'epoch-seconds' ? 1_000_000 : 1000));
  return Number.isFinite(us) ? String(us) : undefined;
}
