/** Cells of every type, made up by chance, through a real PostgreSQL and back. */
import { DatabaseSync } from 'node:sqlite';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { formatKey, parseKey } from '../../activities/lib/copy-rows.ts';
import type { Cell } from '../../activities/lib/sqlite.ts';
import { makeImportWorld } from '../support/import-world.ts';
import type { ImportWorld } from '../support/import-world.ts';

const seed = Number(process.env['COUNTDOWN_TEST_SEED'] ?? 20_261_122);
const pad = (value: number, width: number): string => String(value).padStart(width, '0');

const day = fc
  .date({ min: new Date('0001-01-02T00:00:00Z'), max: new Date('9999-12-30T00:00:00Z'), noInvalidDate: true })
  .map((date) => date.toISOString().slice(0, 10));
const clock = fc
  .tuple(fc.nat(23), fc.nat(59), fc.nat(59), fc.option(fc.stringMatching(/^\d{1,6}$/)))
  .map(
    ([h, m, s, fraction]) =>
      `${pad(h, 2)}:${pad(m, 2)}:${pad(s, 2)}${fraction === null ? '' : `.${fraction}`}`,
  );
const offset = fc.oneof(
  fc.constant('Z'),
  fc
    .tuple(fc.constantFrom('+', '-'), fc.nat(15), fc.nat(59), fc.constantFrom(':', ''))
    .map(([sign, h, m, colon]) => sign + pad(h, 2) + colon + pad(m, 2)),
);
const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 40 }).map((found) => found.replaceAll('\0', '')),
  fc.constantFrom('', '\\N', '\\.', '\\', '\t\n\r\b\f\v', '\u0001\u001f\u007f', 'NULL', '♪😀', ' x ', '"\''),
);
const bigint = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });

const columns: { declared: string; cell: fc.Arbitrary<Cell> }[] = [
  { declared: 'BIGINT', cell: bigint },
  { declared: 'REAL', cell: fc.double({ noNaN: true }) },
  {
    declared: 'NUMERIC(10,2)',
    cell: fc.oneof(
      bigint,
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      fc.integer({ min: -10_000_000, max: 10_000_000 }).map((cents) => cents / 100),
    ),
  },
  { declared: 'BOOLEAN', cell: fc.constantFrom(0n, 1n) },
  { declared: 'DATE', cell: day },
  {
    declared: 'DATETIME',
    cell: fc.tuple(day, fc.constantFrom(' ', 'T'), clock).map((parts) => parts.join('')),
  },
  {
    declared: 'TIMESTAMP',
    cell: fc.tuple(day, fc.constantFrom(' ', 'T'), clock, offset).map((parts) => parts.join('')),
  },
  { declared: 'TEXT', cell: text },
  { declared: 'BLOB', cell: fc.uint8Array({ maxLength: 40 }) },
];
const row = fc.tuple(...columns.map(({ cell }) => fc.option(cell, { freq: 8 })));

function compare(a: unknown, b: unknown): number {
  const [one, other] = [JSON.stringify(a), JSON.stringify(b)];
  return one < other ? -1 : one > other ? 1 : 0;
}

function fill(world: ImportWorld, rows: Cell[][], names: string[]): void {
  using db = new DatabaseSync(world.path);
  db.exec('BEGIN');
  const insert = db.prepare(
    `INSERT INTO t (${names.join(', ')}) VALUES (${names.map(() => '?').join(', ')})`,
  );
  for (const cells of rows) insert.run(...cells);
  db.exec('COMMIT');
}

const DEEP = process.env['COUNTDOWN_TEST_DEEP'] !== undefined;

test.each([
  ['in the order of their key', 'id INTEGER PRIMARY KEY,'],
  ['as a bag', ''],
])(
  'random cells of every type arrive exactly and are compared %s',
  async (_, key) => {
    await fc.assert(
      fc.asyncProperty(fc.array(row, { minLength: 1, maxLength: 60 }), async (rows) => {
        const names = columns.map((_column, place) => `c${place}`);
        const sql = `CREATE TABLE t (${key} ${columns.map(({ declared }, place) => `c${place} ${declared}`).join(', ')})`;
        await using world = await makeImportWorld({ sql }, { chunkRows: 7 });
        fill(world, rows, names);
        for (const phase of ['inspect', 'hold-writes', 'copy'] as const) {
          expect(await world.run(phase)).toMatchObject({ verdict: 'pass' });
        }
        const verified = await world.run('verify');
        expect(verified.summary).toContain('all equal');
        // Our own second look, by PostgreSQL's arithmetic and not by the texts that were compared.
        const doubles = rows.map((cells) => cells[1]).filter((cell) => typeof cell === 'number');
        const found = await world.ask('select c1::text as c1 from t where c1 is not null');
        expect(found.map(({ c1 }) => Number(c1)).toSorted(compare)).toEqual(
          doubles.map((cell) => cell + 0).toSorted(compare),
        );
        const blobs = rows.flatMap((cells) =>
          cells[8] instanceof Uint8Array ? [Buffer.from(cells[8]).toString('hex')] : [],
        );
        const stored = await world.ask(`select encode(c8, 'hex') as c8 from t where c8 is not null`);
        expect(stored.map(({ c8 }) => c8).toSorted(compare)).toEqual(blobs.toSorted(compare));
        const texts = await world.ask('select c7 from t where c7 is not null');
        expect(texts.map(({ c7 }) => c7).toSorted(compare)).toEqual(
          rows
            .map((cells) => cells[7])
            .filter((cell) => typeof cell === 'string')
            .toSorted(compare),
        );
      }),
      { numRuns: DEEP ? 300 : 12, seed },
    );
  },
  DEEP ? 900_000 : 120_000,
);

test('keys of any kind of value page through a table and are compared in one order', async () => {
  const keys = {
    BIGINT: bigint,
    TEXT: text,
    BLOB: fc.uint8Array({ maxLength: 12 }),
    REAL: fc.double({ noNaN: true }),
    DATE: day,
  };
  for (const [declared, cell] of Object.entries(keys)) {
    for (const ending of ['', ' WITHOUT ROWID']) {
      const sql = `CREATE TABLE t (k ${declared} NOT NULL, part TEXT NOT NULL, v INT, PRIMARY KEY (part, k))${ending}`;
      await using world = await makeImportWorld({ sql }, { chunkRows: 3 });
      const sampled: Cell[] = fc.sample<Cell>(cell, { numRuns: 40, seed });
      const unique = [...new Map(sampled.map((key) => [formatKey([key === 0 ? 0 : key]), key])).values()];
      fill(
        world,
        unique.map((key, place) => [key, place % 2 === 0 ? 'a' : 'Ä', BigInt(place)]),
        ['k', 'part', 'v'],
      );
      for (const phase of ['inspect', 'hold-writes', 'copy'] as const) await world.run(phase);
      expect(await world.run('verify')).toMatchObject({
        verdict: 'pass',
        output: { cellsCompared: unique.length * 3 },
      });
    }
  }
}, 60_000);

test('the name of a checkpoint gives the same key back', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          bigint,
          fc.double({ noNaN: true }).filter((value) => !Object.is(value, -0)),
          text,
          fc.uint8Array(),
        ),
      ),
      (key) => {
        expect(parseKey(formatKey(key))).toEqual(key);
      },
    ),
    { seed },
  );
});
