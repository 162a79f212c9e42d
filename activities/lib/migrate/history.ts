/**
 * What was applied: one row a migration in schema `countdown` of the target, written in the transaction of the migration
 * itself. The row keeps the down that was tried, so that the way back needs no file.
 */
import type { PhaseContext } from '../../phase.ts';
import { type Connection, inTransaction } from '../postgres.ts';
import { refuse } from './codes.ts';
import { compareVersions } from './file-names.ts';

const SETUP_LOCK = 4_927_311;

const TABLE = `
  CREATE SCHEMA IF NOT EXISTS countdown;
  CREATE TABLE IF NOT EXISTS countdown.migration (
    source text NOT NULL, version text NOT NULL, name text NOT NULL, sha256 text NOT NULL, up text, down text, before text,
    run bigint NOT NULL, step text NOT NULL, epoch bigint NOT NULL, seq bigint NOT NULL, xid xid8,
    state text NOT NULL CHECK (state IN ('started', 'done')), "at" timestamptz NOT NULL DEFAULT now(),
    "order" bigint NOT NULL GENERATED ALWAYS AS IDENTITY, PRIMARY KEY (source, version));
`;

export type Applied = {
  version: string;
  name: string;
  sha256: string;
  /** Both directions of a folder's migration, as they were applied and tried. */
  up: string | null;
  down: string | null;
  /** Of a program: the revision before. */
  before: string | null;
  run: number;
  step: string;
  state: 'started' | 'done';
};

export async function makeHistory(connection: Connection): Promise<void> {
  const [row] = await connection.query(`SELECT to_regclass('countdown.migration') IS NOT NULL`);
  if (row?.[0] === 't') return;
  await inTransaction(connection, async () => {
    await connection.client.query(`SELECT pg_advisory_xact_lock(${SETUP_LOCK})`);
    await connection.client.query(TABLE);
  });
}

/** In the order in which they were applied. Empty where nothing ever was; makes nothing. */
export async function readHistory(connection: Connection, source: string): Promise<Applied[]> {
  const [row] = await connection.query(`SELECT to_regclass('countdown.migration') IS NOT NULL`);
  if (row?.[0] !== 't') return [];
  const rows = await connection.query(
    `SELECT version, name, sha256, up, down, before, run, step, state FROM countdown.migration WHERE source = $1 ORDER BY "order"`,
    [source],
  );
  return rows.map(([version, name, sha256, up = null, down = null, before = null, run, step, state]) => ({
    version: version ?? '',
    name: name ?? '',
    sha256: sha256 ?? '',
    up,
    down,
    before,
    run: Number(run),
    step: step ?? '',
    state: state === 'done' ? 'done' : 'started',
  }));
}

/** The rows of this step of this run, the last one first. */
export function ownRows(
  history: readonly Applied[],
  { run, step }: { run: number; step: string },
): Applied[] {
  return history.filter((one) => one.run === run && one.step === step).toReversed();
}

export type NewRow = Pick<Applied, 'version' | 'name' | 'sha256' | 'up' | 'down' | 'before' | 'state'> & {
  source: string;
  step: string;
};

/** Inside the transaction of the migration; `xid` is that of it. Throws Unfinished where the row is another run's. */
export async function addRow(connection: Connection, row: NewRow, context: PhaseContext): Promise<void> {
  const { source, version, name, sha256, up, down, before, step, state } = row;
  const { epoch, seq } = context.fence;
  const written = await connection.query(
    `INSERT INTO countdown.migration AS m (source, version, name, sha256, up, down, before, run, step, epoch, seq, xid, state)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, pg_current_xact_id(), $12)
     ON CONFLICT (source, version) DO UPDATE SET state = excluded.state, epoch = excluded.epoch, seq = excluded.seq, xid = excluded.xid
     WHERE m.run = excluded.run AND m.step = excluded.step RETURNING 1`,
    [source, version, name, sha256, up, down, before, context.run, step, epoch, seq, state],
  );
  if (written.length > 0) return;
  refuse(
    'Unfinished',
    `The history has a row of ${version} of '${source}' that another run wrote, expected none; see that run, then plan again`,
  );
}

export async function dropRow(connection: Connection, source: string, version: string): Promise<void> {
  await connection.query('DELETE FROM countdown.migration WHERE source = $1 AND version = $2', [
    source,
    version,
  ]);
}

const NUMBERS = /^\d+(?:\.\d+)*$/;

/** Where one that was applied has the version; versions of programs are compared as texts, those of folders as numbers. */
export function sameVersion(a: string, b: string): boolean {
  return a === b || (NUMBERS.test(a) && NUMBERS.test(b) && compareVersions(a, b) === 0);
}
