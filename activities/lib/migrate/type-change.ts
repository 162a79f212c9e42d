/** Changes of the type of a column: which write no row, and after which every value can be had back. */
import type { ColumnDef } from 'libpg-query';
import { nameOf } from './classify.ts';

/** Types whose every value has its own in those behind them. */
const WIDER: Readonly<Record<string, readonly string[]>> = {
  smallint: ['integer', 'bigint', 'numeric'],
  integer: ['bigint', 'numeric'],
  bigint: ['numeric'],
  real: ['double precision'],
};
const TEXTS = ['text', 'character varying'];
const AS_TEXT = [
  'smallint',
  'integer',
  'bigint',
  'numeric',
  'boolean',
  'uuid',
  'date',
  'character varying',
  'text',
  'json',
  'jsonb',
];

/** Whether what was there can be had back from what it became. */
export function keepsValues(before: string, after: string): boolean {
  const { name } = partsOf(before);
  return (WIDER[name] ?? []).includes(after) || (AS_TEXT.includes(name) && TEXTS.includes(after));
}

/** Without USING, or with a cast of the column itself to its new type. */
export function isPlainCast(column: ColumnDef | undefined, name: string): boolean {
  const using = column?.raw_default;
  if (using === undefined) return true;
  if (!('TypeCast' in using) || column === undefined) return false;
  const { arg, typeName } = using.TypeCast;
  const isColumn = arg !== undefined && 'ColumnRef' in arg && nameOf(arg.ColumnRef.fields?.at(-1)) === name;
  return isColumn && typeName !== undefined && typeText({ typeName }) === typeText(column);
}

const LONG: Readonly<Record<string, string>> = {
  varchar: 'character varying',
  bpchar: 'character',
  bool: 'boolean',
  int2: 'smallint',
  int4: 'integer',
  int8: 'bigint',
  float4: 'real',
  float8: 'double precision',
  timestamp: 'timestamp without time zone',
  timestamptz: 'timestamp with time zone',
};

/** As format_type would write it, for the types that may be widened. */
export function typeText({ typeName }: ColumnDef): string {
  const name = nameOf(typeName === undefined ? undefined : { TypeName: typeName }).replace(
    /^pg_catalog\./,
    '',
  );
  const mods = (typeName?.typmods ?? []).flatMap((one) =>
    'A_Const' in one && one.A_Const.ival !== undefined ? [one.A_Const.ival.ival ?? 0] : [],
  );
  const long = LONG[name] ?? name;
  return mods.length === 0 ? long : `${long}(${mods.join(',')})`;
}

export function isWidening(before: string, after: string): boolean {
  if (before === after) return true;
  const from = partsOf(before);
  const to = partsOf(after);
  if (from.name === 'character varying') {
    if (to.name === 'text' || (to.name === from.name && to.mods.length === 0)) return true;
    return to.name === from.name && from.mods.length === 1 && (to.mods[0] ?? 0) >= (from.mods[0] ?? 0);
  }
  if (from.name === 'numeric' && to.name === 'numeric') {
    if (to.mods.length === 0) return true;
    return (
      from.mods.length === 2 && from.mods[1] === (to.mods[1] ?? 0) && (to.mods[0] ?? 0) >= (from.mods[0] ?? 0)
    );
  }
  return false;
}

function partsOf(type: string): { name: string; mods: number[] } {
  const [, name = type, mods] = /^([^(]+)\(([\d,\s]+)\)$/.exec(type) ?? [];
  return { name, mods: mods === undefined ? [] : mods.split(',').map(Number) };
}
