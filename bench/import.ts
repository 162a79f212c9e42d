/**
 * database.import beside pgloader: the copy with its checkpoints and the comparison of every cell, against a load that
 * nobody verifies; the same file, the same server, taking turns. Then the memory of the import by the size of the file.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { startPostgres } from '../scripts/lib/postgres.ts';
import type { Postgres } from '../scripts/lib/postgres.ts';
import { makeFolder, stopAll } from '../scripts/lib/processes.ts';
import { COLUMNS, makeMessages } from './import-rows.ts';
import type { ImportMeasured, ImportWork } from './import-worker.ts';
import { findPgloader, loadByPgloader } from './pgloader.ts';
import { median, table } from './table.ts';

const PARTS = ['pgloader', 'memory'];
const ROWS = 1_000_000;
const MEMORY_MILLIONS = [1, 3, 5];
const MEMORY_MAX_MB = 400;
/** As a step has it that says nothing. */
const CHUNK_ROWS = 5_000;
const SEED = Number(process.env['COUNTDOWN_BENCH_SEED'] ?? 20_261_122);

type Options = { repeats: number; only: readonly string[] };
type World = { folder: string; postgres: Postgres };

function log(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** `only` names the parts to be run; both by default. Throws where there is no such part. */
export async function benchImport({ repeats, only }: Options): Promise<Record<string, number>> {
  const unknown = only.find((part) => !PARTS.includes(part));
  if (unknown !== undefined)
    throw new Error(`The bench has no part '${unknown}', expected one of ${PARTS.join(', ')}.`);
  const isWanted = (part: string): boolean => only.length === 0 || only.includes(part);
  const folder = await makeFolder('countdown-bench-');
  try {
    const postgres = await startPostgres({ folder: join(folder.path, 'postgres'), log });
    const world = { folder: folder.path, postgres };
    const ratios: Record<string, number> = {};
    if (isWanted('pgloader')) ratios['pgloader'] = await compare(world, repeats);
    if (isWanted('memory')) ratios['memory'] = await measureMemory(world);
    return ratios;
  } finally {
    await stopAll();
    await folder.discard();
  }
}

async function compare(world: World, repeats: number): Promise<number> {
  const version = await findPgloader(log);
  const path = await makeFile(world, ROWS);
  const rows = [
    ['pair', 'copy s', 'verify s', 'import s', 'pgloader s', 'ratio', 'peak MB', 'blocked ms', 'load'],
  ];
  const measured: { ours: ImportMeasured; ratio: number }[] = [];
  for (let pair = 1; pair <= repeats; pair += 1) {
    const load = loadavg()[0] ?? 0;
    const first = pair % 2 === 0 ? undefined : await importFile(world, path);
    const theirs = await loadFile(world, path);
    const ours = first ?? (await importFile(world, path));
    const { copy, verify } = ours.phases;
    const ratio = (copy + verify) / theirs;
    measured.push({ ours, ratio });
    rows.push([
      String(pair),
      ...[copy, verify, copy + verify, theirs].map(seconds),
      ratio.toFixed(2),
      megabytes(ours.peakBytes),
      ours.blockedMs.toFixed(0),
      load.toFixed(1),
    ]);
  }
  await rm(path);
  const ratio = median(measured.map((one) => one.ratio));
  process.stdout.write(
    `${ROWS} rows of ${COLUMNS.length} columns, pgloader ${version}, which verifies nothing\n${table(rows)}\n` +
      `ratio ${ratio.toFixed(2)} (aim 0.60, limit 1.00); rows each second: ${ratesOf(measured.map(({ ours }) => ours))}\n` +
      `${measured[0]?.ours.verified}\n`,
  );
  return ratio;
}

const seconds = (ms: number): string => (ms / 1_000).toFixed(1);
const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(0);

/** The median rate of each phase; before them also of the two that the import has before the copy. */
function ratesOf(all: readonly ImportMeasured[]): string {
  return (['inspect', 'hold-writes', 'copy', 'verify'] as const)
    .map((phase) => {
      const rate = ROWS / (median(all.map(({ phases }) => phases[phase])) / 1_000);
      return `${phase} ${Math.round(rate / 1_000)},000`;
    })
    .join(', ');
}

async function makeFile({ folder }: World, rows: number): Promise<string> {
  const path = join(folder, `messages-${rows}.db`);
  log(`bench: making ${rows} rows with seed ${SEED}`);
  makeMessages(path, { rows, seed: SEED });
  return path;
}

/** The peak at each size; as a ratio the largest over the smallest. */
async function measureMemory(world: World): Promise<number> {
  const peaks: number[] = [];
  const rows = [['rows', 'peak MB', 'aim']];
  for (const millions of MEMORY_MILLIONS) {
    const path = await makeFile(world, millions * 1_000_000);
    const { peakBytes } = await importFile(world, path);
    await rm(path);
    peaks.push(peakBytes);
    rows.push([`${millions},000,000`, megabytes(peakBytes), `< ${MEMORY_MAX_MB}`]);
  }
  process.stdout.write(`${table(rows)}\n`);
  return Math.max(...peaks) / Math.min(...peaks);
}

/** Loads into a database of its own; a load that lost rows is no load. */
async function loadFile(world: World, path: string): Promise<number> {
  return withDatabase(world, async (url, ask) => {
    const tookMs = await loadByPgloader(path, url);
    const [found] = await ask('SELECT count(*)::int AS rows FROM messages');
    if (found?.['rows'] !== ROWS)
      throw new Error(`pgloader loaded ${String(found?.['rows'])} rows, expected ${ROWS}.`);
    return tookMs;
  });
}

async function importFile(world: World, path: string): Promise<ImportMeasured> {
  return withDatabase(world, async (url) => {
    const work: ImportWork = { path, url, folder: join(world.folder, 'run'), chunkRows: CHUNK_ROWS };
    const worker = fork(new URL('./import-worker.ts', import.meta.url).pathname, [JSON.stringify(work)], {
      execArgv: (process.env['COUNTDOWN_BENCH_NODE'] ?? '').split(' ').filter((option) => option !== ''),
    });
    const ended = once(worker, 'exit');
    const [answer] = (await Promise.race([
      once(worker, 'message'),
      ended.then(() => [{ failed: 'its process ended' }]),
    ])) as [ImportMeasured | { failed: string }];
    await ended;
    if ('failed' in answer) throw new Error(`The import failed: ${answer.failed}`);
    return answer;
  });
}

type Ask = (sql: string) => Promise<Record<string, unknown>[]>;

/** A fresh database, after a checkpoint, so that no side pays for what the other wrote. */
async function withDatabase<T>({ postgres }: World, use: (url: string, ask: Ask) => Promise<T>): Promise<T> {
  const admin = await connect(postgres.url());
  try {
    await admin.query('CREATE DATABASE bench');
    await admin.query('CHECKPOINT');
    const url = postgres.url('bench');
    return await use(url, async (sql) => {
      const client = await connect(url);
      try {
        return (await client.query<Record<string, unknown>>(sql)).rows;
      } finally {
        await client.end();
      }
    });
  } finally {
    await admin.query('DROP DATABASE IF EXISTS bench WITH (FORCE)');
    await admin.end();
  }
}

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}
