/**
 * Which PostgreSQL type a column gets, by its declared type and, where that says nothing, by what its cells are; and what
 * a line of `mapping` makes of it.
 *
 *   declared                                                  type               cells
 *   INTEGER INT BIGINT SMALLINT TINYINT MEDIUMINT INT2 INT8   bigint             integers
 *   REAL DOUBLE [PRECISION] FLOAT                             double precision   reals, infinities too
 *   NUMERIC DECIMAL                                           numeric            integers; reals as their shortest decimal
 *   BOOLEAN BOOL                                              boolean            0, 1, 't', 'f', 'true', 'false'
 *   DATE                                                      date               YYYY-MM-DD
 *   TIME                                                      time               HH:MM:SS[.ffffff]
 *   DATETIME TIMESTAMP                                        timestamp          YYYY-MM-DD HH:MM:SS[.ffffff], blank or T between
 *     … where the first cell carries an offset                timestamptz        the same with Z or ±HH:MM, all of them
 *   TEXT CHAR CHARACTER VARCHAR NCHAR NVARCHAR CLOB           text               text without NUL, valid UTF-8
 *   BLOB                                                      bytea              blobs, and text as its bytes
 *   anything else, and nothing                                by the cells       all of one class, or refused
 *
 * A date and time is carried as the moment that it names, to the microsecond; whether a T or a blank stood in it, and
 * zeros at the end of its fraction, are not kept.
 */
import type { MappingWord } from '../../../procedures/mapping-words.ts';
import type { Encoding } from './encoding.ts';
import type { MomentForm } from './moments.ts';

export type Rule = { type: string; encoding: Encoding };

const INTEGER: Rule = { type: 'bigint', encoding: { as: 'integer', bits: 64 } };
const REAL: Rule = { type: 'double precision', encoding: { as: 'real' } };
const NUMERIC: Rule = { type: 'numeric', encoding: { as: 'numeric' } };
const BOOLEAN: Rule = { type: 'boolean', encoding: { as: 'boolean' } };
const DATE: Rule = { type: 'date', encoding: { as: 'date' } };
const TIME: Rule = { type: 'time without time zone', encoding: { as: 'time' } };
const TEXT: Rule = { type: 'text', encoding: { as: 'text' } };
const BYTES: Rule = { type: 'bytea', encoding: { as: 'bytes' } };
/** Text in a BLOB column is kept as the bytes that it is: nothing is taken for base64. */
const BLOB: Rule = { type: 'bytea', encoding: { as: 'bytes', texts: true } };

/** Moments without an offset, or with one. */
export function momentRule(hasOffset: boolean, form: MomentForm = 'iso'): Rule {
  return hasOffset
    ? { type: 'timestamp with time zone', encoding: { as: 'timestamptz', form } }
    : { type: 'timestamp without time zone', encoding: { as: 'timestamp', form } };
}

const DECLARED: Record<string, Rule | 'moment'> = {
  INTEGER,
  INT: INTEGER,
  BIGINT: INTEGER,
  SMALLINT: INTEGER,
  TINYINT: INTEGER,
  MEDIUMINT: INTEGER,
  INT2: INTEGER,
  INT8: INTEGER,
  REAL,
  DOUBLE: REAL,
  'DOUBLE PRECISION': REAL,
  FLOAT: REAL,
  NUMERIC,
  DECIMAL: NUMERIC,
  BOOLEAN,
  BOOL: BOOLEAN,
  DATE,
  TIME,
  DATETIME: 'moment',
  TIMESTAMP: 'moment',
  TEXT,
  CHAR: TEXT,
  CHARACTER: TEXT,
  VARCHAR: TEXT,
  NCHAR: TEXT,
  NVARCHAR: TEXT,
  CLOB: TEXT,
  BLOB,
};

/** The rule of a declared type (upper case, without `(…)`); undefined where the cells must tell. */
export function declaredRule(declared: string): Rule | 'moment' | undefined {
  return Object.hasOwn(DECLARED, declared) ? DECLARED[declared] : undefined;
}

/** A class of cells as SQLite's `typeof` names it. */
export type StorageClass = 'integer' | 'real' | 'text' | 'blob';

/** The rule for a column whose declared type says nothing, by the classes of its cells. Undefined where they differ. */
export function observedRule(classes: readonly StorageClass[], declared: string): Rule | undefined {
  const [only, ...others] = classes;
  if (others.length === 0) {
    if (only === 'integer') return INTEGER;
    if (only === 'real') return REAL;
    if (only === 'blob') return BYTES;
    return only === 'text' ? TEXT : byAffinity(declared);
  }
  const numbers = classes.every((one) => one === 'integer' || one === 'real');
  return numbers && !/BLOB|^$/.test(declared) ? NUMERIC : undefined;
}

/** What SQLite itself would make of cells of such a column. */
function byAffinity(declared: string): Rule {
  if (declared.includes('INT')) return INTEGER;
  if (/CHAR|CLOB|TEXT/.test(declared)) return TEXT;
  if (declared.includes('BLOB')) return BYTES;
  if (/REAL|FLOA|DOUB/.test(declared)) return REAL;
  return declared === '' ? TEXT : NUMERIC;
}

const WORDS: Record<Exclude<MappingWord, 'quarantine'>, Rule> = {
  text: { type: 'text', encoding: { as: 'text', any: true } },
  bytea: { type: 'bytea', encoding: { as: 'bytes', any: true } },
  bigint: INTEGER,
  integer: { type: 'integer', encoding: { as: 'integer', bits: 32 } },
  smallint: { type: 'smallint', encoding: { as: 'integer', bits: 16 } },
  numeric: NUMERIC,
  'double precision': REAL,
  boolean: BOOLEAN,
  date: DATE,
  time: TIME,
  timestamp: momentRule(false),
  timestamptz: momentRule(true),
  'epoch-seconds': momentRule(true, 'epoch-seconds'),
  'epoch-milliseconds': momentRule(true, 'epoch-milliseconds'),
  'julian-day': momentRule(true, 'julian-day'),
  uuid: { type: 'uuid', encoding: { as: 'uuid' } },
  json: { type: 'json', encoding: { as: 'json' } },
  jsonb: { type: 'jsonb', encoding: { as: 'jsonb' } },
};

/** The rule that a word of `mapping` asks for; undefined for `quarantine`, which keeps the column's own. */
export function wordRule(word: MappingWord): Rule | undefined {
  return word === 'quarantine' ? undefined : WORDS[word];
}

/** The rule where the step says what holds for moments that name no offset. */
export function zonedRule(rule: Rule, zone: string | undefined): Rule {
  const { encoding } = rule;
  if (zone === undefined || encoding.as !== 'timestamptz' || encoding.form !== 'iso') return rule;
  return { ...rule, encoding: { ...encoding, zone } };
}
