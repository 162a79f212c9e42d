/**
 * Fingerprints: what a target is like, taken before the first effect and again after unwinding.
 *
 *   sqlite     STATE: every statement of the schema, and user_version. DATA of a file in use is digested where its
 *              writes are held, so here it is null
 *   postgres   STATE: the catalog outside the system's schemas and `countdown`. DATA: every row; null without tables
 *   switch     STATE: its value
 *   migrations STATE: always the same, as nothing in it is ever changed
 */
import { counted } from './lib/counted.ts';
import type { FingerprintTake } from './phase.ts';
import { fingerprintDatabase, fingerprintState } from './lib/catalog.ts';
import { withPostgres } from './lib/postgres.ts';
import { openSource, whenFree } from './lib/sqlite.ts';
import { schemaDigest } from './lib/sqlite-schema.ts';
import { openSwitch } from './lib/switch-client.ts';

/** `rows: false`: others write meanwhile, so that only STATE can be compared. */
type FingerprintParams = { target: string; rows?: false };

const sqlite: FingerprintTake<FingerprintParams> = async (params, context) => {
  using source = await openSource(params.target, context);
  const state = await whenFree(source.name, context.signal, () => schemaDigest(source.db));
  return { state, data: null, summary: `schema ${state.slice(0, 12)}` };
};

const postgres: FingerprintTake<FingerprintParams> = (params, context) =>
  withPostgres(params.target, context, async (connection) => {
    if (params.rows === false) {
      const state = await fingerprintState(connection);
      return { state, data: null, summary: `schema ${state.slice(0, 12)}` };
    }
    const { state, data, tables, rows } = await fingerprintDatabase(connection);
    return {
      state,
      data,
      summary: tables === 0 ? 'no tables' : `${counted(tables, 'table')}, ${counted(rows, 'row')}`,
    };
  });

const readSwitch: FingerprintTake<FingerprintParams> = async (params, context) => {
  const client = await openSwitch(params.target, context);
  const { value } = await client.read();
  return { state: value, data: null, summary: `says ${value}` };
};

const migrations: FingerprintTake<FingerprintParams> = async (params, context) => {
  context.target(params.target, 'migrations');
  context.signal.throwIfAborted();
  return { state: 'read only', data: null, summary: 'only read' };
};

export const fingerprint = { sqlite, postgres, switch: readSwitch, migrations };
