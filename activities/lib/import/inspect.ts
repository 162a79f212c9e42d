/** The phase `inspect` of database.import: everything that could stand in the way, before anything is changed. */
import { counted } from '../counted.ts';
import type { PhaseContext, PhaseResult } from '../../phase.ts';
import { userRelations } from '../catalog.ts';
import { fail } from '../fail.ts';
import { openImportSwitch, openMapped, refusedSchema } from '../import-source.ts';
import type { ImportParams, MappedSource } from '../import-source.ts';
import type { SchemaMode } from '../mapping.ts';
import { withPostgres } from '../postgres.ts';
import type { Connection } from '../postgres.ts';
import { quote, whenFree } from '../sqlite.ts';
import { checkServer } from './check-target.ts';
import { refusedDuplicates } from './duplicates.ts';
import type { UniqueKey } from './duplicates.ts';
import { visible } from './lines.ts';
import { refusedOrphans } from './orphans.ts';
import { checkIntegrity, profileCells } from './profile.ts';
import type { Profile } from './profile.ts';
import { Refusals } from './refusals.ts';
import { refuseExtras, refuseReverse } from './reverse-check.ts';
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
    const replaces = await findPlaces(connection, mapped, context.signal);
    if (params.reverseCapture)
      mapped.mapping.refused.push(
        ...(await refuseReverse(mapped.mapping, mapped.schema, source.path)),
        ...(await refuseExtras(connection, mapped.mapping, params.skip)),
      );
    const { rows, cells, quarantined, notes } = await lookAtRows(mapped, params, {
      context,
      connection,
      standing: mode === 'existing' ? standing : [],
    });
    const { mapping, schema } = mapped;
    const tables = mapping.tables.length;
    const told = [
      ...(mode === 'existing' ? ['into the tables that are there'] : []),
      ...(replaces.length > 0 ? [`in place of ${replaces.map(quote).join(', ')}`] : []),
      ...(quarantined > 0 ? [`${counted(quarantined, 'cell')} into quarantine`] : []),
      ...mapping.skipped.map((words) => `left behind: ${words}`),
      ...notes,
      ...mapping.notes,
    ].join('; ');
    return {
      verdict: notes.length > 0 ? 'warn' : 'pass',
      summary: `${counted(tables, 'table')}, ${counted(rows, 'row')}, ${counted(cells, 'cell')} can be carried exactly${told === '' ? '' : `; ${shortened(told)}`}`,
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

type Place = { context: PhaseContext; connection: Connection; standing: readonly string[] };

/** Looks at every row and cell. Throws naming all that cannot be carried, what the mapping refused first. */
async function lookAtRows(
  mapped: MappedSource,
  params: ImportParams,
  { context, connection, standing }: Place,
): Promise<Profile> {
  const { signal } = context;
  const { mapping } = mapped;
  const target = mapping.mode === 'existing' ? connection : undefined;
  const refusals = new Refusals(params.step, context);
  refusals.add(...refusedSchema(params, { mapping, standing }));
  // The checks of a table that does not fit say nothing of its rows.
  const checks = refusals.any ? undefined : target;
  await refusals.alsoAt(async () => refusals.add(...(await refusedOrphans(mapped, { target, signal }))));
  let profile: Profile | undefined;
  await refusals.alsoAt(async () => {
    profile = await profileCells(mapped, params, { context, checks });
    refusals.add(...profile.refused);
  });
  await refusals.alsoAt(async () => {
    const keys = target === undefined ? new Map<string, UniqueKey[]>() : await readUniqueKeys(target);
    refusals.add(...(await refusedDuplicates(mapped, keys, signal)));
  });
  await refusals.throwAny();
  if (profile === undefined) throw new Error('no row was looked at');
  return profile;
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
async function findPlaces(
  connection: Connection,
  { mapping, source }: MappedSource,
  signal: AbortSignal,
): Promise<string[]> {
  if (mapping.mode === 'existing') {
    mapping.refused.push(...(await unequalRevisions(connection, source, signal)));
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
async function unequalRevisions(
  connection: Connection,
  source: MappedSource['source'],
  signal: AbortSignal,
): Promise<string[]> {
  const mine = await whenFree(source.name, signal, () => revisionsOf(source));
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

/** Undefined where there is no such table, or another one of this name. */
function revisionsOf({ db }: MappedSource['source']): string | undefined {
  const known = db
    .prepare(
      `SELECT 1 FROM sqlite_schema AS t, pragma_table_info(t.name) AS c
       WHERE t.type = 'table' AND lower(t.name) = 'alembic_version' AND lower(c.name) = 'version_num'`,
    )
    .get();
  if (known === undefined) return undefined;
  const rows = db.prepare('SELECT version_num FROM alembic_version ORDER BY 1').all();
  return rows.map((row) => String(row['version_num'])).join(', ');
}
