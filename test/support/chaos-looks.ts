/** What a run under faults leaves in the world, against what it says of itself. */
import { readFile } from 'node:fs/promises';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as pause } from 'node:timers/promises';
import { Client as TemporalClient, Connection } from '@temporalio/client';
import { Client } from 'pg';
import type { RunDetailWire } from '../../cli/wire.ts';
import { checkLedger, readLedger } from '../../examples/piano-keys/ledger.ts';
import type { Entry } from '../../examples/piano-keys/ledger.ts';
import { bodyOf, lastRunRow, phaseStates } from './chaos-journal.ts';
import type { Finding, RawRow } from './chaos-journal.ts';
import type { ChaosWorld } from './chaos-world.ts';
import { servedDigest, sourceDigest, stateOf } from './launch-world-looks.ts';
import type { WorldState } from './launch-world-looks.ts';

const GENERATED: Record<string, number> = { sessions: 2_700, songs: 120, users: 180 };
/** How long sessions, leases and the workflow of a run that has ended may take to go. */
const SETTLE_MS = 15_000;
const LOOK_MS = 200;
/** Rows of one run in schema countdown of the target, by table. A launch leaves its checkpoints there. */
const KEPT_OF_SUCCESS = { created: 3, kept: 0, captured: 0, quarantine: 0 };
const KEPT_OF_ROLLBACK = { created: 0, checkpoint: 0, kept: 0, captured: 0, quarantine: 0 };

export type Look = {
  state: WorldState;
  /** Everything else in the target's server that a run could leave behind. */
  inventory: string[];
  /** The first rows, as the file holds them and as the application serves them. */
  source: string;
  served: string;
};

export async function lookAt(world: ChaosWorld): Promise<Look> {
  return {
    state: await stateOf(world.stack),
    inventory: await inventory(world),
    source: sourceDigest(world.stack),
    served: await servedDigest(world.stack),
  };
}

/** Functions also in schema countdown, where those of a capture lie; relations of other schemas are in `state`. */
const INVENTORY_SQL = `
  select 'schema ' || nspname as name from pg_namespace where nspname !~ '^pg_' and nspname not in ('information_schema', 'countdown')
  union all select 'function ' || p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
  union all select 'trigger ' || tgname || ' on ' || tgrelid::regclass::text from pg_trigger where not tgisinternal
  union all select 'type ' || t.oid::regtype::text from pg_type t join pg_namespace n on n.oid = t.typnamespace
    where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'countdown') and t.typrelid = 0 and t.typelem = 0
  union all select 'database ' || datname from pg_database
  union all select 'prepared ' || gid from pg_prepared_xacts
  order by 1`;

async function inventory(world: ChaosWorld): Promise<string[]> {
  return (await askTarget(world, INVENTORY_SQL)).map(({ name }) => String(name));
}

async function askTarget(
  world: ChaosWorld,
  sql: string,
  values: unknown[] = [],
): Promise<Record<string, unknown>[]> {
  const client = new Client({ connectionString: world.stack.app.postgresUrl });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql, values)).rows;
  } finally {
    await client.end();
  }
}

export type Ended = { run: number; rows: readonly RawRow[]; view: RunDetailWire; before: Look };

/** The run as the API shows it, against its journal. */
export function viewFindings({ rows, view }: Pick<Ended, 'rows' | 'view'>): Finding[] {
  const found: Finding[] = [];
  const differs = (what: string, shown: unknown, expected: unknown): void => {
    const [left, right] = [JSON.stringify(shown), JSON.stringify(expected)];
    if (left !== right)
      found.push({ code: 'show-differs', detail: `${what}: show says ${left}, the journal ${right}` });
  };
  const last = lastRunRow(rows);
  const said = last === undefined ? {} : bodyOf(last);
  differs('state', view.state, said['state']);
  if (view.state === 'rolled-back') {
    differs('verified', view.verified, said['verified']);
    differs('notVerified', view.notVerified, said['notVerified']);
    differs('because', view.because, said['because']);
  }
  const states = phaseStates(rows);
  for (const { phase, state } of view.phases) differs(phase, state, states.get(phase) ?? 'pending');
  differs('head', view.head, { seq: rows.at(-1)?.seq, hash: rows.at(-1)?.hash });
  return [...found, ...wordFindings(rows)];
}

