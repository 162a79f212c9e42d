/** The phase `inspect` of database.import: everything that could stand in the way, before anything is changed. */
import type { PhaseContext, PhaseResult } from '../../phase.ts';
import { userRelations } from '../catalog.ts';
import { fail } from '../fail.ts';
import { assertCarried, openImportSwitch, openMapped } from '../import-source.ts';
import type { ImportParams, MappedSource } from '../import-source.ts';
import type { SchemaMode } from '../mapping.ts';
import { withPostgres } from '../postgres.ts';
import type { Connection } from '../postgres.ts';
import { quote } from '../sqlite.ts';
import { checkServer } from './check-target.ts';
import { assertNoDuplicates } from './duplicates.ts';
import type { UniqueKey } from './duplicates.ts';
import { visible } from './lines.ts';
import { OFFENDERS_NAMED_MAX } from './offenders.ts';
import { findOrphans, findTargetOrphans } from './orphans.ts';
import { checkIntegrity, profileCells } from './profile.ts';
import { refuseReverse } from './reverse-check.ts';
import { checkRoom } from './room.ts';
import { findReplaced } from './swap.ts';
import { readUniqueKeys } from './target-keys.ts';
import { targetTableNames } from './target-schema.ts';

/** Bytes of what is told about things left behind. */
const TOLD_MAX = 2_000;

/** Looks at the switch, the target, the schema and every cell. The approval binds to what it finds, not to counts. */
export async function inspectImport(params: ImportParams, context: PhaseContext): Promise<PhaseResult> {
  const client = await openImportSwitch(params, context);
  const { value } = await client.read();
  if (value !== client.source) {
    throw fail(
      'PreconditionFailed',
      `Switch '${params.switch}' says '${value}', expected '${client.source}': the application is not on the source; set it back first.`,
    );
  }
  return await withPostgres(params.target, context, async (connection) => {
    await checkServer(connection);
    await checkRoom(params, context);
    const standing = await targetTableNames(connection);
    const mode = modeOf(params, standing);
    const mapped = await openMapped(params, context, { connection, mode });
    using source = mapped.source;
    await checkIntegrity(source, context.signal);
    const replaces = await findPlaces(connection, mapped);
    if (params.reverseCapture)
      mapped.mapping.refused.push(...(await refuseReverse(mapped.mapping, mapped.schema, source.path)));
    const taking = mode === 'existing' ? standing : [];
    await assertCarried(params, context, { mapping: mapped.mapping, standing: taking });
    assertNoOrphans(params, await findOrphans(mapped, context.signal));
    if (mode === 'existing')
      assertNoOrphans(params, await findTargetOrphans(mapped, connection, context.signal));
    const keys = mode === 'existing' ? await readUniqueKeys(connection) : new Map<string, UniqueKey[]>();
    const { rows, cells, quarantined, notes } = await profileCells(
      mapped,
      params,
      context,
      mode === 'existing' ? connection : undefined,
    );
    await assertNoDuplicates(mapped, keys, context.signal);
    const { mapping, schema } = mapped;
    const tables = mapping.tables.length;
    const told = [
      ...(mode === 'existing' ? ['into the tables that are there'] : []),
      ...(replaces.length > 0 ? [`in place of ${replaces.map(quote).join(', ')}`] : []),
      ...(quarantined > 0 ? [`${quarantined} cells into quarantine`] : []),
      ...mapping.skipped.map((words) => `left behind: ${words}`),
      ...notes,
      ...mapping.notes,
    ].join('; ');
    return {
      verdict: notes.length > 0 ? 'warn' : 'pass',
      summary: `${tables} tables, ${rows} rows, ${cells} cells can be carried exactly${told === '' ? '' : `; ${shortened(told)}`}`,
      output: {
        tables,
        rows,
        cells,
        quarantined,
        mode,
        replaces,
        skipped: mapping.skipped,
        startValue: value,
        mappingDigest: mapping.digest,
      },
      binds: {
        schema: schema.digest,
        mapping: mapping.digest,
        targetEmpty: (await userRelations(connection)).length === 0,
        switch: value,
      },
    };
  });
}

function shortened(told: string): string {
  const text = visible(told);
  return text.length > TOLD_MAX ? `${text.slice(0, TOLD_MAX)}… and more` : text;
}

/** Who makes the tables: the import where there are none. */
function modeOf(params: ImportParams, standing: readonly string[]): SchemaMode {
  if (params.schema !== 'auto') return params.schema;
  return standing.length > 0 ? 'existing' : 'create';
}

/** Tables in whose place new ones will be put. What stands in the way otherwise joins what is refused. */
async function findPlaces(connection: Connection, { mapping, source }: MappedSource): Promise<string[]> {
  if (mapping.mode === 'existing') {
    mapping.refused.push(...(await unequalRevisions(connection, source)));
    return [];
  }
  const names = mapping.tables.flatMap(({ target, source: table }) => [
    target,
    ...table.indexes.map((index) => index.name).filter((name) => name !== ''),
  ]);
  const { replaces, refused } = await findReplaced(connection, names);
  mapping.refused.push(...refused);
  return replaces;
}

/** Alembic's revision must be the same on both sides: the rows fit the schema that made them. */
async function unequalRevisions(connection: Connection, source: MappedSource['source']): Promise<string[]> {
  const mine = revisionsOf(source);
  const [there] = await connection.query(`SELECT to_regclass('public.alembic_version')`);
  if (mine === undefined || there?.[0] === null) return [];
  const rows = await connection.query('SELECT version_num FROM public.alembic_version ORDER BY 1');
  const theirs = rows.map(([version]) => version ?? '').join(', ');
  return theirs === mine
    ? []
    : [
        `alembic_version, which says '${mine}' in the source and '${theirs}' in the target; bring both to one revision`,
      ];
}

function revisionsOf(source: MappedSource['source']): string | undefined {
  try {
    const rows = source.db.prepare('SELECT version_num FROM alembic_version ORDER BY 1').all();
    return rows.map((row) => String(row['version_num'])).join(', ');
  } catch {
    // There is no such table, or another one of this name.
    return undefined;
  }
}

function assertNoOrphans(params: ImportParams, orphans: string[]): void {
  if (orphans.length === 0) return;
  const named = orphans.slice(0, OFFENDERS_NAMED_MAX).join('; ');
  const total = orphans.length >= 100 ? 'at least 100' : String(orphans.length);
  throw fail(
    'PreconditionFailed',
    visible(
      `'${params.source}' has ${total} rows whose foreign key points at nothing: ${named}. Correct them first.`,
    ),
  );
}
