/** Bearer tokens. Only their sha256 comes here. */
import type { Pool } from 'pg';
import type { TokenRow } from './types.ts';

type Stored = { id: string; person: string; created_at: Date; expires_at: Date };

const RETURNING = 'id, person, created_at, expires_at';

export async function insertToken(
  pool: Pool,
  row: { hash: string; person: string; expiresAt: Date },
): Promise<TokenRow> {
  const { rows } = await pool.query<Stored>(
    `insert into countdown.tokens (hash, person, expires_at) values ($1, $2, $3) returning ${RETURNING}`,
    [row.hash, row.person, row.expiresAt],
  );
  const [stored] = rows;
  if (stored === undefined) throw new Error('The token was not stored.');
  return tokenRow(stored);
}

/** Undefined where unknown, expired or revoked. */
export async function readToken(pool: Pool, hash: string): Promise<TokenRow | undefined> {
  const { rows } = await pool.query<Stored>({
    name: 'token',
    text: `select ${RETURNING} from countdown.tokens
      where hash = $1 and revoked_at is null and expires_at > clock_timestamp()`,
    values: [hash],
  });
  return rows[0] && tokenRow(rows[0]);
}

/** False where there is none, or it is revoked already. */
export async function revokeToken(pool: Pool, id: string): Promise<boolean> {
  const { rowCount } = await pool.query(
    `update countdown.tokens set revoked_at = clock_timestamp() where id::text = $1 and revoked_at is null`,
    [id],
  );
  return rowCount === 1;
}

function tokenRow(stored: Stored): TokenRow {
  return {
    id: stored.id,
    person: stored.person,
    createdAt: stored.created_at.toISOString(),
    expiresAt: stored.expires_at.toISOString(),
  };
}
