/**
 * Copy and comparison write values for PostgreSQL with the same code, so a value that it wrote wrongly would compare as
 * equal. Here it is held to others: a calendar that only counts, BigInt, and PostgreSQL's own reading of the text.
 */
import * as fc from 'fast-check';
import pg from 'pg';
import { expect, test } from 'vitest';
import { clockAt, dayAt, momentOf } from '../../activities/lib/import/wire-moments.ts';
import { WireRows } from '../../activities/lib/import/wire.ts';
import type { Encoding } from '../../activities/lib/import/encoding.ts';
import { doubleText, plainDecimal } from '../../activities/lib/import/numbers.ts';
import type { MappedTable } from '../../activities/lib/mapping.ts';
import type { Cell } from '../../activities/lib/sqlite.ts';
import { makeDatabase } from '../support/postgres.ts';

const seed = Number(process.env['COUNTDOWN_TEST_SEED'] ?? 1);
const RUNS = process.env['COUNTDOWN_TEST_DEEP'] === '1' ? 50_000 : 2_000;
const DAY_MICROSECONDS = 86_400_000_000n;

const two = (value: number): string => String(value).padStart(2, '0');

test('every day of the years 1 to 9999 is the next one, and no other text is a day', () => {
  const lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
  // PostgreSQL: '0001-01-01'::date - '2000-01-01'::date.
  let expected = -730_119;
  for (let year = 1; year <= 9999; year += 1) {
    const isLeap = isLeapYear(year);
    for (const [index, length] of lengths.entries()) {
      const most = index === 1 && isLeap ? 29 : length;
      const month = `${String(year).padStart(4, '0')}-${two(index + 1)}`;
      for (let day = 1; day <= most; day += 1) {
        if (dayAt(`${month}-${two(day)}`) !== expected)
          expect([month, day, dayAt(`${month}-${two(day)}`)]).toBe(expected);
        expected += 1;
      }
      if (dayAt(`${month}-${two(most + 1)}`) !== undefined)
        expect(`${month}-${two(most + 1)}`).toBe('no day');
    }
  }
  // PostgreSQL: '9999-12-31'::date - '2000-01-01'::date.
  expect(expected - 1).toBe(2_921_939);
  for (const text of ['0000-01-01', '2024-00-01', '2024-13-01', '2024-01-00', '2024-1-01', '20240101', ''])
    expect(dayAt(text), text).toBeUndefined();
});

/** As the platform's own calendar has it. */
function isLeapYear(year: number): boolean {
  const date = new Date(0);
  date.setUTCFullYear(year, 1, 29);
  return date.getUTCMonth() === 1;
}

test('every second of a day is the next one', () => {
  let expected = 0;
  for (let hour = 0; hour < 24; hour += 1)
    for (let minute = 0; minute < 60; minute += 1)
      for (let second = 0; second < 60; second += 1) {
        const found = clockAt(`${two(hour)}:${two(minute)}:${two(second)}`, 0);
        if (found !== expected * 1_000_000) expect(found).toBe(expected * 1_000_000);
        expected += 1;
      }
  expect(clockAt('23:59:59.999999', 0)).toBe(86_399_999_999);
  expect(clockAt('00:00:00.5', 0)).toBe(500_000);
  expect(clockAt('00:00:00.000001', 0)).toBe(1);
  for (const text of [
    '24:00:00',
    '00:60:00',
    '00:00:60',
    '00:00:00.',
    '00:00:00.1234567',
    '0:00:00',
    '00:00',
  ])
    expect(clockAt(text, 0), text).toBeUndefined();
});

test('a moment counts in microseconds as BigInt does', () => {
  const rows = new WireRows(tableOf({ as: 'integer', bits: 64 }), { computed: true, framed: false });
  fc.assert(
    fc.property(
      fc.integer({ min: -730_119, max: 2_921_939 }),
      fc.integer({ min: 0, max: 86_399_999_999 }),
      (days, microseconds) => {
        rows.reuse(new ArrayBuffer(64));
        rows.moment({ days, microseconds });
        return rows.view.getBigInt64(4) === BigInt(days) * DAY_MICROSECONDS + BigInt(microseconds);
      },
    ),
    { seed, numRuns: RUNS * 10 },
  );
  expect(momentOf('2000-01-01 00:00:00')).toEqual({ days: 0, microseconds: 0 });
});

