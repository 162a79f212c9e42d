/** Bearer tokens. Only their sha256 comes here. */
import type { ClientBase, Pool } from 'pg';
import { appendBeside } from './journal.ts';
import { bodyText } from './text.ts';
import { inTransaction } from './pool.ts';
import type { TokenAudit, TokenRow } from './types.ts';

type Stored = { id: string; person: string; created_at: Date; expires_at: Date };

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const RETURNING = 'id, person, created_at, expires_at';

export async function insertToken(
  pool: Pool | ClientBase,
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

/** The token and the rows that say who made it, all or none. */
export async function issueToken(
  pool: Pool,
  row: { hash: string; person: string; expiresAt: Date },
  audit: TokenAudit,
): Promise<TokenRow> {
  return inTransaction(pool, async (client) => {
    const stored = await insertToken(client, row);
    await writeDown(client, audit, { act: 'created', ...stored });
    return stored;
  });
}

/** Tokens that can be used, newest first; those after the one with the id `before`, where it is given. */
export async function listTokens(
  pool: Pool,
  { limit, before }: { limit: number; before?: string },
): Promise<TokenRow[]> {
  const { rows } = await pool.query<Stored>(
    `select ${RETURNING} from countdown.tokens
    where revoked_at is null and expires_at > clock_timestamp() and ($1::text is null
      or (created_at, id) < (select last.created_at, last.id from countdown.tokens last where last.id::text = $1))
    order by created_at desc, id desc limit $2`,
    [before ?? null, limit],
  );
  return rows.map(tokenRow);
}

export async function readTokenById(pool: Pool, id: string): Promise<TokenRow | undefined> {
  // What is none cannot be looked for: PostgreSQL takes no NUL.
  if (!UUID.test(id)) return undefined;
  const { rows } = await pool.query<Stored>(
    `select ${RETURNING} from countdown.tokens
    where id::text = $1 and revoked_at is null and expires_at > clock_timestamp()`,
    [id],
  );
  return rows[0] && tokenRow(rows[0]);
}

/** False where there is none, or it is revoked already. */
export async function revokeToken(pool: Pool, id: string, audit?: TokenAudit): Promise<boolean> {
  return inTransaction(pool, async (client) => {
    const { rows } = await client.query<Stored>(
      `update countdown.tokens set revoked_at = clock_timestamp() where id::text = $1 and revoked_at is null
      returning ${RETURNING}`,
      [id],
    );
    const [stored] = rows;
    if (stored === undefined) return false;
    if (audit !== undefined) await writeDown(client, audit, { act: 'revoked', ...tokenRow(stored) });
    return true;
  });
}

async function writeDown(
  client: ClientBase,
  { actor, door, environments }: TokenAudit,
  token: TokenRow & { act: 'created' | 'revoked' },
): Promise<void> {
  const { act, id, person, expiresAt } = token;
  const body = bodyText({ act, id, person, expiresAt, door });
  // In one order, so that two who do so at once do not wait for each other.
  for (const environment of [...environments].sort()) {
    await appendBeside(client, 'token', { environment, actor, body });
  }
}

function tokenRow(stored: Stored): TokenRow {
  return {
    id: stored.id,
    person: stored.person,
    createdAt: stored.created_at.toISOString(),
    expiresAt: stored.expires_at.toISOString(),
  };
}
