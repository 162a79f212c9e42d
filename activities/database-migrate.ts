/**
 * database.migrate: the schema of a database in use to a revision, and back.
 *
 *   inspect    pending migrations judged and tried up, down, up on a scratch clone                    changes nothing
 *   apply      under an advisory lock, each with its history row; locks are tried for, never waited for   undo: the downs that were tried
 *   backfill   pages along the key, each with its checkpoint                                          undo: forgets its checkpoint
 *   verify     the structure is that of the clone; checks of the runbook's                            changes nothing
 */
import { counted } from './lib/counted.ts';
import { applyFolder, probeFolder, undoFolder } from './lib/migrate/apply-folder.ts';
import { applyProgram, probeProgram, undoProgram } from './lib/migrate/apply-program.ts';
import { probeBackfill, runBackfill, undoBackfill } from './lib/migrate/backfill.ts';
import { named } from './lib/migrate/codes.ts';
import { inspect as inspectTarget } from './lib/migrate/inspect.ts';
import { type MigrateParams, inspectedOf } from './lib/migrate/params.ts';
import { verify as verifyTarget } from './lib/migrate/verify.ts';
import type { PhaseActivities } from './phase.ts';

const inspect: PhaseActivities<MigrateParams> = {
  run: inspectTarget,
};

const apply: PhaseActivities<MigrateParams> = {
  async run(params, context) {
    const { source } = context.target(params.source, 'migrations');
    const report =
      source.is === 'folder'
        ? await applyFolder(params, source.path, context)
        : await applyProgram(params, source, context);
    const { applied, downtimeMs, lockTriesUsed, blockers } = report;
    const waited = lockTriesUsed === 0 ? '' : `, ${lockTriesUsed} tries for locks (${named(blockers, 2)})`;
    const summary = `${applied} migrations applied, no query waited longer than ${downtimeMs} ms${waited}`;
    return { verdict: 'pass', summary: summary.slice(0, 1_000), output: report };
  },

  async probe(params, context) {
    const { source } = context.target(params.source, 'migrations');
    return source.is === 'folder' ? probeFolder(params, context) : probeProgram(params, source, context);
  },

  async undo(params, context) {
    const { source } = context.target(params.source, 'migrations');
    const undone =
      source.is === 'folder' ? await undoFolder(params, context) : await undoProgram(params, source, context);
    const summary = undone === 0 ? 'there was no migration to take back' : `${undone} migrations taken back`;
    return { verdict: 'pass', summary };
  },
};

const backfill: PhaseActivities<MigrateParams> = {
  async run(params, context) {
    inspectedOf(params, context);
    const filled = await runBackfill(params, context);
    const held = filled.heldMs === 0 ? '' : `, gave way for ${filled.heldMs} ms`;
    return {
      verdict: 'pass',
      summary: `${counted(filled.rowsFilled, 'row')} filled in ${counted(filled.pages, 'page')}${held}`,
      output: filled,
    };
  },

  probe: probeBackfill,

  async undo(params, context) {
    const rows = await undoBackfill(params, context);
    return {
      verdict: 'pass',
      summary: rows === 0 ? 'nothing was filled' : `${rows} values go with their columns`,
    };
  },
};

const verify: PhaseActivities<MigrateParams> = {
  run: verifyTarget,
};

export const databaseMigrate = { inspect, apply, backfill, verify };
