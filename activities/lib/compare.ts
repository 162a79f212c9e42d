/**
 * Every cell of the source against every cell of the target, in one text for both sides and in bounded memory.
 *
 *   a table with a primary key    both sides in key order, chunk by chunk; equal digests are equal chunks, and in others
 *                                 rows are matched by key, so that one missing row does not hide the rest
 *   a table without one           both sides as a bag: sums of row digests in 1,024 buckets; the rows of buckets that
 *                                 differ are read again
 */
import { createHash } from 'node:crypto';
import { StringDecoder } from 'node:string_decoder';
import { to as copyTo } from 'pg-copy-streams';
import { CARRIERS, NULL_FIELD, unescapeField } from './cells.ts';
import type { TargetType } from './cells.ts';
import { fail } from './fail.ts';
import type { MappedTable } from './mapping.ts';
import type { Connection } from './postgres.ts';
import { encodePage, offendersText, shorten } from './rows.ts';
import { quote, readPages } from './sqlite.ts';
import type { Source } from './sqlite.ts';
import { breathe } from './wait.ts';

/** Differences that are named; further ones are counted. */
export const DIFFERENCES_NAMED_MAX = 10;
/** Rows that are kept while their partner is looked for. */
const STRAYS_MAX = 20_000;
const BUCKETS = 1024;

export type Comparison = {
  /** Cells of rows that stand on both sides. */
  cellsCompared: number;
  rowsSource: number;
  /** sha256 over the digests of all chunks of the source. */
  digest: string;
  /** In words, at most DIFFERENCES_NAMED_MAX. */
  differences: string[];
  differencesTotal: number;
};

type Work = {
  source: Source;
  target: Connection;
  table: MappedTable;
  chunkRows: number;
  signal: AbortSignal;
  onRows?: (rows: number) => void;
};

/** Compares one table. Must run inside a transaction of the target that sees one snapshot. */
export async function compareTable(work: Work): Promise<Comparison> {
  const found: Comparison = {
    cellsCompared: 0,
    rowsSource: 0,
    digest: '',
    differences: [],
    differencesTotal: 0,
  };
  const digest = createHash('sha256');
  if (hasOrderedKey(work.table)) await compareInOrder(work, found, digest);
  else await compareAsBag(work, found, digest);
  found.digest = digest.digest('hex');
  return found;
}

/** Types whose order is the same in SQLite and in PostgreSQL. */
const ORDERED: TargetType[] = ['bigint', 'text', 'bytea', 'boolean', 'date', 'numeric', 'double precision'];

function hasOrderedKey(table: MappedTable): boolean {
  const { primaryKey } = table.source;
  if (primaryKey === null) return false;
  return primaryKey.every((name) => ORDERED.includes(typeOf(table, name)));
}

function typeOf(table: MappedTable, name: string): TargetType {
  const column = table.columns.find((one) => one.name === name);
  if (column === undefined) throw new Error(`Table ${table.source.name} has no column ${name}.`);
  return column.type;
}

async function compareInOrder(
  work: Work,
  found: Comparison,
  digest: ReturnType<typeof createHash>,
): Promise<void> {
  const target = readLines(work, keyOrder(work.table));
  const strays = new Strays(work.table, found);
  try {
    for await (const source of readSource(work, 'key')) {
      const other = await target.take(source.length);
      const [sourceDigest, otherDigest] = [chunkDigest(source), chunkDigest(other)];
      digest.update(sourceDigest);
      found.rowsSource += source.length;
      if (sourceDigest === otherDigest) found.cellsCompared += source.length * work.table.columns.length;
      else strays.match(source, other);
      work.onRows?.(found.rowsSource);
    }
    for (
      let rest = await target.take(work.chunkRows);
      rest.length > 0;
      rest = await target.take(work.chunkRows)
    ) {
      strays.match([], rest);
    }
  } finally {
    target.close();
  }
  strays.settle();
}

function chunkDigest(lines: string[]): string {
  return createHash('sha256').update(lines.join('\n')).digest('hex');
}

function keyOrder(table: MappedTable): string {
  const keys = table.source.primaryKey ?? [];
  return keys.map((name) => quote(name) + (typeOf(table, name) === 'text' ? ' COLLATE "C"' : '')).join(', ');
}

