/** What both stores can do, and the forms that a value takes on its way in and out. */
import type { ColumnType, Row, TableName, Value } from './tables.ts';

export type Store = {
  get(table: TableName, id: number): Promise<Row | undefined>;
  /** Rows after `after` by id, at most `limit`. */
  list(table: TableName, page: { after: number; limit: number }): Promise<Row[]>;
  /** Throws Conflict. */
  insert(table: TableName, values: Record<string, Value>): Promise<Row>;
  /** Undefined where there is no such row. Throws Conflict. */
  update(table: TableName, id: number, values: Record<string, Value>): Promise<Row | undefined>;
  /** False where there is no such row. Throws Conflict. */
  remove(table: TableName, id: number): Promise<boolean>;
  /** Throws where the store cannot be read. */
  ready(): Promise<void>;
  close(): Promise<void>;
};

/** The row breaks a rule of the schema: a value that must be unique, or a row that is pointed to or is not there. */
export class Conflict extends Error {
  override name = 'Conflict';
}

/** A cell as a driver gives it. */
export type Raw = null | undefined | number | bigint | string | Uint8Array;

/** What a driver gave, as it goes out. PostgreSQL's driver is asked for text alone; SQLite has no booleans or dates. */
export function toValue(type: ColumnType, raw: Raw): Value {
  if (raw === null || raw === undefined) return null;
  switch (type) {
    case 'integer':
    case 'real':
      return Number(raw);
    case 'boolean':
      return raw === 1 || raw === 't';
    case 'decimal':
      return Number(raw).toFixed(2);
    case 'datetime':
      return `${asText(raw).replace(' ', 'T').slice(0, 19)}Z`;
    case 'blob':
      if (!(raw instanceof Uint8Array)) throw new TypeError(`A blob came as ${typeof raw}, expected bytes.`);
      return Buffer.from(raw).toString('base64');
    case 'date':
    case 'text':
      return asText(raw);
  }
}

function asText(raw: Raw): string {
  if (typeof raw !== 'string') throw new TypeError(`Text came as ${typeof raw}, expected a string.`);
  return raw;
}

/** `2026-11-22T01:05:00Z` as both stores keep it: UTC, without a zone. */
export function toStoredTime(value: Value): string {
  return String(value).replace('T', ' ').replace('Z', '');
}