/** Sentences that are untrue in every world of the driver: it closes no workflow, and only the application writes. */
function wordFindings(rows: readonly RawRow[]): Finding[] {
  const untrue = [/was closed from outside/, /is not as it was/, /took rows after all was carried back/];
  return rows.flatMap((row) =>
    row.kind === 'asked' || !untrue.some((pattern) => pattern.test(row.body))
      ? []
      : [
          {
            code: 'word-untrue',
            detail: `row ${row.seq} (${row.phase ?? row.kind}): ${row.body.slice(0, 300)}`,
          },
        ],
  );
}

/** The world as it is, against the state that the run claims. The write traffic must rest, and all parts be up. */
export async function worldFindings(world: ChaosWorld, ended: Ended): Promise<Finding[]> {
  const { view } = ended;
  const now = await lookAt(world);
  const isBack = view.state === 'rolled-back' || view.state === 'stopped';
  return [
    ...(isBack ? backFindings(ended, now) : []),
    ...(view.state === 'succeeded' ? launchedFindings(ended, now) : []),
    ...(now.source === ended.before.source
      ? []
      : [{ code: 'data-differs', detail: 'the first rows of the SQLite file have changed' }]),
    ...(now.served === ended.before.served
      ? []
      : [{ code: 'data-differs', detail: 'the application serves other first rows' }]),
    ...(await keptFindings(world, ended)),
    ...(await ledgerFindings(world, now.state.mode)),
  ];
}

function backFindings({ before, view }: Ended, now: Look): Finding[] {
  const found: Finding[] = [];
  const same = (what: string, left: unknown, right: unknown): void => {
    const [is, was] = [JSON.stringify(left), JSON.stringify(right)];
    if (is !== was)
      found.push({
        code: 'world-differs',
        detail: `${view.state}, but ${what} was ${was.slice(0, 400)} and is ${is.slice(0, 400)}`,
      });
  };
  same('the mode', now.state.mode, before.state.mode);
  same('the target', now.state.target, before.state.target);
  same('the source', now.state.source, before.state.source);
  same('the inventory of the target', now.inventory, before.inventory);
  if (view.state === 'rolled-back' && view.verified === true) {
    const unequal = view.targets.filter(({ equal }) => equal !== true).map(({ target }) => target);
    if (unequal.length > 0 || view.notVerified.length > 0)
      found.push({
        code: 'show-differs',
        detail: `verified, but ${unequal.join(', ')} was not compared as equal`,
      });
  }
  if (view.state === 'rolled-back' && view.verified === false && view.notVerified.length === 0)
    found.push({ code: 'show-differs', detail: 'not verified, and no target is named' });
  return found;
}

function launchedFindings({ before, view }: Ended, now: Look): Finding[] {
  const found: Finding[] = [];
  if (now.state.mode !== 'postgres')
    found.push({
      code: 'world-differs',
      detail: `succeeded, but the application is in mode ${now.state.mode}`,
    });
  if (view.verdict !== 'pass')
    found.push({ code: 'show-differs', detail: `succeeded with verdict ${view.verdict}` });
  const undone = view.phases
    .filter(({ state }) => state !== 'done')
    .map(({ phase, state }) => `${phase} ${state}`);
  if (undone.length > 0) found.push({ code: 'show-differs', detail: `succeeded with ${undone.join(', ')}` });
  const kinds = /^(function|trigger|schema|database|prepared)/;
  const known = new Set(before.inventory);
  const left = now.inventory.filter((name) => kinds.test(name) && !known.has(name));
  if (left.length > 0) found.push({ code: 'leftover', detail: `in the target's server: ${left.join(', ')}` });
  return found;
}