/** A table of one column, as the mapping makes it. */
function tableOf(encoding: Encoding): MappedTable {
  return {
    target: 't',
    source: {
      name: 't',
      primaryKey: null,
      uniques: [],
      indexes: [],
      columns: [],
    } as unknown as MappedTable['source'],
    columns: [
      {
        name: 'v',
        target: 'v',
        type: '',
        encoding,
        notNull: false,
        defaultSql: null,
        quarantine: false,
        computed: false,
        fixed: false,
      },
    ],
  };
}

/** Values with the text in which PostgreSQL is told them, and the function by which it sends one. */
const KINDS: [string, Encoding, string, fc.Arbitrary<[Exclude<Cell, null>, string]>][] = [
  [
    'numeric',
    { as: 'numeric' },
    'numeric_send',
    fc.oneof(
      fc
        .bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
        .map((value): [bigint, string] => [value, String(value)]),
      fc
        .double({ noNaN: true, noDefaultInfinity: true })
        .filter((value) => !Object.is(value, -0))
        .map((value): [number, string] => [value, plainDecimal(String(value))]),
      fc
        .tuple(fc.integer({ min: -1_000_000, max: 1_000_000 }), fc.integer({ min: 0, max: 9 }))
        .map(([whole, places]): [number, string] => {
          const value = whole / 10 ** places;
          return [value === 0 ? 0 : value, plainDecimal(String(value === 0 ? 0 : value))];
        }),
    ),
  ],
  [
    'double precision',
    { as: 'real' },
    'float8send',
    fc.double({ noNaN: true }).map((value): [number, string] => [value, doubleText(value)]),
  ],
  [
    'timestamp',
    { as: 'timestamp', form: 'iso' },
    'timestamp_send',
    fc
      .tuple(
        fc.date({
          min: new Date('0001-01-01T00:00:00Z'),
          max: new Date('9999-12-31T23:59:59Z'),
          noInvalidDate: true,
        }),
        fc.constantFrom('', '.5', '.000001', '.999999', '.120000'),
        fc.constantFrom(' ', 'T'),
      )
      .map(([date, fraction, between]): [string, string] => {
        const text = `${date.toISOString().slice(0, 10)}${between}${date.toISOString().slice(11, 19)}${fraction}`;
        return [text, text];
      }),
  ],
  [
    'text',
    { as: 'text' },
    'textsend',
    fc
      .string({ unit: 'grapheme', maxLength: 60 })
      .filter((text) => !text.includes('\0') && !text.includes('\uFFFD'))
      .map((text): [string, string] => [text, text]),
  ],
];

test.each(KINDS)('%s is what PostgreSQL sends for the same text', async (type, encoding, send, values) => {
  await using database = await makeDatabase();
  const client = new pg.Client({ connectionString: database.url });
  await client.connect();
  try {
    const samples = fc.sample(values, { seed, numRuns: RUNS });
    const rows = new WireRows(tableOf(encoding), { computed: true, framed: false });
    const mine = samples.map(([cell]) => {
      rows.reuse(new ArrayBuffer(4_096));
      expect(rows.add([cell], 0)).toBe(true);
      // Behind the number of fields and the length of this one.
      return Buffer.from(rows.bytes.subarray(6, rows.length)).toString('hex');
    });
    const found = await client.query<{ hex: string }>(
      `SELECT encode(${send}(v::${type}), 'hex') AS hex FROM unnest($1::text[]) WITH ORDINALITY AS given (v, place) ORDER BY place`,
      [samples.map(([, text]) => text)],
    );
    expect(mine.map((hex, place) => [samples[place]?.[1], hex])).toEqual(
      found.rows.map(({ hex }, place) => [samples[place]?.[1], hex]),
    );
  } finally {
    await client.end();
  }
});
