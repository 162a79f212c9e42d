/**
 * database.migrate: brings the schema of a PostgreSQL database in use to a revision, and can bring it back.
 *
 *   inspect    reads the migrations, judges every statement, tries up, down, up on a scratch clone; changes nothing
 *   apply      one migration after the other, each with its history row, without making a query wait    undo: the downs that were tried
 *   backfill   fills new columns page by page, where it is asked for                   undo: they go with their columns
 *   verify     the catalog is what the scratch clone was, and the checks of its own
 *
 * The migrations come from a target of kind migrations: a folder of SQL files, Alembic, or a program with a probe.
 */
import { z } from 'zod';
import { expectationSchema } from './expect.ts';
import { DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS } from './limits.ts';
import type { ByHand, Json } from './plan.ts';
import { type DraftPhase, type PlanInput, type Procedure, callOf, targetOf } from './procedure.ts';
import { durationSchema, exact, lineSchema, nameSchema } from './schema.ts';

const REVISION = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}$/;
const revisionSchema = z
  .string('a revision in quotes')
  .regex(REVISION, "a revision, as in '0007': letters, digits, dots, hyphens, underscores and @");

/** A column or table as SQL writes it without quotes. */
const PLAIN = /^[a-z_][a-z0-9_]{0,62}$/;
const PLAIN_TABLE = /^[a-z_][a-z0-9_]{0,62}(?:\.[a-z_][a-z0-9_]{0,62})?$/;

const SQL_LENGTH_MAX = 4_000;
const sqlSchema = z
  .string('SQL, as text')
  .min(1, 'some SQL')
  .max(SQL_LENGTH_MAX, `at most ${SQL_LENGTH_MAX} characters`);
const selectSchema = sqlSchema.refine((text) => /^[\s(]*(?:select|with|values|table)\b/i.test(text), {
  error: 'The query is no select, expected one that begins with select, with, values or table.',
});

const FINDINGS_ALLOWED_MAX = 100;

const allowSchema = exact({
  rule: z.string().regex(/^[A-Z][A-Za-z0-9]{2,39}$/, 'the name of a rule, as in IndexNotConcurrent'),
  object: lineSchema(130).exactOptional().describe('Only for this object. Default: every object.'),
  because: lineSchema(300),
  until: z
    .string('a date in quotes')
    .regex(/^\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])$/, 'a date, as in 2027-01-31')
    .exactOptional()
    .describe('The last day on which it is allowed.'),
});

const backfillSchema = exact({
  table: z.string().regex(PLAIN_TABLE, 'the name of a table, in small letters'),
  set: z
    .record(z.string().regex(PLAIN, 'the name of a column, in small letters'), sqlSchema)
    .refine((set) => Object.keys(set).length > 0, { error: 'Nothing is set, expected at least one column.' })
    .describe('Columns that the migrations add, and the expression that fills each.'),
  where: sqlSchema.describe('Rows that are still to be filled; none may be left at the end.'),
  trigger: z
    .string()
    .regex(PLAIN, 'the name of a trigger, in small letters')
    .exactOptional()
    .describe('A trigger that fills new rows; it must be there and on before the first page.'),
  pageRows: z.int().min(1).max(50_000).default(1_000).describe('Rows of the first page.'),
  pageTime: durationSchema({ ms: 10 }, { ms: 10 * SECOND_MS })
    .default(500)
    .describe('Time that a page is to take; the next one has as many rows as that gives. Default 500ms.'),
  maxLag: durationSchema({ ms: 10 }, { ms: HOUR_MS })
    .default(5 * SECOND_MS)
    .describe('It waits while a replica is further behind. Default 5s.'),
  maxBlocked: z
    .int()
    .min(0)
    .max(10_000)
    .default(5)
    .describe('It waits while more sessions wait for a lock. Default 5.'),
  holdWhile: selectSchema.exactOptional().describe('It waits while this answers true.'),
});

