/**
 * New columns filled page by page along the primary key. Each page is a transaction of its own with its checkpoint and
 * the fence, takes about as long as it is told, and gives way where replicas fall behind or sessions wait for locks.
 */
import { performance } from 'node:perf_hooks';
import { counted } from '../counted.ts';
import type { PhaseContext, ProbeResult } from '../../phase.ts';
import { fenced, takeOver } from '../fence.ts';
import { type Connection, inTransaction, sqlState, withPostgres } from '../postgres.ts';
import { quote } from '../sqlite.ts';
import { pause } from '../wait.ts';
import { refuse } from './codes.ts';
import { quotedTable } from './judge.ts';
import { withMigrationLock } from './lock.ts';
import type { Backfill, MigrateParams } from './params.ts';
import { asUser } from './session.ts';
import { LOCK_STATES, backoffMs } from './tries.ts';

const ITEM = 'backfill';
const PAGE_ROWS_MAX = 50_000;
const HOLD_POLL_MS = 500;
/** Times that the whole table is gone through: rows that came meanwhile are left to the last one. */
const ROUNDS_MAX = 5;

export type Filled = { rowsFilled: number; pages: number; heldMs: number };

type Key = { columns: string[]; types: string[] };

export async function runBackfill(params: MigrateParams, context: PhaseContext): Promise<Filled> {
  const backfill = backfillOf(params);
  return await withMigrationLock(params.target, context, async (guard) => {
    const key = await keyOf(guard.connection, backfill);
    await assertTrigger(guard.connection, backfill);
    return await withPostgres(params.target, context, async (connection) => {
      await asUser(connection, params, params.lockTimeoutMs);
      const filler = new Filler(connection, guard.connection, key, params, context);
      for (let round = 0; round < ROUNDS_MAX; round += 1) {
        await filler.goThrough();
        const left = await residual(connection, backfill);
        if (left === 0) return await filler.finish();
        await filler.startOver();
      }
      return refuse(
        'BackfillResidual',
        `${await residual(connection, backfill)} rows of ${backfill.table} are still to be filled after ${ROUNDS_MAX} rounds, expected none; new rows come without a value: name a trigger that fills them, then retry`,
      );
    });
  });
}

function backfillOf(params: MigrateParams): Backfill {
  if (params.backfill === undefined) throw new Error('The step has no backfill: this is a bug.');
  return params.backfill;
}

async function keyOf(connection: Connection, { table }: Backfill): Promise<Key> {
  await connection.client.query('RESET search_path');
  const rows = await connection.query(
    `SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_catalog.pg_index i
     CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS part(attnum, place)
     JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = part.attnum
     WHERE i.indrelid = to_regclass($1) AND i.indisprimary ORDER BY part.place`,
    [quotedTable(table)],
  );
  if (rows.length === 0) {
    refuse(
      'BackfillKey',
      `Table ${table} of '${connection.name}' has no primary key or is not there, expected one, along which its pages go; add one first`,
    );
  }
  return { columns: rows.map(([name]) => name ?? ''), types: rows.map(([, type]) => type ?? 'text') };
}

/** Rows that come while the pages go must be filled by somebody. */
async function assertTrigger(connection: Connection, { table, trigger }: Backfill): Promise<void> {
  if (trigger === undefined) return;
  const [row] = await connection.query(
    `SELECT tgenabled FROM pg_catalog.pg_trigger WHERE tgrelid = to_regclass($1) AND tgname = $2 AND NOT tgisinternal`,
    [quotedTable(table), trigger],
  );
  if (row !== undefined && row[0] !== 'D') return;
  const found = row === undefined ? 'there is no such trigger' : 'it is disabled';
  refuse(
    'NoDualWrite',
    `Trigger ${trigger} of ${table} is to fill new rows, and ${found}, expected it on before the first page; make it in a migration above`,
  );
}

async function residual(connection: Connection, { table, where }: Backfill): Promise<number> {
  const [row] = await connection.query(`SELECT count(*) FROM ${quotedTable(table)} WHERE (${where}\n)`);
  return Number(row?.[0] ?? 0);
}

class Filler {
  private readonly connection: Connection;
  private readonly eye: Connection;
  private readonly key: Key;
  private readonly params: MigrateParams;
  private readonly backfill: Backfill;
  private readonly context: PhaseContext;
  private pageRows: number;
  private filled: Filled = { rowsFilled: 0, pages: 0, heldMs: 0 };

