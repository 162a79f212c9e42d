/**
 * Database roles. `countdown_owner` owns the schema, `countdown_api` and `countdown_worker` are what the two processes may
 * do. None of the three can log in: logins are made members of them. Roles belong to the whole cluster, so several
 * databases may make them at the same moment.
 */
import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto';
import { Client, DatabaseError, escapeIdentifier, escapeLiteral } from 'pg';

export const OWNER = 'countdown_owner';
const GROUPS = [OWNER, 'countdown_api', 'countdown_worker'];
const TRIES = 20;
const PAUSE_MS = 50;

/** Makes the three group roles where they are missing. Throws saying what to run, where the user may not make roles. */
export async function ensureGroups(client: Client): Promise<void> {
  for (const role of GROUPS) await ensureRole(client, role, 'nologin');
}

export type Logins = { api: string; worker: string };

/**
 * Makes the two login roles of a stack and gives back their names, `countdown_api_login` and `countdown_worker_login`,
 * with `suffix` behind them: a cluster that serves several stacks needs several. Existing ones get the passwords anew.
 */
export async function createLogins(
  superuserUrl: string,
  options: { apiPassword: string; workerPassword: string; suffix?: string },
): Promise<Logins> {
  const suffix = options.suffix === undefined ? '' : `_${options.suffix}`;
  const logins = { api: `countdown_api_login${suffix}`, worker: `countdown_worker_login${suffix}` };
  const client = new Client({ connectionString: superuserUrl });
  await client.connect();
  try {
    await ensureGroups(client);
    await ensureLogin(client, logins.api, 'countdown_api', options.apiPassword);
    await ensureLogin(client, logins.worker, 'countdown_worker', options.workerPassword);
  } finally {
    await client.end();
  }
  return logins;
}

async function ensureLogin(client: Client, name: string, group: string, password: string): Promise<void> {
  await ensureRole(client, name, 'login');
  await settle(client, `alter role ${escapeIdentifier(name)} password ${escapeLiteral(verifier(password))}`);
  await settle(client, `grant ${group} to ${escapeIdentifier(name)}`);
}

/** The form in which PostgreSQL keeps a password (SCRAM-SHA-256), so that the password itself can be in no log of its. */
function verifier(password: string): string {
  const iterations = 4096;
  const salt = randomBytes(16);
  const salted = pbkdf2Sync(password.normalize('NFKC'), salt, iterations, 32, 'sha256');
  const key = (name: string): Buffer => createHmac('sha256', salted).update(name).digest();
  const storedKey = createHash('sha256').update(key('Client Key')).digest('base64');
  const serverKey = key('Server Key').toString('base64');
  return `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${storedKey}:${serverKey}`;
}

async function ensureRole(client: Client, role: string, how: 'login' | 'nologin'): Promise<void> {
  const found = await client.query('select from pg_roles where rolname = $1', [role]);
  if (found.rowCount !== 0) return;
  try {
    await settle(client, `create role ${escapeIdentifier(role)} ${how}`);
  } catch (error) {
    if (!(error instanceof DatabaseError) || error.code !== '42501') throw error;
    const wanted = GROUPS.map((one) => `create role ${one} nologin;`).join(' ');
    throw new Error(
      `Role ${role} is missing and this user may not make roles. As a superuser, run: ${wanted} grant ${OWNER} to ${client.user ?? 'this user'};`,
      { cause: error },
    );
  }
}

/** Roles are rows of the cluster: another database that changes the same one makes PostgreSQL refuse, not wait. */
async function settle(client: Client, sql: string): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      await client.query(sql);
      return;
    } catch (error) {
      const { code, message } = error as DatabaseError;
      // Somebody else made it: duplicate_object, or unique_violation when both were at it.
      if (sql.startsWith('create role') && (code === '42710' || code === '23505')) return;
      const isRace = message.includes('concurrently') || code === '23505';
      if (!isRace || tries === TRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS * tries));
    }
  }
}
