import type { ClientBase, Pool } from 'pg';

/**
 * Brings the read model of a run back to its beginning and moves it again, row by row, from the journal. Needs the owner's
 * connection: neither process may do it. Rows of the run wait meanwhile.
 */
export async function rebuild(owner: Pool | ClientBase, run: number): Promise<void> {
  await owner.query('select countdown.rebuild($1)', [run]);
}