  constructor(
    connection: Connection,
    eye: Connection,
    key: Key,
    params: MigrateParams,
    context: PhaseContext,
  ) {
    this.connection = connection;
    this.eye = eye;
    this.key = key;
    this.params = params;
    this.backfill = backfillOf(params);
    this.context = context;
    this.pageRows = this.backfill.pageRows;
  }

  /** From the checkpoint to the last key. */
  async goThrough(): Promise<void> {
    const estimate = await this.estimate();
    for (;;) {
      await this.giveWay();
      const startedAt = performance.now();
      const isOver = await this.page();
      this.adapt(performance.now() - startedAt);
      const { rows } = await checkpoint(this.connection, this.params, this.context);
      const progress = {
        done: rows,
        total: Math.max(estimate, rows),
        unit: 'rows',
        detail: this.backfill.table,
      };
      this.context.progress(progress);
      if (isOver) return;
    }
  }

  async startOver(): Promise<void> {
    await this.save({ lastKey: null, rows: 0, done: false });
  }

  async finish(): Promise<Filled> {
    await this.save({ lastKey: null, rows: 0, done: true });
    const { rows } = await checkpoint(this.connection, this.params, this.context);
    return { ...this.filled, rowsFilled: rows, heldMs: Math.round(this.filled.heldMs) };
  }

  private async estimate(): Promise<number> {
    const [row] = await this.connection.query(
      'SELECT greatest(reltuples, 0)::bigint FROM pg_catalog.pg_class WHERE oid = to_regclass($1)',
      [quotedTable(this.backfill.table)],
    );
    return Number(row?.[0] ?? 0);
  }

  /** One page; true where it was the last. Tried again for locks. */
  private async page(): Promise<boolean> {
    for (let tried = 1; ; tried += 1) {
      try {
        return await fenced(this.connection, this.context, () => this.fillPage());
      } catch (error) {
        if (!LOCK_STATES.includes(sqlState(error) ?? '')) throw error;
        if (tried >= this.params.lockTries) {
          refuse(
            'LockTimeout',
            `A page of ${this.backfill.table} did not get its rows in ${tried} tries of ${this.params.lockTimeoutMs} ms, expected them to be free; look who holds them, then retry`,
            error,
          );
        }
        this.pageRows = Math.max(1, Math.floor(this.pageRows / 2));
        await pause(backoffMs(tried, this.params.lockTimeoutMs), this.context.signal);
      }
    }
  }

  private async fillPage(): Promise<boolean> {
    const { table, set, where } = this.backfill;
    const { lastKey } = await checkpoint(this.connection, this.params, this.context);
    const keys = this.key.columns.map(quote);
    const after = lastKey === null ? null : (JSON.parse(lastKey) as string[]);
    const isAfter =
      after === null
        ? ''
        : `AND (${keys.join(', ')}) > (${this.key.types.map((type, i) => `$${i + 1}::text::${type}`).join(', ')})`;
    const target = quotedTable(table);
    // Under names of their own, so that an expression may name the key.
    const own = keys.map((_, place) => `countdown_key_${place + 1}`);
    const same = keys.map((key, place) => `filled.${key} = page.${own[place]}`).join(' AND ');
    const sets = Object.entries(set).map(([column, sql]) => `${quote(column)} = (${sql}\n)`);
    const [row] = await this.connection.query(
      `WITH page AS MATERIALIZED (SELECT ${keys.map((key, place) => `${key} AS ${own[place]}`).join(', ')} FROM ${target} WHERE (${where}\n) ${isAfter} ORDER BY ${keys.join(', ')} LIMIT ${this.pageRows} FOR NO KEY UPDATE),
         done AS (UPDATE ${target} AS filled SET ${sets.join(', ')} FROM page WHERE ${same} RETURNING 1)
       SELECT (SELECT count(*) FROM done), (SELECT count(*) FROM page),
         (SELECT jsonb_build_array(${own.map((key) => `${key}::text`).join(', ')})::text FROM page ORDER BY ${own.map((key) => `${key} DESC`).join(', ')} LIMIT 1)`,
      after ?? [],
    );
    const [filled = '0', read = '0', last = null] = row ?? [];
    if (Number(read) === 0) return true;
    await this.put({ lastKey: last, rows: Number(filled), done: false });
    this.filled.rowsFilled += Number(filled);
    this.filled.pages += 1;
    return false;
  }