/** Rows of the run in schema countdown of the target. A stuck run may need them. */
async function keptFindings(world: ChaosWorld, { run, rows, view }: Ended): Promise<Finding[]> {
  if (view.state === 'stuck') return [];
  const expected = view.state === 'succeeded' ? KEPT_OF_SUCCESS : KEPT_OF_ROLLBACK;
  const found: Finding[] = [];
  const there = await askTarget(
    world,
    `select relname from pg_class where relnamespace = to_regnamespace('countdown') and relkind = 'r'`,
  );
  for (const [table, count] of Object.entries(expected)) {
    const isThere = there.some(({ relname }) => relname === table);
    const [row] = isThere
      ? await askTarget(
          world,
          `select count(*)::int as n, string_agg(left(t::text, 120), '; ') as rows from countdown.${table} t where run = $1`,
          [run],
        )
      : [];
    const n = Number(row?.['n'] ?? 0);
    if (n !== count)
      found.push({
        code: 'leftover',
        detail: `countdown.${table} of the target has ${n} rows of the run, expected ${count}: ${JSON.stringify(row?.['rows'])}`,
      });
  }
  const touched = rows.some((row) => row.kind === 'intent' && row.phase === 'database/copy');
  if (touched) found.push(...(await fenceFindings(world, run)));
  return found;
}

async function fenceFindings(world: ChaosWorld, run: number): Promise<Finding[]> {
  const fences = await askTarget(world, 'select target, epoch::int as epoch from countdown.fence order by 1');
  const [own] =
    (await world.ask<{ epoch: number }>('select epoch::int as epoch from countdown.runs where run = $1', [
      run,
    ])) ?? [];
  const isExpected =
    fences.length === 1 && fences[0]?.['target'] === 'app-postgres' && fences[0]['epoch'] === own?.epoch;
  if (isExpected) return [];
  return [
    {
      code: 'leftover',
      detail: `fences ${JSON.stringify(fences)}, expected one of app-postgres with epoch ${own?.epoch}`,
    },
  ];
}

/** Leases, sessions and the workflow of a run that has ended, with some time to go. */
export async function goneFindings(
  world: ChaosWorld,
  { run, view }: Pick<Ended, 'run' | 'view'>,
): Promise<Finding[]> {
  if (view.state === 'stuck') return leaseFindings(world, run, 'stuck');
  const deadline = Date.now() + SETTLE_MS;
  for (;;) {
    const found = [
      ...(await leaseFindings(world, run, view.state)),
      ...(await sessionFindings(world)),
      ...(await workflowFindings(world, run)),
    ];
    if (found.length === 0 || Date.now() > deadline) return found;
    await pause(LOOK_MS);
  }
}

async function leaseFindings(world: ChaosWorld, run: number, state: string): Promise<Finding[]> {
  const leases =
    (await world.ask<{ target: string }>('select target from countdown.leases where run = $1', [run])) ?? [];
  if (state === 'stuck')
    return leases.length > 0 ? [] : [{ code: 'lease', detail: 'the stuck run holds no lease any more' }];
  return leases.length === 0
    ? []
    : [
        {
          code: 'lease',
          detail: `the run has ended and holds ${leases.map(({ target }) => target).join(', ')}`,
        },
      ];
}

async function sessionFindings(world: ChaosWorld): Promise<Finding[]> {
  const sessions = await askTarget(
    world,
    `select application_name, state, left(query, 80) as query from pg_stat_activity where application_name like 'countdown %'`,
  );
  const locks = await askTarget(world, `select pid from pg_locks where locktype = 'advisory'`);
  return [
    ...(sessions.length === 0
      ? []
      : [{ code: 'leftover', detail: `sessions in the target: ${JSON.stringify(sessions)}` }]),
    ...(locks.length === 0
      ? []
      : [{ code: 'leftover', detail: `advisory locks in the target: ${JSON.stringify(locks)}` }]),
  ];
}

