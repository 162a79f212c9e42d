/** What the phases of database.import look at first: the source and how it maps, the switch, the target. */
import type { PhaseContext } from '../phase.ts';
import { userRelations } from './catalog.ts';
import { fail } from './fail.ts';
import { mapSchema } from './mapping.ts';
import type { Mapping } from './mapping.ts';
import type { Connection } from './postgres.ts';
import { encodePage, OFFENDERS_NAMED_MAX, offendersText } from './rows.ts';
import type { Offender } from './rows.ts';
import { digestData, openSource, quote, readPages, runAside, whenFree } from './sqlite.ts';
import type { Source } from './sqlite.ts';
import { readSchema } from './sqlite-schema.ts';
import type { SourceSchema } from './sqlite-schema.ts';
import { openSwitch } from './switch-client.ts';
import type { Switch } from './switch-client.ts';

/** Params of every phase of database.import. */
export type ImportParams = {
  step: string;
  source: string;
  target: string;
  switch: string;
  /** Rows of one chunk. */
  chunkRows: number;
};

/** The four values that an import needs, by position. */
export type ImportSwitch = Switch & {
  source: string;
  sourceHeld: string;
  targetHeld: string;
  target: string;
};

/** PostgreSQL below this lacks what the fence uses. */
const POSTGRES_VERSION_MIN = 140_000;

/** The switch and its four values. Throws PreconditionFailed where it has others. */
export async function openImportSwitch(params: ImportParams, context: PhaseContext): Promise<ImportSwitch> {
  const client = await openSwitch(params.switch, context);
  const [source, sourceHeld, targetHeld, target, ...more] = client.values;
  if (
    source === undefined ||
    sourceHeld === undefined ||
    targetHeld === undefined ||
    target === undefined ||
    more.length > 0
  ) {
    throw fail(
      'PreconditionFailed',
      `Switch '${params.switch}' has ${client.values.length} values, expected 4: source, source held, target held, target; correct 'values' in the environment file.`,
    );
  }
  return { ...client, source, sourceHeld, targetHeld, target };
}

export type MappedSource = { source: Source; schema: SourceSchema; mapping: Mapping };

/** Opens the source and maps its schema. Throws NotSupported listing what cannot be mapped. The caller closes `source`. */
export async function openMapped(params: ImportParams, context: PhaseContext): Promise<MappedSource> {
  const source = await openSource(params.source, context);
  try {
    const schema = await whenFree(source.name, context.signal, () => readSchema(source.db));
    if (schema.tables.length === 0) {
      throw fail(
        'PreconditionFailed',
        `'${params.source}' has no tables, expected at least one; see that its path is right.`,
      );
    }
    const mapping = await whenFree(source.name, context.signal, () => mapSchema(source, schema));
    if (mapping.refused.length > 0) throw fail('NotSupported', refusedText(params.source, mapping.refused));
    return { source, schema, mapping };
  } catch (error) {
    source[Symbol.dispose]();
    throw error;
  }
}

function refusedText(name: string, refused: string[]): string {
  const named = refused.slice(0, OFFENDERS_NAMED_MAX).join('; ');
  const more =
    refused.length > OFFENDERS_NAMED_MAX ? `; and ${refused.length - OFFENDERS_NAMED_MAX} more` : '';
  return `The schema of '${name}' holds what cannot be carried exactly yet: ${named}${more}. Change it in the source, then run again.`;
}

/** Throws PreconditionFailed where the mapping is not the one that was inspected, and so approved. */
export function assertMapping(params: ImportParams, context: PhaseContext, mapping: Mapping): void {
  const approved = context.outputs[`${params.step}/inspect`]?.['mappingDigest'];
  if (approved === mapping.digest) return;
  throw fail(
    'PreconditionFailed',
    `The mapping of '${params.source}' is ${mapping.digest.slice(0, 12)}, expected ${typeof approved === 'string' ? approved.slice(0, 12) : 'one from inspect'}: ` +
      `its schema has changed since it was inspected; run again, so that the new one is approved.`,
  );
}