  private adapt(tookMs: number): void {
    const { pageTimeMs } = this.backfill;
    const factor = Math.min(2, Math.max(0.5, pageTimeMs / Math.max(1, tookMs)));
    this.pageRows = Math.max(1, Math.min(PAGE_ROWS_MAX, Math.round(this.pageRows * factor)));
  }

  /** Between two pages nothing of ours holds a lock, so waiting harms nobody. */
  private async giveWay(): Promise<void> {
    for (let why = await this.whyHeld(); why !== undefined; why = await this.whyHeld()) {
      const startedAt = performance.now();
      const { rows } = await checkpoint(this.connection, this.params, this.context);
      this.context.progress({ done: rows, unit: 'rows', detail: `held: ${why}` });
      await pause(HOLD_POLL_MS, this.context.signal);
      this.filled.heldMs += performance.now() - startedAt;
    }
  }

  private async whyHeld(): Promise<string | undefined> {
    const { maxLagMs, maxBlocked, holdWhile } = this.backfill;
    if (await this.context.isPaused()) return 'the run is paused';
    const [row] = await this.eye.query(
      `SELECT (SELECT coalesce(max(extract(epoch FROM replay_lag) * 1000), 0)::bigint FROM pg_catalog.pg_stat_replication),
        (SELECT count(DISTINCT l.pid) FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid WHERE NOT l.granted AND a.datname = current_database())`,
    );
    const [lagMs = '0', blocked = '0'] = row ?? [];
    if (Number(lagMs) > maxLagMs) return `a replica is ${lagMs} ms behind`;
    if (Number(blocked) > maxBlocked) return `${blocked} sessions wait for a lock`;
    if (holdWhile === undefined) return undefined;
    const [answer] = await inTransaction(this.eye, () => this.eye.query(holdWhile), 'READ ONLY');
    return answer?.[0] === 't' || answer?.[0] === 'true' ? 'holdWhile says so' : undefined;
  }

  private async save(row: Checkpoint): Promise<void> {
    await fenced(this.connection, this.context, () => this.put(row));
  }

  private async put({ lastKey, rows, done }: Checkpoint): Promise<void> {
    await this.connection.query(
      `INSERT INTO countdown.checkpoint AS c (run, step, item, last_key, rows, done) VALUES ($1, $2, '${ITEM}', $3, $4, $5)
       ON CONFLICT (run, step, item) DO UPDATE SET last_key = excluded.last_key, rows = c.rows + excluded.rows, done = excluded.done`,
      [this.context.run, this.params.step, lastKey, rows, String(done)],
    );
  }
}

type Checkpoint = { lastKey: string | null; rows: number; done: boolean };

async function checkpoint(
  connection: Connection,
  { step }: MigrateParams,
  { run }: PhaseContext,
): Promise<Checkpoint & { isBegun: boolean }> {
  const [row] = await connection.query(
    `SELECT last_key, rows, done FROM countdown.checkpoint WHERE run = $1 AND step = $2 AND item = '${ITEM}'`,
    [run, step],
  );
  if (row === undefined) return { lastKey: null, rows: 0, done: false, isBegun: false };
  return { lastKey: row[0] ?? null, rows: Number(row[1]), done: row[2] === 't', isBegun: true };
}

export async function probeBackfill(params: MigrateParams, context: PhaseContext): Promise<ProbeResult> {
  return await withPostgres(params.target, context, async (connection) => {
    await takeOver(connection, context);
    const { isBegun, done, rows } = await checkpoint(connection, params, context);
    const summary = `${counted(rows, 'row')} filled`;
    if (!isBegun) return { answer: 'no', summary };
    return { answer: done ? 'yes' : 'partly', summary };
  });
}

/** The values stay where they are and go with their columns; only the checkpoint goes, so that another run begins anew. */
export async function undoBackfill(params: MigrateParams, context: PhaseContext): Promise<number> {
  return await withPostgres(params.target, context, async (connection) => {
    await takeOver(connection, context);
    const { rows } = await checkpoint(connection, params, context);
    await fenced(connection, context, async () => {
      await connection.query(
        `DELETE FROM countdown.checkpoint WHERE run = $1 AND step = $2 AND item = '${ITEM}'`,
        [context.run, params.step],
      );
    });
    return rows;
  });
}