const params = exact({
  target: nameSchema.describe('Target of kind postgres.'),
  source: nameSchema.describe('Target of kind migrations.'),
  to: revisionSchema
    .exactOptional()
    .describe('Default: the last one. Of Alembic also a branch, as in billing@head, or heads.'),
  baseline: revisionSchema
    .exactOptional()
    .describe('Of a folder: this migration and those before it stand already, whoever applied them.'),
  lockTimeout: durationSchema({ ms: 10 }, { ms: MINUTE_MS })
    .default(SECOND_MS)
    .describe('How long a statement, and so every query behind it, may wait for a lock. Default 1s.'),
  lockTries: z.int().min(1).max(1_000).default(30).describe('How often it tries to get its locks.'),
  statementTimeout: durationSchema({ ms: SECOND_MS }, { ms: DAY_MS })
    .exactOptional()
    .describe('How long one statement may run. Default: no end but that of the phase.'),
  lossyDown: z
    .boolean()
    .default(false)
    .describe(
      'The way back may lose what was written into new tables and columns; that makes the step costly.',
    ),
  allow: z.array(allowSchema).max(FINDINGS_ALLOWED_MAX).default([]).describe('Findings that may stand.'),
  expectDatabase: lineSchema(63).exactOptional().describe('The name that the database must have.'),
  scratch: nameSchema
    .exactOptional()
    .describe(
      'Target of kind postgres on whose server the scratch clone is made. Default: that of the target.',
    ),
  canary: selectSchema
    .exactOptional()
    .describe('The query whose longest wait is measured. Default: one row of each table that is locked.'),
  canaryEvery: durationSchema({ ms: 5 }, { ms: 10 * SECOND_MS })
    .default(20)
    .describe('How often it is asked. Default 20ms.'),
  backfill: backfillSchema.exactOptional(),
  verify: z
    .array(exact({ name: lineSchema(100), query: selectSchema, expect: expectationSchema }))
    .max(50)
    .default([])
    .describe('Questions to the database afterwards, and the answers expected.'),
});

const texts = z.array(z.string());

const output = z.object({
  // inspect
  pending: texts,
  findings: texts,
  lossy: texts,
  changes: texts,
  revisionBefore: z.string().nullable(),
  revision: z.string().nullable(),
  structureBefore: z.string(),
  structureAfter: z.string(),
  scripts: z.record(z.string(), z.string()),
  indexes: z.record(z.string(), z.string()),
  // apply
  applied: z.int(),
  lockTriesUsed: z.int(),
  lockWaitMs: z.int(),
  blockers: texts,
  canaryQueries: z.int(),
  downtimeMs: z.int(),
  // backfill
  rowsFilled: z.int(),
  pages: z.int(),
  heldMs: z.int(),
  // verify
  structure: z.string(),
  checks: z.int(),
});

const KIND = 'database.migrate';

type Params = z.output<typeof params>;

