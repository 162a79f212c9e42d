/** What a launch leaves in the world, looked at from outside: application, SQLite file, target database, ledger, journal. */
import { createHash } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';
import { Client } from 'pg';
import type { Client as ApiClient } from '../../cli/client.ts';
import { checkLedger } from '../../examples/piano-keys/ledger.ts';
import type { LedgerCheck } from '../../examples/piano-keys/ledger.ts';
import type { Stack } from '../../scripts/lib/stack.ts';
import { verifyChain } from '../../store/chain.ts';
import type { JournalRow } from '../../store/types.ts';

/** What the generator makes of 3,000 rows; every id above is the writer's, and the writer changes only its own rows. */
const GENERATED = { users: 180, songs: 120, sessions: 2_700 } as const;
type Table = keyof typeof GENERATED;
const TABLES: readonly Table[] = ['users', 'songs', 'sessions'];

const PAGE = 200;

export type WorldState = {
  mode: string;
  /** Names of everything in the target outside the system's schemas and `countdown`. */
  target: string[];
  /** The statements of the SQLite file's schema. */
  source: string[];
};

/** STATE of the world: what a rollback must bring back. */
export async function stateOf(stack: Stack): Promise<WorldState> {
  const relations = await askTarget(
    stack,
    `select n.nspname || '.' || c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'countdown') order by 1`,
  );
  using file = new DatabaseSync(stack.app.sqlite, { readOnly: true });
  return {
    mode: (await readMode(stack)).value,
    target: relations.map(({ name }) => String(name)),
    source: file
      .prepare('select sql from sqlite_master where sql is not null order by 1')
      .all()
      .map(({ sql }) => String(sql)),
  };
}

/** DATA of the source: a digest of every cell that was there before the traffic began. Throws where rows are missing. */
export function sourceDigest(stack: Stack): string {
  using file = new DatabaseSync(stack.app.sqlite, { readOnly: true });
  const hash = createHash('sha256');
  for (const table of TABLES) {
    const statement = file.prepare(`select * from ${table} where id <= ? order by id`);
    // 12 and 12.0 are two values.
    statement.setReadBigInts(true);
    const rows = statement.all(GENERATED[table]);
    assertCount(table, rows.length);
    for (const row of rows) for (const cell of Object.values(row)) hash.update(cellText(cell));
  }
  return hash.digest('hex');
}

function cellText(cell: unknown): string {
  if (cell instanceof Uint8Array) return `blob ${Buffer.from(cell).toString('hex')}\n`;
  return `${typeof cell} ${JSON.stringify(typeof cell === 'bigint' ? String(cell) : cell)}\n`;
}

/** The same rows as the application serves them: the same answer whichever store it reads. */
export async function servedDigest(stack: Stack): Promise<string> {
  const hash = createHash('sha256');
  for (const table of TABLES) {
    let rows = 0;
    for (let after = 0; after < GENERATED[table];) {
      const response = await fetch(`${stack.app.url}/api/${table}?after=${after}&limit=${PAGE}`);
      const page = (await response.json()) as { items: { id: number }[] };
      const items = page.items.filter(({ id }) => id <= GENERATED[table]);
      for (const item of items) hash.update(`${JSON.stringify(item)}\n`);
      rows += items.length;
      after = page.items.at(-1)?.id ?? Infinity;
    }
    assertCount(table, rows);
  }
  return hash.digest('hex');
}

function assertCount(table: Table, found: number): void {
  if (found !== GENERATED[table])
    throw new Error(`${table} has ${found} of its first rows, expected ${GENERATED[table]}.`);
}

/** Rows of each table in the SQLite file and in the target; -1 where there is no such table. */
export async function rowCounts(stack: Stack): Promise<Record<Table, { source: number; target: number }>> {
  using file = new DatabaseSync(stack.app.sqlite, { readOnly: true });
  const counts: Partial<Record<Table, { source: number; target: number }>> = {};
  for (const table of TABLES) {
    const source = Number(file.prepare(`select count(*) as n from ${table}`).get()?.['n']);
    const [row] = await askTarget(stack, `select count(*) as n from public.${table}`).catch(() => []);
    counts[table] = { source, target: Number(row?.['n'] ?? -1) };
  }
  return counts as Record<Table, { source: number; target: number }>;
}

/** Every acknowledged write against what the application says now; the traffic must rest. */
export async function checkWrites(world: {
  stack: Stack;
  ledgers(): readonly string[];
}): Promise<Pick<LedgerCheck, 'acknowledged' | 'present' | 'missing'>> {
  const sum: Pick<LedgerCheck, 'acknowledged' | 'present' | 'missing'> = {
    acknowledged: 0,
    present: 0,
    missing: [],
  };
  for (const ledger of world.ledgers()) {
    const check = await checkLedger({ ledger, url: world.stack.app.url });
    sum.acknowledged += check.acknowledged;
    sum.present += check.present;
    sum.missing.push(...check.missing);
  }
  return sum;
}

export type Evidence = { rows: JournalRow[]; head: { seq: number; hash: string } };

/** The journal of a run out of its evidence. Throws where its chain is not intact. */
export async function intactEvidence(client: ApiClient, run: number): Promise<Evidence> {
  const { rows, head } = await client.evidence(run);
  const journal = rows as JournalRow[];
  const verdict = verifyChain(journal);
  if (!verdict.intact) throw new Error(`The chain of run ${run} is broken: ${verdict.problem}`);
  if (verdict.head.hash !== head.hash || verdict.head.seq !== head.seq)
    throw new Error(
      `The evidence of run ${run} ends at row ${verdict.head.seq}, but its head is row ${head.seq}.`,
    );
  return { rows: journal, head };
}

export async function readMode(stack: Stack): Promise<{ value: string; etag: string }> {
  const response = await fetch(`${stack.app.url}/admin/database`, { headers: bearer(stack) });
  const { value } = (await response.json()) as { value: string };
  return { value, etag: response.headers.get('etag') ?? '' };
}

export async function setMode(stack: Stack, value: string): Promise<void> {
  const { etag } = await readMode(stack);
  const response = await fetch(`${stack.app.url}/admin/database`, {
    method: 'PUT',
    headers: { ...bearer(stack), 'Content-Type': 'application/json', 'If-Match': etag },
    body: JSON.stringify({ value }),
  });
  if (!response.ok) throw new Error(`The mode could not be set to '${value}': ${await response.text()}`);
}

function bearer(stack: Stack): Record<string, string> {
  return { Authorization: `Bearer ${stack.app.adminToken}` };
}

export async function dropTargetTables(stack: Stack): Promise<void> {
  for (const table of TABLES) await askTarget(stack, `drop table if exists public.${table} cascade`);
}

/** One statement in the target database, as its owner. */
export async function askTarget(stack: Stack, sql: string): Promise<Record<string, unknown>[]> {
  const client = new Client({ connectionString: stack.app.postgresUrl });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}
