/** inspect: what is pending, whether it may stand, and what it does to a clone. Nothing of the target is changed. */
import type { Json } from '../../../procedures/plan.ts';
import type { PhaseContext, PhaseResult } from '../../phase.ts';
import { withPostgres } from '../postgres.ts';
import { named, refuse } from './codes.ts';
import { type Tried, dryRun } from './dry-run.ts';
import { readHistory } from './history.ts';
import type { Finding } from './lint.ts';
import { findingText, sorted } from './judge.ts';
import { checkOnClone, checkOnTarget, checkOwnSql } from './own-sql.ts';
import type { MigrateParams } from './params.ts';
import { pendingOf } from './pending.ts';
import { checkTarget } from './preconditions.ts';
import { inspectProgram } from './program-inspect.ts';
import { type Scratch, withScratch } from './scratch.ts';
import type { Migration } from './scripts.ts';
import { openFolder } from './source-folder.ts';
import { asNew } from './session.ts';
import { sha256 } from './sql.ts';

/** Migrations of one step: what is approved at once must be readable, and fit in an output. */
export const PENDING_MAX = 200;
const CHANGES_BYTES_MAX = 16 * 1024;
const FINDINGS_BYTES_MAX = 16 * 1024;

/** What a source tells of itself once it was tried. */
export type SourceFound = {
  pending: string[];
  revisionBefore: string | null;
  /** sha256 by file, or by revision. */
  scripts: Record<string, string>;
  tried: Tried;
};

export async function inspect(params: MigrateParams, context: PhaseContext): Promise<PhaseResult> {
  await checkOwnSql(params);
  const notes = await lookAtTarget(params, context);
  const { source } = context.target(params.source, 'migrations');
  const scratch = {
    target: params.target,
    server: params.scratch ?? params.target,
    step: params.step,
    state: source.is === 'folder' ? [] : source.state,
  };
  const withClone = <T>(work: (made: Scratch) => Promise<T>): Promise<T> =>
    withScratch(scratch, context, async (made) => {
      await asNew(made.connection, params);
      const done = await work(made);
      await checkOnClone(made.connection, params);
      return done;
    });
  const found =
    source.is === 'folder'
      ? await inspectFolder(params, source.path, withClone, context)
      : await inspectProgram(params, source, withClone, context);
  checkBackfill(params, found.tried);
  return resultOf(params, found, notes);
}

async function lookAtTarget(params: MigrateParams, context: PhaseContext): Promise<string[]> {
  return await withPostgres(params.target, context, async (connection) => {
    const notes = await checkTarget(connection, params);
    await checkOnTarget(connection, params);
    return notes;
  });
}

async function inspectFolder(
  params: MigrateParams,
  path: string,
  withClone: <T>(work: (made: Scratch) => Promise<T>) => Promise<T>,
  context: PhaseContext,
): Promise<SourceFound> {
  const folder = await openFolder(path, params.source);
  const history = await withPostgres(params.target, context, (connection) =>
    readHistory(connection, params.source),
  );
  const pending = await pendingOf(folder, history, { ...params, run: context.run });
  assertFew(pending, params);
  const migrations: Migration[] = [];
  for (const version of pending) migrations.push(await folder.migration(version));
  const tried = await withClone(({ connection }) => dryRun(connection, migrations, params, context));
  const scripts = migrations.flatMap(({ up, down }) => (down === undefined ? [up] : [up, down]));
  return {
    pending: migrations.map(({ version }) => version),
    revisionBefore: history.at(-1)?.version ?? params.baseline ?? null,
    scripts: Object.fromEntries(scripts.map(({ file, sha256: checksum }) => [file, checksum])),
    tried,
  };
}

export function assertFew(pending: readonly string[], { source }: MigrateParams): void {
  if (pending.length <= PENDING_MAX) return;
  refuse(
    'TooMany',
    `'${source}' has ${pending.length} migrations to apply, expected at most ${PENDING_MAX} in one step; write several steps, each with its own to`,
  );
}