/** The lines of the source, page by page. A cell that cannot be carried ends it: no comparison could be exact. */
async function* readSource(work: Work, order: 'key' | 'storage'): AsyncGenerator<string[]> {
  const pages = readPages(work.source, work.table.source, {
    order,
    rowsMax: work.chunkRows,
    signal: work.signal,
  });
  for await (const page of pages) {
    const { lines, offenders, offendersTotal } = encodePage(work.source, work.table, page);
    if (offendersTotal > 0) {
      throw fail(
        'VerificationFailed',
        `'${work.source.name}' holds what cannot be compared: ${offendersText(offenders, offendersTotal)}.`,
      );
    }
    yield lines;
  }
}

type Lines = { take(count: number): Promise<string[]>; close(): void };

/** The lines of the target by COPY OUT, as the source would have written them. */
function readLines(work: Work, order: string): Lines {
  const { table } = work;
  const columns = table.columns.map((column) => quote(column.name)).join(', ');
  const sql = `SELECT ${columns} FROM public.${quote(table.source.name)}${order === '' ? '' : ` ORDER BY ${order}`}`;
  const stream = work.target.client.query(copyTo(`COPY (${sql}) TO STDOUT`));
  const chunks = stream[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  const normalize = normalizer(table);
  const decoder = new StringDecoder('utf8');
  let lines: string[] = [];
  let place = 0;
  let open = '';
  const fill = async (): Promise<boolean> => {
    const { done, value } = await chunks.next();
    if (done === true) return false;
    const parts = (open + decoder.write(value)).split('\n');
    open = parts.pop() ?? '';
    lines = place >= lines.length ? parts : [...lines.slice(place), ...parts];
    place = 0;
    return true;
  };
  return {
    async take(count) {
      while (lines.length - place < count && (await fill())) work.signal.throwIfAborted();
      const taken = lines.slice(place, place + count);
      place += taken.length;
      return normalize === undefined ? taken : taken.map(normalize);
    },
    // Only an error leaves lines unread; the session is closed after it.
    close: () => void (stream.readableEnded || stream.destroy()),
  };
}

/** Makes a line of PostgreSQL the line that the source has for equal cells; undefined where they are the same. */
function normalizer(table: MappedTable): ((line: string) => string) | undefined {
  const fields = table.columns.map((column) => CARRIERS[column.type].normalize);
  if (fields.every((field) => field === undefined)) return undefined;
  return (line) =>
    line
      .split('\t')
      .map((field, place) => (field === NULL_FIELD ? field : (fields[place]?.(field) ?? field)))
      .join('\t');
}

/** Rows of both sides whose partner has not come yet, by key. */
class Strays {
  readonly #table: MappedTable;
  readonly #found: Comparison;
  readonly #keys: number[];
  readonly #source = new Map<string, string>();
  readonly #target = new Map<string, string>();

  constructor(table: MappedTable, found: Comparison) {
    this.#table = table;
    this.#found = found;
    this.#keys = (table.source.primaryKey ?? []).map((name) =>
      table.columns.findIndex((column) => column.name === name),
    );
  }

  match(source: string[], target: string[]): void {
    for (const line of source) this.#source.set(this.#keyOf(line), line);
    for (const line of target) this.#target.set(this.#keyOf(line), line);
    for (const [key, line] of this.#source) {
      const other = this.#target.get(key);
      if (other === undefined) continue;
      this.#source.delete(key);
      this.#target.delete(key);
      this.#found.cellsCompared += this.#table.columns.length;
      if (other !== line) this.#differ(key, line, other);
    }
    if (this.#source.size + this.#target.size > STRAYS_MAX) this.settle();
  }

  /** Whoever has no partner now gets none. */
  settle(): void {
    for (const key of this.#source.keys()) note(this.#found, `${this.#label(key)} is missing in the target`);
    for (const key of this.#target.keys()) note(this.#found, `${this.#label(key)} is in the target only`);
    this.#source.clear();
    this.#target.clear();
  }

  #keyOf(line: string): string {
    const fields = line.split('\t');
    return this.#keys.map((place) => fields[place] ?? '').join('\t');
  }

  #label(key: string): string {
    const names = this.#table.source.primaryKey ?? [];
    const fields = key.split('\t');
    return `${this.#table.source.name} ${names.map((name, place) => `${name}=${show(fields[place])}`).join(' ')}`;
  }

  #differ(key: string, line: string, other: string): void {
    const [mine, theirs] = [line.split('\t'), other.split('\t')];
    for (const [place, column] of this.#table.columns.entries()) {
      if (mine[place] === theirs[place]) continue;
      note(
        this.#found,
        `${this.#label(key)} ${column.name}: source ${show(mine[place])}, target ${show(theirs[place])}`,
      );
    }
  }
}

