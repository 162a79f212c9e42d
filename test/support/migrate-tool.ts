/**
 * A program that migrates by itself, as somebody might have written it: up REVISION, down REVISION, probe. LAZY makes it
 * say that all is well without doing anything, GARBLED is what its probe writes, and
 * MY_URL an address that it likes better than DATABASE_URL.
 */
import { Client } from 'pg';

const [, , verb = '', wanted = ''] = process.argv;
const client = new Client({ connectionString: process.env['MY_URL'] ?? process.env['DATABASE_URL'] ?? '' });
await client.connect();
const now = await revision();
if (verb === 'probe') {
  const pending = [1, 2].filter((one) => one > now).map(String);
  const said = JSON.stringify({ revision: now === 0 ? null : String(now), pending });
  process.stdout.write(process.env['GARBLED'] ?? said);
} else if (process.env['LAZY'] === undefined) {
  const goal = wanted === 'base' ? 0 : Number(wanted);
  await client.query('BEGIN; CREATE TABLE IF NOT EXISTS tool_state (revision int); DELETE FROM tool_state');
  await client.query(goal > now ? `CREATE TABLE made_${goal} (id bigint)` : `DROP TABLE made_${now}`);
  if (goal > 0) await client.query('INSERT INTO tool_state VALUES ($1)', [goal]);
  await client.query('COMMIT');
}
await client.end();

async function revision(): Promise<number> {
  const { rows: found } = await client.query<{ there: boolean }>(
    `SELECT to_regclass('tool_state') IS NOT NULL AS there`,
  );
  if (found[0]?.there !== true) return 0;
  const { rows } = await client.query<{ revision: number }>('SELECT revision FROM tool_state');
  return rows[0]?.revision ?? 0;
}