/** A backfill is undone with its columns, so they must be new; below a point of no return nothing is undone. */
function checkBackfill({ backfill, forGood, source }: MigrateParams, { made }: Tried): void {
  if (backfill === undefined || forGood) return;
  const table = backfill.table.replace(/^public\./, '');
  const old = Object.keys(backfill.set).filter((column) => !made.includes(`${table}.${column}`));
  if (old.length === 0) return;
  refuse(
    'BackfillColumns',
    `The backfill fills ${named(old.map((one) => `${table}.${one}`))}, which no pending migration of '${source}' adds, expected new columns, since they are what the undo takes away; add them in the same step, or put the step below a point-of-no-return`,
  );
}

function resultOf(params: MigrateParams, found: SourceFound, notes: readonly string[]): PhaseResult {
  const { pending, revisionBefore, scripts, tried } = found;
  const { blocking, advice, allowed } = sorted(tried.findings, params.allow, new Date());
  if (blocking.length === 0) assertWayBack(params, tried);
  const texts = (findings: readonly Finding[]): string[] =>
    bounded(findings.map(findingText), FINDINGS_BYTES_MAX);
  const output: Record<string, Json> = {
    pending,
    findings: texts([...blocking, ...advice]),
    lossy: bounded(tried.lossy, FINDINGS_BYTES_MAX / 2),
    changes: bounded(tried.changes, CHANGES_BYTES_MAX),
    revisionBefore,
    revision: pending.at(-1) ?? revisionBefore,
    structureBefore: tried.structureBefore,
    structureAfter: tried.structureAfter,
    scripts,
    indexes: tried.indexes,
  };
  const binds: Record<string, Json> = {
    pending,
    scripts: sha256(JSON.stringify(scripts)),
    changes: sha256(tried.changes.join('\n')),
    lossy: tried.lossy.length,
    destroyed: sha256(tried.destroyed.join('\n')),
    allowed: texts(allowed),
  };
  const verdict = blocking.length > 0 ? 'fail' : advice.length + notes.length > 0 ? 'warn' : 'pass';
  const way = params.forGood ? 'up' : 'up, down and up';
  const done =
    pending.length === 0
      ? 'nothing is pending'
      : `${pending.length} migrations tried ${way}, ${tried.changes.length} changes`;
  const said = [...[...blocking, ...advice].map(findingText), ...notes];
  const summary = [done, ...(said.length === 0 ? [] : [named(said)])].join(': ');
  return { verdict, summary: summary.replace(/\s+/g, ' ').slice(0, SUMMARY_LENGTH_MAX), output, binds };
}

const SUMMARY_LENGTH_MAX = 1_000;

/** Above a point of no return each migration has a down that was tried, and whoever approves knows what it would lose. */
function assertWayBack(params: MigrateParams, { destroyed, withoutDown, lossy }: Tried): void {
  if (params.forGood) return;
  if (destroyed.length > 0) {
    refuse(
      'ForGood',
      `${named(destroyed)}, which no down can bring back; put the step below a point-of-no-return`,
    );
  }
  if (withoutDown.length > 0) {
    refuse(
      'NoDown',
      `${named(withoutDown)} has no down beside it, expected one that takes it back; write it, or put the step below a point-of-no-return`,
    );
  }
  if (lossy.length > 0 && !params.lossyDown) {
    refuse(
      'LossyDown',
      `${named(lossy)}, which nobody has said may be; write lossyDown: true in the step, which makes it costly, or put it below a point-of-no-return`,
    );
  }
}

/** As many as fit, and how many more. */
function bounded(lines: readonly string[], bytesMax: number): string[] {
  const kept: string[] = [];
  let bytes = 0;
  for (const line of lines) {
    bytes += Buffer.byteLength(JSON.stringify(line)) + 1;
    if (bytes > bytesMax) return [...kept, `and ${lines.length - kept.length} more`];
    kept.push(line);
  }
  return kept;
}
