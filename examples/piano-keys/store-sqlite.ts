import { DatabaseSync } from 'node:sqlite';
import type { SQLInputValue } from 'node:sqlite';
import { Conflict, toStoredTime, toValue } from './store.ts';
import type { Raw, Store } from './store.ts';
import { SQLITE_SCHEMA, columnsOf } from './tables.ts';
import type { ColumnType, Row, TableName, Value } from './tables.ts';

const CONSTRAINT = 19;

/** Opens the file, and makes it and its tables where they are missing. */
export function openSqlite(file: string): Store {
  const database = new DatabaseSync(file, { enableForeignKeyConstraints: true, timeout: 5_000 });
  // Readers beside the application must not stop its writes, and what was acknowledged survives a power cut.
  database.exec('pragma journal_mode = wal; pragma synchronous = full;');
  database.exec(SQLITE_SCHEMA);
  const store: Store = {
    async get(table, id) {
      const raw = database.prepare(`select * from ${table} where id = ?`).get(id);
      return raw === undefined ? undefined : toRow(table, raw);
    },
    async list(table, { after, limit }) {
      const rows = database
        .prepare(`select * from ${table} where id > ? order by id limit ?`)
        .all(after, limit);
      return rows.map((raw) => toRow(table, raw));
    },
    async insert(table, values) {
      const { names, cells } = parts(table, values);
      const marks = names.map(() => '?').join(', ');
      const sql = `insert into ${table} (${names.join(', ')}) values (${marks}) returning *`;
      return toRow(table, guarded(() => database.prepare(sql).get(...cells)) ?? {});
    },
    async update(table, id, values) {
      const { names, cells } = parts(table, values);
      if (names.length === 0) return store.get(table, id);
      const sql = `update ${table} set ${names.map((name) => `${name} = ?`).join(', ')} where id = ? returning *`;
      const raw = guarded(() => database.prepare(sql).get(...cells, id));
      return raw === undefined ? undefined : toRow(table, raw);
    },
    async remove(table, id) {
      return guarded(() => database.prepare(`delete from ${table} where id = ?`).run(id)).changes === 1;
    },
    async ready() {
      database.prepare('select 1 from users limit 1').get();
    },
    async close() {
      database.close();
    },
  };
  return store;
}

function toRow(table: TableName, raw: Record<string, Raw>): Row {
  const row: Row = { id: Number(raw['id']) };
  for (const [name, type] of Object.entries(columnsOf(table))) row[name] = toValue(type, raw[name]);
  return row;
}

function parts(table: TableName, values: Record<string, Value>): { names: string[]; cells: SQLInputValue[] } {
  const columns = Object.entries(columnsOf(table)).filter(([name]) => values[name] !== undefined);
  return {
    names: columns.map(([name]) => name),
    cells: columns.map(([name, type]) => toCell(type, values[name] ?? null)),
  };
}

/** As SQLite keeps it; the column's affinity turns '12.50' into a number. */
export function toCell(type: ColumnType, value: Value): SQLInputValue {
  if (value === null) return null;
  if (type === 'blob') return Buffer.from(String(value), 'base64');
  if (type === 'datetime') return toStoredTime(value);
  return typeof value === 'boolean' ? Number(value) : value;
}

function guarded<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof Error && 'errcode' in error && (Number(error.errcode) & 0xff) === CONSTRAINT) {
      throw new Conflict(error.message, { cause: error });
    }
    throw error;
  }
}
