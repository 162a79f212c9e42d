/**
 * Makes an API token for a person and prints it once; only its sha256 is stored.
 *
 *   COUNTDOWN_DATABASE_URL=postgres://… node scripts/token.ts PERSON [--expires 30d]
 */
import { createHash, randomBytes } from 'node:crypto';
import { parseArgs } from 'node:util';
import { parseDuration } from '../procedures/units.ts';
import { makeApiStore } from '../store/index.ts';
import { makePool } from '../store/pool.ts';

const TOKEN_BYTES = 32;
const USAGE = 'Write: COUNTDOWN_DATABASE_URL=postgres://… node scripts/token.ts PERSON [--expires 30d]';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { expires: { type: 'string', default: '30d' } },
});
const [person] = positionals;
const url = process.env['COUNTDOWN_DATABASE_URL'];
const expiresMs = parseDuration(values.expires);
if (person === undefined || positionals.length > 1 || url === undefined || expiresMs === undefined) {
  process.stderr.write(`${USAGE}\n`);
  process.exit(2);
}

const token = `cd_${randomBytes(TOKEN_BYTES).toString('base64url')}`;
const pool = makePool(url, { name: 'token' });
try {
  const hash = createHash('sha256').update(token).digest('hex');
  const row = await makeApiStore(pool).insertToken({
    hash,
    person,
    expiresAt: new Date(Date.now() + expiresMs),
  });
  process.stdout.write(`${token}\n`);
  process.stderr.write(`Token ${row.id} of ${person}, good until ${row.expiresAt}. It is not shown again.\n`);
} finally {
  await pool.end();
}