/** The file's own checks. They cannot be paged, so they run on a thread of their own. */
export async function checkIntegrity(source: Source, signal: AbortSignal): Promise<void> {
  const [integrity = [], orphans = []] = await runAside(
    source.name,
    { path: source.path, sql: ['PRAGMA integrity_check(10)', 'PRAGMA foreign_key_check'] },
    signal,
  );
  const complaints = integrity
    .map((row) => String(row['integrity_check']).replace(/\s+/g, ' '))
    .filter((line) => line !== 'ok');
  if (complaints.length > 0) {
    throw fail(
      'PreconditionFailed',
      `'${source.name}' is damaged: ${complaints.slice(0, 3).join('; ')}. Restore it from a backup first.`,
    );
  }
  if (orphans.length === 0) return;
  const named = orphans
    .slice(0, OFFENDERS_NAMED_MAX)
    .map(
      (row) =>
        `${String(row['table'])} rowid=${String(row['rowid'])} has no parent in ${String(row['parent'])}`,
    );
  const total = orphans.length >= 100 ? 'at least 100' : String(orphans.length);
  throw fail(
    'PreconditionFailed',
    `'${source.name}' has ${total} rows whose foreign key points at nothing: ${named.join('; ')}. Correct them first.`,
  );
}

/** Looks at every cell. Throws VerificationFailed naming those that cannot be carried exactly. */
export async function profileCells(
  { source, mapping }: MappedSource,
  params: ImportParams,
  context: PhaseContext,
): Promise<{ rows: number; cells: number }> {
  const offenders: Offender[] = [];
  let offendersTotal = 0;
  let rows = 0;
  let cells = 0;
  for (const table of mapping.tables) {
    for await (const page of readPages(source, table.source, {
      order: 'storage',
      rowsMax: params.chunkRows,
      signal: context.signal,
    })) {
      const found = encodePage(source, table, page);
      if (offenders.length < OFFENDERS_NAMED_MAX) offenders.push(...found.offenders);
      offendersTotal += found.offendersTotal;
      rows += page.rows.length;
      cells += page.rows.length * table.columns.length;
      context.progress({ done: rows, unit: 'rows', detail: table.source.name });
    }
  }
  if (offendersTotal > 0) {
    const what = offendersTotal === 1 ? '1 cell' : `${offendersTotal} cells`;
    throw fail(
      'VerificationFailed',
      `${what} of '${params.source}' cannot be carried exactly: ${offendersText(offenders, offendersTotal)}. Correct them in the source; nothing was changed.`,
    );
  }
  return { rows, cells };
}

/** Throws PreconditionFailed where the target cannot take the import: version, encoding, rights, or it is not empty. */
export async function checkTarget(connection: Connection): Promise<void> {
  const [row] = await connection.query(
    `SELECT current_setting('server_version_num')::int, current_setting('server_encoding'), pg_is_in_recovery(),
       has_database_privilege(current_database(), 'CREATE') OR to_regnamespace('countdown') IS NOT NULL,
       coalesce(has_schema_privilege(to_regnamespace('public'), 'CREATE'), false)`,
  );
  const [version, encoding, standby, ownSchema, inPublic] = row ?? [];
  const name = connection.name;
  if (Number(version) < POSTGRES_VERSION_MIN)
    throw fail('PreconditionFailed', `'${name}' runs PostgreSQL ${version}, expected 14 or later.`);
  if (encoding !== 'UTF8')
    throw fail(
      'PreconditionFailed',
      `'${name}' stores ${encoding}, expected UTF8; make the database with that encoding.`,
    );
  if (standby === 't')
    throw fail(
      'PreconditionFailed',
      `'${name}' is a standby, expected a server that takes writes; name its primary.`,
    );
  if (ownSchema !== 't' || inPublic !== 't') {
    throw fail(
      'PreconditionFailed',
      `The user of '${name}' may not create schemas and tables, expected both; grant CREATE on the database and on schema public.`,
    );
  }
  const found = await userRelations(connection);
  if (found.length > 0) {
    throw fail(
      'PreconditionFailed',
      `'${name}' is not empty: found ${found.slice(0, 5).map(quote).join(', ')}${found.length > 5 ? ' and more' : ''}, expected no tables; name an empty database.`,
    );
  }
}

/** The DATA of the source as it is now. */
export async function digestSource(
  params: ImportParams,
  context: PhaseContext,
  signal = context.signal,
): Promise<string> {
  using source = await openSource(params.source, context);
  const schema = await whenFree(source.name, signal, () => readSchema(source.db));
  const { digest } = await digestData(source, schema.tables, {
    rowsMax: params.chunkRows,
    signal,
    onRows: (rows) => context.progress({ done: rows, unit: 'rows', detail: `digest of ${params.source}` }),
  });
  return digest;
}
