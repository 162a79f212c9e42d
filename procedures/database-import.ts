/**
 * database.import: moves a live application from SQLite to PostgreSQL, every cell compared, with writes held meanwhile.
 *
 *   inspect      schema, mapping, emptiness of the target, value of the switch; the approval binds to them
 *   backup       a copy of the source in the run's own folder
 *   hold-writes  the switch to `source held`; the source's data is digested              undo: back to `source`
 *   copy         tables and rows in chunks with their checkpoint, then keys and indexes  undo: drop what it created
 *   verify       every cell of both sides
 *   switch       the switch to `target held`: reads come from PostgreSQL, nobody writes  undo: back to `source held`
 *
 * Writes are let in by an `app.switch` of its own, below a point of no return.
 */
import { z } from 'zod';
import { HOUR_MS, MINUTE_MS, SECOND_MS } from './limits.ts';
import type { Json } from './plan.ts';
import { type DraftPhase, type PlanInput, type Procedure, callOf, targetOf } from './procedure.ts';
import { exact, later, nameSchema } from './schema.ts';
import { setByHand } from './set-by-hand.ts';

const params = exact({
  source: nameSchema.describe('Target of kind sqlite.'),
  target: nameSchema.describe('Target of kind postgres; it has no tables.'),
  switch: nameSchema.describe(
    'Target of kind switch with four values, by position: source, source held, target held, target.',
  ),
  chunkRows: z.int().min(1).max(100_000).default(5_000).describe('Rows that are copied in one transaction.'),
  reverseCapture: z.boolean().default(false).describe('Only false is supported.'),
  mapping: later(
    'mapping comes with a later version: types are mapped by the rules of the documentation.',
    'take it away',
  ),
});

const output = z.object({
  // inspect
  tables: z.int(),
  rows: z.int(),
  cells: z.int(),
  startValue: z.string(),
  mappingDigest: z.string(),
  // backup
  path: z.string(),
  sha256: z.string(),
  sizeBytes: z.int(),
  // hold-writes
  heldAt: z.string(),
  sourceDigest: z.string(),
  // copy
  rowsCopied: z.int(),
  tablesCreated: z.int(),
  // verify
  cellsCompared: z.int(),
  cellsInSource: z.int(),
  // switch
  value: z.string(),
});

const KIND = 'database.import';

export const databaseImport: Procedure<typeof params> = {
  kind: KIND,
  summary: 'moves a live application from SQLite to PostgreSQL and compares every cell',
  params,
  output,
  plan(input) {
    if (input.params.reverseCapture) {
      const message = 'reverseCapture comes with a later version, expected false.';
      const hint = 'take it away, and let writes in below a point of no return';
      input.refuse({ field: ['reverseCapture'], code: 'NotSupported', message, hint });
    }
    const values = checkTargets(input);
    if (values === undefined) return [];
    const { source, target, switch: name, chunkRows } = input.params;
    const call: Json = { step: input.step, source, target, switch: name, chunkRows };
    const run = (phase: string) => callOf(KIND, phase, 'run', call);
    const both = (phase: string) => ({
      undo: callOf(KIND, phase, 'undo', call),
      probe: callOf(KIND, phase, 'probe', call),
    });
    const phases: DraftPhase[] = [
      {
        name: 'inspect',
        title: `Look at ${source}, ${target} and ${name}`,
        effect: 'none',
        targets: [source, target, name],
        run: run('inspect'),
        expected: { runMs: 10 * SECOND_MS, undoMs: 0 },
        limits: { timeoutMs: 30 * MINUTE_MS, attempts: 3 },
      },
      {
        name: 'backup',
        title: `Back up ${source}`,
        effect: 'none',
        targets: [source],
        run: run('backup'),
        expected: { runMs: 10 * SECOND_MS, undoMs: 0 },
        limits: { timeoutMs: HOUR_MS, attempts: 3 },
      },
      {
        name: 'hold-writes',
        title: `Hold writes: set ${name} to ${values[1]}`,
        effect: 'reversible',
        targets: [name, source],
        run: run('hold-writes'),
        ...both('hold-writes'),
        undoTitle: `Take writes on ${source} again: set ${name} to ${values[0]}`,
        byHand: setByHand(name, { from: values[1], to: values[0] }),
        expected: { runMs: 5 * SECOND_MS, undoMs: 5 * SECOND_MS },
        limits: { timeoutMs: 30 * MINUTE_MS },
      },
      {
        name: 'copy',
        title: `Copy ${source} to ${target}`,
        effect: 'reversible',
        targets: [target, source],
        run: run('copy'),
        ...both('copy'),
        undoTitle: `Drop the tables that it created in ${target}`,
        byHand: {
          how:
            `Only where ${name} says neither ${values[2]} nor ${values[3]}: in the database of ${target}, drop every table of schema ` +
            `public with its sequences and types; there was none when the run began. Leave schema countdown as it is.`,
          seen: `when psql lists no relation in schema public of ${target}, and the tables of ${source} are as they were.`,
        },
        expected: { runMs: MINUTE_MS, undoMs: 10 * SECOND_MS },
        limits: { timeoutMs: 2 * HOUR_MS, attempts: 3, resumable: true },
      },
      {
        name: 'verify',
        title: `Compare every cell of ${source} and ${target}`,
        effect: 'none',
        targets: [source, target],
        guards: true,
        run: run('verify'),
        expected: { runMs: MINUTE_MS, undoMs: 0 },
        limits: { timeoutMs: 2 * HOUR_MS, attempts: 3 },
      },
      {
        name: 'switch',
        title: `Read from ${target}: set ${name} to ${values[2]}`,
        effect: 'reversible',
        targets: [name],
        run: run('switch'),
        ...both('switch'),
        undoTitle: `Read from ${source} again: set ${name} to ${values[1]}`,
        byHand: setByHand(name, { from: values[2], to: values[1] }),
        expected: { runMs: SECOND_MS, undoMs: SECOND_MS },
        limits: { timeoutMs: 2 * MINUTE_MS },
      },
    ];
    return phases;
  },
};

/** Source, source held, target held, target. */
type FourValues = [string, string, string, string];

/** The switch's values, where all three targets are of the right kind. */
function checkTargets(input: PlanInput<z.output<typeof params>>): FourValues | undefined {
  const { source, target, switch: name } = input.params;
  const sqlite = targetOf(input, ['source'], source, 'sqlite');
  const postgres = targetOf(input, ['target'], target, 'postgres');
  const found = targetOf(input, ['switch'], name, 'switch');
  if (sqlite === undefined || postgres === undefined || found === undefined) return undefined;
  const [before, held, heldAfter, after] = found.values;
  if (
    found.values.length === 4 &&
    before !== undefined &&
    held !== undefined &&
    heldAfter !== undefined &&
    after !== undefined
  ) {
    return [before, held, heldAfter, after];
  }
  input.refuse({
    field: ['switch'],
    message: `Switch '${name}' has ${found.values.length} values, expected four: source, source held, target held, target.`,
    hint: 'give the switch four values in the environment file, in this order',
  });
  return undefined;
}