function note(found: Comparison, difference: string): void {
  found.differencesTotal += 1;
  if (found.differences.length < DIFFERENCES_NAMED_MAX) found.differences.push(difference);
}

function show(field: string | undefined): string {
  return field === undefined || field === NULL_FIELD ? 'NULL' : shorten(unescapeField(field));
}

/** Sums of row digests by bucket: equal bags have equal sums whatever their order. */
class Bag {
  readonly counts = new Uint32Array(BUCKETS);
  readonly sums = new Uint32Array(BUCKETS * 7);

  add(line: string): void {
    const hash = createHash('sha256').update(line).digest();
    const bucket = bucketOf(hash);
    this.counts[bucket] = (this.counts[bucket] ?? 0) + 1;
    for (let lane = 0; lane < 7; lane += 1) {
      const place = bucket * 7 + lane;
      this.sums[place] = (this.sums[place] ?? 0) + hash.readUInt32LE(4 + lane * 4);
    }
  }

  /** Buckets in which the other differs. */
  differing(other: Bag): Set<number> {
    const found = new Set<number>();
    for (let bucket = 0; bucket < BUCKETS; bucket += 1) {
      if (this.counts[bucket] !== other.counts[bucket]) found.add(bucket);
      for (let place = bucket * 7; place < bucket * 7 + 7; place += 1) {
        if (this.sums[place] !== other.sums[place]) found.add(bucket);
      }
    }
    return found;
  }
}

function bucketOf(hash: Buffer): number {
  return hash.readUInt32LE(0) % BUCKETS;
}

async function compareAsBag(
  work: Work,
  found: Comparison,
  digest: ReturnType<typeof createHash>,
): Promise<void> {
  const [source, target] = [new Bag(), new Bag()];
  let rowsTarget = 0;
  for await (const lines of readSource(work, 'storage')) {
    for (const line of lines) source.add(line);
    found.rowsSource += lines.length;
    work.onRows?.(found.rowsSource);
  }
  for await (const lines of readTarget(work)) {
    for (const line of lines) target.add(line);
    rowsTarget += lines.length;
  }
  digest.update(source.sums).update(source.counts);
  const buckets = source.differing(target);
  if (buckets.size > 0) await nameStrayRows(work, found, buckets);
  const paired = Math.min(found.rowsSource, rowsTarget);
  found.cellsCompared += paired * work.table.columns.length;
}

async function* readTarget(work: Work): AsyncGenerator<string[]> {
  const lines = readLines(work, '');
  try {
    for (;;) {
      const taken = await lines.take(work.chunkRows);
      if (taken.length === 0) return;
      yield taken;
      await breathe(work.signal);
    }
  } finally {
    lines.close();
  }
}

async function nameStrayRows(work: Work, found: Comparison, buckets: Set<number>): Promise<void> {
  const balance = new Map<string, number>();
  const count = (line: string, by: number): void => {
    if (!buckets.has(bucketOf(createHash('sha256').update(line).digest()))) return;
    const now = (balance.get(line) ?? 0) + by;
    if (now === 0) balance.delete(line);
    else if (balance.size < STRAYS_MAX || balance.has(line)) balance.set(line, now);
  };
  for await (const lines of readSource(work, 'storage')) for (const line of lines) count(line, 1);
  for await (const lines of readTarget(work)) for (const line of lines) count(line, -1);
  for (const [line, by] of balance) {
    const cells = line.split('\t').map((field, place) => `${work.table.columns[place]?.name}=${show(field)}`);
    const side = by > 0 ? 'is missing in the target' : 'is in the target only';
    for (let times = Math.abs(by); times > 0; times -= 1)
      note(found, `${work.table.source.name} (${cells.join(', ')}) ${side}`);
  }
  // Sums differed, so a difference there is, even where too many rows hid which.
  if (balance.size === 0)
    note(found, `${work.table.source.name} differs in ${buckets.size} of ${BUCKETS} groups of rows`);
}