async function workflowFindings(world: ChaosWorld, run: number): Promise<Finding[]> {
  const connection = await Connection.connect({ address: world.stack.temporalAddress });
  try {
    const client = new TemporalClient({ connection, namespace: 'default' });
    const { status } = await client.workflow.getHandle(`run/${run}`).describe();
    return status.name === 'COMPLETED'
      ? []
      : [{ code: 'workflow', detail: `the run has ended and its workflow is ${status.name}` }];
  } finally {
    await connection.close();
  }
}

/** Every acknowledged write is in the store that the application reads, and it holds no row that was never sent. */
export async function ledgerFindings(world: ChaosWorld, mode: string): Promise<Finding[]> {
  const check = await checkLedger({ ledger: world.ledger(), url: world.stack.app.url });
  const found: Finding[] = check.missing.map((one) => ({
    code: 'write-lost',
    detail: `${one.table} ${one.id}: acknowledged ${JSON.stringify(one.expected)}, the application says ${JSON.stringify(one.found)}`,
  }));
  const entries = await readLedger(world.ledger());
  for (const table of Object.keys(GENERATED)) {
    const ids = new Set(await storedIds(world, mode, table));
    found.push(
      ...storedFindings(
        table,
        ids,
        entries.filter((entry) => entry.table === table),
      ),
    );
  }
  return found;
}

/** Ids above the generated ones, read from the store itself. */
async function storedIds(world: ChaosWorld, mode: string, table: string): Promise<number[]> {
  const sql = `select id from ${table} where id > ${GENERATED[table]}`;
  if (mode.startsWith('postgres')) return (await askTarget(world, sql)).map(({ id }) => Number(id));
  using file = new DatabaseSync(world.stack.app.sqlite, { readOnly: true });
  return file
    .prepare(sql)
    .all()
    .map(({ id }) => Number(id));
}

/** Ids in the store against the story of each row in the ledger. */
export function storedFindings(
  table: string,
  ids: ReadonlySet<number>,
  entries: readonly Entry[],
): Finding[] {
  const found: Finding[] = [];
  const known = new Map<number, Entry[]>();
  for (const entry of entries) {
    if (entry.id === null || entry.outcome === 'refused') continue;
    known.set(entry.id, [...(known.get(entry.id) ?? []), entry]);
  }
  for (const [id, story] of known) {
    const last = story.at(-1);
    const isRemoved = last?.operation === 'remove';
    // An answer that did not come leaves both open.
    if (last?.outcome === 'unknown' && isRemoved) continue;
    if (ids.has(id) === isRemoved)
      found.push({
        code: 'write-lost',
        detail: `${table} ${id} is ${isRemoved ? 'still there' : 'not there'}, last acknowledged: ${last?.operation}`,
      });
  }
  const unknown = entries.filter(
    ({ operation, outcome }) => operation === 'create' && outcome === 'unknown',
  ).length;
  const invented = [...ids].filter((id) => !known.has(id));
  if (invented.length > unknown)
    found.push({
      code: 'row-invented',
      detail: `${table} has ${invented.length} rows that no acknowledged write made, and ${unknown} creations without an answer: ${invented.slice(0, 10).join(', ')}`,
    });
  return found;
}

/** What the workers wrote into their logs that breaks a law by itself. */
export async function logFindings(logFiles: readonly { file: string; from: number }[]): Promise<Finding[]> {
  const found: Finding[] = [];
  for (const { file, from } of logFiles) {
    const text = (await readFile(file, 'utf8').catch(() => '')).slice(from);
    const line = text.split('\n').find((one) => /TMPRL1100|[Nn]ondeterminism/.test(one));
    if (line !== undefined) found.push({ code: 'replay-broken', detail: line.slice(0, 600) });
  }
  return found;
}
