import { DatabaseError, Pool } from 'pg';
import { Conflict, toStoredTime, toValue } from './store.ts';
import type { Raw, Store } from './store.ts';
import { columnsOf } from './tables.ts';
import type { ColumnType, Row, TableName, Value } from './tables.ts';

const BYTEA = 17;
/** Class 23 of PostgreSQL's error codes: an integrity constraint is violated. */
const CONSTRAINT = '23';

/** Connects when it is first asked. It never makes a table. */
export function openPostgres(connectionString: string): Store {
  const pool = new Pool({
    connectionString,
    max: 8,
    connectionTimeoutMillis: 5_000,
    statement_timeout: 5_000,
    options: '-c search_path=public -c timezone=UTC -c datestyle=ISO',
    types: { getTypeParser: (oid: number) => (oid === BYTEA ? toBytes : keep) },
  });
  // A connection that breaks while idle is replaced by the next query.
  pool.on('error', () => {});
  const query = async (sql: string, cells: unknown[] = []): Promise<Record<string, Raw>[]> =>
    guarded(async () => (await pool.query<Record<string, Raw>>(sql, cells)).rows);
  const store: Store = {
    async get(table, id) {
      const [raw] = await query(`select * from ${table} where id = $1`, [id]);
      return raw === undefined ? undefined : toRow(table, raw);
    },
    async list(table, { after, limit }) {
      const rows = await query(`select * from ${table} where id > $1 order by id limit $2`, [after, limit]);
      return rows.map((raw) => toRow(table, raw));
    },
    async insert(table, values) {
      const { names, cells } = parts(table, values);
      const marks = names.map((_name, index) => `$${index + 1}`).join(', ');
      const [raw] = await query(
        `insert into ${table} (${names.join(', ')}) values (${marks}) returning *`,
        cells,
      );
      return toRow(table, raw ?? {});
    },
    async update(table, id, values) {
      const { names, cells } = parts(table, values);
      if (names.length === 0) return store.get(table, id);
      const changes = names.map((name, index) => `${name} = $${index + 2}`).join(', ');
      const [raw] = await query(`update ${table} set ${changes} where id = $1 returning *`, [id, ...cells]);
      return raw === undefined ? undefined : toRow(table, raw);
    },
    async remove(table, id) {
      return (await query(`delete from ${table} where id = $1 returning id`, [id])).length === 1;
    },
    async ready() {
      await query('select 1 from users limit 1');
    },
    async close() {
      await pool.end();
    },
  };
  return store;
}

function keep(text: string): string {
  return text;
}

function toBytes(text: string): Buffer {
  return Buffer.from(text.slice(2), 'hex');
}

function toRow(table: TableName, raw: Record<string, Raw>): Row {
  const row: Row = { id: Number(raw['id']) };
  for (const [name, type] of Object.entries(columnsOf(table))) row[name] = toValue(type, raw[name]);
  return row;
}

function parts(table: TableName, values: Record<string, Value>): { names: string[]; cells: unknown[] } {
  const columns = Object.entries(columnsOf(table)).filter(([name]) => values[name] !== undefined);
  return {
    names: columns.map(([name]) => name),
    cells: columns.map(([name, type]) => toCell(type, values[name] ?? null)),
  };
}

function toCell(type: ColumnType, value: Value): unknown {
  if (value === null) return null;
  if (type === 'blob') return Buffer.from(String(value), 'base64');
  return type === 'datetime' ? toStoredTime(value) : value;
}

async function guarded<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof DatabaseError && error.code?.startsWith(CONSTRAINT) === true) {
      throw new Conflict(error.message, { cause: error });
    }
    throw error;
  }
}
