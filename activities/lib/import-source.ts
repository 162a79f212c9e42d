/** What the phases of database.import look at first: the source and how it maps, the switch, the target. */
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import type { PhaseContext } from '../phase.ts';
import { fail } from './fail.ts';
import { ifThere } from './files.ts';
import { refusalOf } from './import/refusals.ts';
import type { Refusal } from './import/refusals.ts';
import type { MappingWord } from '../../procedures/mapping-words.ts';
import { readTargetTables } from './import/target-schema.ts';
import { mapSchema } from './mapping.ts';
import type { Mapping, SchemaMode } from './mapping.ts';
import type { Connection } from './postgres.ts';
import { LOOK_ROWS, digestData, openSource, whenFree } from './sqlite.ts';
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
  /** Who makes the tables; `auto`: whoever made those that are there. */
  schema: SchemaMode | 'auto';
  /** A word for a column whose cells need one, by `TABLE.COLUMN`. */
  mapping: Record<string, MappingWord>;
  /** What is left behind. */
  skip: string[];
  /** `UTC` or `±HH:MM`: what holds for moments that name no offset. */
  timezone: string | null;
  reverseCapture: boolean;
};

/** The four values that an import needs, by position. */
export type ImportSwitch = Switch & {
  source: string;
  sourceHeld: string;
  targetHeld: string;
  target: string;
};

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

/** Throws UndoFailed: the application writes to the target, so that going back would lose its writes. */
export function openForWrites(params: ImportParams, value: string): never {
  throw fail(
    'UndoFailed',
    `Switch '${params.switch}' says '${value}': '${params.target}' is open for writes, and going back would lose what was written there; decide by hand.`,
  );
}

export type MappedSource = { source: Source; schema: SourceSchema; mapping: Mapping };

/**
 * Opens the source and maps its schema onto the tables of the target, or onto new ones. The caller closes `source`.
 *
 * @throws NotSupported listing what cannot be mapped
 */
export async function openMapped(
  params: ImportParams,
  context: PhaseContext,
  target: { connection: Connection; mode: SchemaMode },
): Promise<MappedSource> {
  const source = await openSource(params.source, context);
  try {
    const schema = await whenFree(source.name, context.signal, () => readSchema(source.db, params.skip));
    if (schema.tables.length === 0) {
      throw fail(
        'PreconditionFailed',
        `'${params.source}' has no tables, expected at least one; see that its path is right.`,
      );
    }
    const existing = target.mode === 'existing' ? await readTargetTables(target.connection) : null;
    const mapping = await mapSchema({
      source,
      schema,
      existing,
      mapping: params.mapping,
      skip: params.skip,
      ...(params.timezone === null ? {} : { zone: params.timezone === 'UTC' ? 'Z' : params.timezone }),
      signal: context.signal,
    });
    return { source, schema, mapping };
  } catch (error) {
    source[Symbol.dispose]();
    throw error;
  }
}

/** Tables of the target that a message names. */
const STANDING_NAMED_MAX = 5;

/** What of the schema cannot be carried. `standing`: the tables of the target that take the rows. */
export function refusedSchema(
  params: ImportParams,
  { mapping: { refused }, standing }: { mapping: Mapping; standing: readonly string[] },
): Refusal[] {
  const others = standing.length > STANDING_NAMED_MAX ? ', …' : '';
  const into =
    params.schema === 'auto' && standing.length > 0
      ? ` for the tables that '${params.target}' has (${standing.slice(0, STANDING_NAMED_MAX).join(', ')}${others}; schema: create makes new ones)`
      : '';
  return refusalOf(
    'NotSupported',
    refused,
    (named) =>
      `The schema of '${params.source}' holds what cannot be carried exactly${into}: ${named}. Change it, or say so in the step, then run again.`,
  );
}

/** Who makes the tables, as `inspect` found it. */
export function inspectedMode(params: ImportParams, context: PhaseContext): SchemaMode {
  return context.outputs[`${params.step}/inspect`]?.['mode'] === 'existing' ? 'existing' : 'create';
}

/** The mapping of a phase after `inspect`, which must be the one that was approved. The caller closes `source`. */
export async function openApproved(
  params: ImportParams,
  context: PhaseContext,
  connection: Connection,
): Promise<MappedSource> {
  const mode = inspectedMode(params, context);
  const mapped = await openMapped(params, context, { connection, mode });
  try {
    assertMapping(params, context, mapped.mapping);
    return mapped;
  } catch (error) {
    mapped.source[Symbol.dispose]();
    throw error;
  }
}

/** Throws PreconditionFailed where the mapping is not the one that was inspected, and so approved. */
function assertMapping(params: ImportParams, context: PhaseContext, mapping: Mapping): void {
  const approved = context.outputs[`${params.step}/inspect`]?.['mappingDigest'];
  if (approved === mapping.digest) return;
  throw fail(
    'PreconditionFailed',
    `The mapping of '${params.source}' is ${mapping.digest.slice(0, 12)}, expected ${typeof approved === 'string' ? approved.slice(0, 12) : 'one from inspect'}: ` +
      `its schema, or the class of cells in a column whose type says nothing, has changed since it was inspected; run again, so that the new one is approved.`,
  );
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
    rowsMax: Math.min(params.chunkRows, LOOK_ROWS),
    signal,
    onRows: (rows) => context.progress({ done: rows, unit: 'rows', detail: `digest of ${params.source}` }),
  });
  return digest;
}

/** Bytes at the head of a database that hold its counter of changes, and of a log that hold its salts. */
const HEAD_BYTES = 100;
/** Bytes at the head of a log's index that every commit changes. */
const INDEX_HEAD_BYTES = 48;

/**
 * What changes whenever anybody writes to the file or puts another in its place: which file it is, size, time, and the
 * counters in the heads of the file, its log and the log's index. Equal marks mean equal data; unequal ones only that somebody has to look.
 */
export async function markSource(params: ImportParams, context: PhaseContext): Promise<string> {
  const { path } = context.target(params.source, 'sqlite');
  const hash = createHash('sha256');
  for (const name of [path, `${path}-wal`]) {
    const file = await ifThere(params.source, open(name, 'r'));
    if (file === undefined) continue;
    try {
      const { mtimeNs, size, ino, dev } = await file.stat({ bigint: true });
      const { buffer, bytesRead } = await file.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
      hash.update(`${name === path} ${mtimeNs} ${size} ${dev} ${ino} `).update(buffer.subarray(0, bytesRead));
    } finally {
      await file.close();
    }
  }
  const index = await ifThere(params.source, open(`${path}-shm`, 'r'));
  if (index !== undefined) {
    try {
      const { buffer, bytesRead } = await index.read(Buffer.alloc(INDEX_HEAD_BYTES), 0, INDEX_HEAD_BYTES, 0);
      hash.update(buffer.subarray(0, bytesRead));
    } finally {
      await index.close();
    }
  }
  return hash.digest('hex');
}
