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
 * Writes are let in by an `app.switch` of its own, below a point of no return; or, with reverse capture, right away:
 *
 *   release-writes  the switch to `target`; what is written is noted  undo: hold again, carry the rows back, compare all
 *
 * The point of no return ends the capture, with a phase of its own.
 */
import { z } from 'zod';
import { HOUR_MS, MINUTE_MS, SECOND_MS } from './limits.ts';
import type { Json } from './plan.ts';
import {
  type DraftPhase,
  type PlanInput,
  type Procedure,
  type StepBefore,
  callOf,
  targetOf,
} from './procedure.ts';
import { MAPPING_WORDS } from './mapping-words.ts';
import { exact, listOr, nameSchema } from './schema.ts';
import { setByHand } from './set-by-hand.ts';

const SKIP =
  /^(?:view|trigger|table|column|generated|check|collation|conflict|index|default|counter|foreign key) .*$/s;
const SKIP_FORM = 'what is left behind as inspect names it, such as view NAME or column TABLE.COLUMN';

const params = exact({
  source: nameSchema.describe('Target of kind sqlite.'),
  target: nameSchema.describe('Target of kind postgres.'),
  switch: nameSchema.describe(
    'Target of kind switch with four values, by position: source, source held, target held, target.',
  ),
  chunkRows: z.int().min(1).max(100_000).default(5_000).describe('Rows that are copied in one transaction.'),
  reverseCapture: z
    .boolean()
    .default(false)
    .describe(
      'Lets writes in right after the switch, and keeps what PostgreSQL takes for the way back, up to the point of no return.',
    ),
  schema: z
    .enum(['auto', 'create', 'existing'])
    .default('auto')
    .describe('Who makes the tables: the import (create), or whoever made those that are there (existing).'),
  mapping: z
    .record(
      z.string().regex(/^.*\..*$/s, 'a column as TABLE.COLUMN'),
      z.enum(MAPPING_WORDS, { error: listOr(MAPPING_WORDS) }),
    )
    .default({})
    .describe('What becomes of a column whose cells need a word: a type, a form of moments, or quarantine.'),
  skip: z
    .array(z.string().regex(SKIP, SKIP_FORM))
    .max(1_000, 'at most 1000 lines')
    .default([])
    .describe(
      'What is left behind, as inspect names it: view NAME, trigger NAME, table NAME, column TABLE.COLUMN, …',
    ),
  timezone: z
    .string()
    .regex(/^(?:UTC|[+-](?:0\d|1[0-5]):[0-5]\d)$/, 'UTC, or an offset such as +02:00')
    .exactOptional()
    .describe('What holds for moments that name no offset, where a column of the target wants one.'),
});

const output = z.object({
  // inspect
  tables: z.int(),
  rows: z.int(),
  cells: z.int(),
  quarantined: z.int(),
  mode: z.enum(['create', 'existing']),
  replaces: z.array(z.string()),
  skipped: z.array(z.string()),
  startValue: z.string(),
  mappingDigest: z.string(),
  // backup
  path: z.string(),
  sha256: z.string(),
  sizeBytes: z.int(),
  // hold-writes
  heldAt: z.string(),
  heldMark: z.string(),
  sourceDigest: z.string(),
  // copy
  rowsCopied: z.int(),
  tablesCreated: z.int(),
  // verify
  cellsCompared: z.int(),
  cellsInSource: z.int(),
  sourceMark: z.string(),
  // switch and release-writes
  value: z.string(),
});

const KIND = 'database.import';

export const databaseImport: Procedure<typeof params> = {
  kind: KIND,
  summary: 'moves a live application from SQLite to PostgreSQL and compares every cell',
  params,
  output,
  plan(input) {
    const values = checkTargets(input);
    if (values === undefined) return [];
    const { source, target, switch: name } = input.params;
    const { reverseCapture } = input.params;
    const call = importCall(input.step, input.params);
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
        targets: [name, source, ...(reverseCapture ? [target] : [])],
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
        undoTitle: `Take back the tables and rows that it made in ${target}`,
        byHand: {
          how:
            `Only where ${name} says neither ${values[2]} nor ${values[3]}: in the database of ${target}, drop the tables that ` +
            `countdown.created lists for this run, and move those of schema countdown_old_… back to schema public. Where it lists none, ` +
            `empty the tables that countdown.kept lists as prepared, add the foreign keys and set the counters that it lists. Leave schema countdown as it is.`,
          seen: `when schema public of ${target} holds what it held when the run began, and the tables of ${source} are as they were.`,
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
        // Going back asks the target whether the source has all that it took.
        targets: reverseCapture ? [name, target, source] : [name],
        run: run('switch'),
        ...both('switch'),
        undoTitle: `Read from ${source} again: set ${name} to ${values[1]}`,
        byHand: setByHand(name, { from: values[2], to: values[1] }),
        expected: { runMs: SECOND_MS, undoMs: SECOND_MS },
        limits: { timeoutMs: reverseCapture ? 2 * HOUR_MS : 2 * MINUTE_MS },
      },
    ];
    if (reverseCapture) {
      phases.push({
        name: 'release-writes',
        title: `Let writes in: set ${name} to ${values[3]}`,
        effect: 'costly',
        targets: [name, target, source],
        run: run('release-writes'),
        ...both('release-writes'),
        undoTitle: `Hold writes again, carry the rows that ${target} took back to ${source}, compare every cell`,
        byHand: {
          how:
            `Set ${name} to ${values[2]}, so that nobody writes. countdown.captured of ${target} lists for this run, by table and key, every row ` +
            `that was written there: put each into ${source} as it stands in ${target}, and delete it there where ${target} has it no more; then delete it from the list. What ` +
            `comes after compares every cell.`,
          seen: `when no row is listed any more, and each that was stands in ${source} as in ${target}, or in neither.`,
        },
        expected: { runMs: SECOND_MS, undoMs: MINUTE_MS },
        limits: { timeoutMs: 2 * HOUR_MS },
        endsAtNoReturn: true,
      });
    }
    return phases;
  },
};

/** What each phase of the step is told. */
function importCall(step: string, given: z.output<typeof params>): Json {
  const { timezone = null, ...rest } = given;
  return { step, ...rest, timezone };
}

/** The phase of a point of no return that ends the reverse capture of an import above it; undefined where it has none. */
export function endOfCapture(before: StepBefore, { isOnly }: { isOnly: boolean }): DraftPhase | undefined {
  if (!capturesBack(before.kind, before.params)) return undefined;
  const { target } = before.params;
  const call = importCall(before.id, before.params);
  return {
    name: isOnly ? 'end-capture' : `end-capture-${before.id.replaceAll('.', '-')}`,
    title: `Note no more what is written to ${target}: there is no way back for it`,
    effect: 'irreversible',
    targets: [target],
    run: callOf(KIND, 'end-capture', 'run', call),
    probe: callOf(KIND, 'end-capture', 'probe', call),
    expected: { runMs: SECOND_MS, undoMs: 0 },
    limits: { timeoutMs: 2 * MINUTE_MS, attempts: 3, resumable: true },
  };
}

/** Whether a step is an import that notes what is written, so that a point of no return must end it. */
export function capturesBack(kind: string, given: unknown): given is z.output<typeof params> {
  return (
    kind === KIND &&
    typeof given === 'object' &&
    given !== null &&
    'reverseCapture' in given &&
    given.reverseCapture === true
  );
}

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