export const databaseMigrate: Procedure<typeof params> = {
  kind: KIND,
  summary: 'brings the schema of a PostgreSQL database in use to a revision',
  params,
  verbatim: ['canary', 'backfill', 'verify'],
  output,
  plan(input) {
    if (!checkTargets(input)) return [];
    const { target, source, scratch, backfill } = input.params;
    const call = callParams(input);
    const run = (phase: string) => callOf(KIND, phase, 'run', call);
    const both = (phase: string) => ({
      undo: callOf(KIND, phase, 'undo', call),
      probe: callOf(KIND, phase, 'probe', call),
    });
    const effect = input.params.lossyDown ? ('costly' as const) : ('reversible' as const);
    const phases: DraftPhase[] = [
      {
        name: 'inspect',
        title: `Try the migrations of ${source} on a clone of ${target}`,
        effect: 'none',
        targets: [...new Set([target, source, ...(scratch === undefined ? [] : [scratch])])],
        guards: true,
        run: run('inspect'),
        expected: { runMs: 30 * SECOND_MS, undoMs: 0 },
        limits: { timeoutMs: 30 * MINUTE_MS, attempts: 3 },
      },
      {
        name: 'apply',
        title: `Migrate ${target}${input.params.to === undefined ? '' : ` to ${input.params.to}`}`,
        effect,
        targets: [target, source],
        live: [target],
        run: run('apply'),
        ...both('apply'),
        undoTitle: `Migrate ${target} down again`,
        byHand: byHand(input),
        expected: { runMs: MINUTE_MS, undoMs: MINUTE_MS },
        limits: { timeoutMs: 2 * HOUR_MS, attempts: 3, resumable: true },
      },
    ];
    if (backfill !== undefined) {
      phases.push({
        name: 'backfill',
        title: `Fill ${Object.keys(backfill.set).join(', ')} of ${backfill.table} in ${target}`,
        effect,
        targets: [target],
        live: [target],
        run: run('backfill'),
        ...both('backfill'),
        undoTitle: `Stop filling ${backfill.table} in ${target}`,
        byHand: {
          how: `Nothing is to be done by itself: what was filled goes with its columns when ${target} is migrated down.`,
          seen: `when no session of Countdown is open in ${target}.`,
        },
        expected: { runMs: 10 * MINUTE_MS, undoMs: SECOND_MS },
        limits: { timeoutMs: DAY_MS, attempts: 3, resumable: true },
      });
    }
    phases.push({
      name: 'verify',
      title: `Compare ${target} with what was tried`,
      effect: 'none',
      targets: [target],
      guards: true,
      run: run('verify'),
      expected: { runMs: 10 * SECOND_MS, undoMs: 0 },
      limits: { timeoutMs: 30 * MINUTE_MS, attempts: 3 },
    });
    return phases;
  },
};

/** What every phase is told: the params under the names that carry their units. */
function callParams({ step, params: asked, belowPointOfNoReturn }: PlanInput<Params>): Json {
  const { lockTimeout, statementTimeout, canaryEvery, backfill, ...rest } = asked;
  const named = {
    step,
    ...rest,
    forGood: belowPointOfNoReturn,
    lockTimeoutMs: lockTimeout,
    statementTimeoutMs: statementTimeout ?? 0,
    canaryEveryMs: canaryEvery,
    ...(backfill === undefined ? {} : { backfill: backfillCall(backfill) }),
  };
  return named;
}

function backfillCall({ pageTime, maxLag, ...rest }: NonNullable<Params['backfill']>) {
  return { ...rest, pageTimeMs: pageTime, maxLagMs: maxLag };
}

/** False where a target is not what it must be, or an option does not fit the source. */
function checkTargets(input: PlanInput<Params>): boolean {
  const { target, source, scratch, baseline } = input.params;
  const found = [
    targetOf(input, ['target'], target, 'postgres'),
    ...(scratch === undefined ? [] : [targetOf(input, ['scratch'], scratch, 'postgres')]),
  ];
  const migrations = targetOf(input, ['source'], source, 'migrations');
  if (migrations !== undefined && migrations.source.is !== 'folder' && baseline !== undefined) {
    const message = `The source '${source}' is no folder, so it keeps where it stands by itself and takes no baseline.`;
    input.refuse({ field: ['baseline'], message, hint: 'take baseline away' });
  }
  return migrations !== undefined && found.every((one) => one !== undefined);
}

function byHand({ step, params: { target, source }, environment }: PlanInput<Params>): ByHand {
  const entry = environment.targets[source];
  const is = entry?.kind === 'migrations' ? entry.source.is : 'folder';
  const history = `countdown.migration of ${target}, step ${step}`;
  const how = {
    folder: `In the database of ${target}, run the column down of the table ${history}, the last version first, and delete each row with its down in one transaction.`,
    alembic: `As the user of the worker, run Alembic as targets.${source}.alembic names it with downgrade and the column before of the table ${history}, where the address of ${target} stands in the variable that the target names.`,
    command: `As the user of the worker, run targets.${source}.command.down with the column before of the table ${history} as its last argument.`,
  }[is];
  return { how, seen: `when countdown.migration of ${target} has no row of this run any more.` };
}
