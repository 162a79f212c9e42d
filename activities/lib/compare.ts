/**
 * Every cell of the source against every cell of the target, in one text for both sides and in bounded memory.
 *
 *   a table with a primary key    both sides in key order, as the bytes that PostgreSQL sends; where they differ, again as
 *                                 text, chunk by chunk: equal bytes are equal chunks, and in others rows are matched by
 *                                 key, so that one missing row does not hide the rest
 *   a table without one           both sides as a bag: sums of row digests in 1,024 buckets; the rows of buckets that
 *                                 differ are read again
 */
import { createHash } from 'node:crypto';
import { fail } from './fail.ts';
import { compareBytes } from './import/compare-bytes.ts';
import { NULL_FIELD, carrierOf, unescapeField } from './import/encoding.ts';
import type { Encoding } from './import/encoding.ts';
import { Offenders, shorten } from './import/offenders.ts';
import { placeOf } from './import/statements.ts';
import { readTargetLines } from './import/target-lines.ts';
import type { TargetLines } from './import/target-lines.ts';
import type { MappedTable } from './mapping.ts';
import type { Connection } from './postgres.ts';
import { encodePage } from './rows.ts';
import type { Quarantined } from './rows.ts';
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
  /** sha256 over the fields of the source. */
  digest: string;
  /** Cells that must be kept beside the table. */
  quarantined: Quarantined[];
  /** In words, at most DIFFERENCES_NAMED_MAX. */
  differences: string[];
  differencesTotal: number;
};

export type CompareWork = {
  source: Source;
  target: Connection;
  table: MappedTable;
  /** The relation of the target, where it is not the table itself. */
  relation?: string;
  /** Only so many rows of the source, from its first one on. */
  rowsMax?: number;
  chunkRows: number;
  signal: AbortSignal;
  onRows?: (rows: number) => void;
};

/** Compares one table. Must run inside a transaction of the target that sees one snapshot. */
export async function compareTable(work: CompareWork): Promise<Comparison> {
  const found: Comparison = {
    cellsCompared: 0,
    rowsSource: 0,
    digest: '',
    quarantined: [],
    differences: [],
    differencesTotal: 0,
  };
  const digest = createHash('sha256');
  if (orderedKey(work.table) === undefined) await compareAsBag(work, found, digest);
  else if (!(await areEqual(work, found, digest))) await compareInOrder(work, found, digest);
  found.digest = digest.digest('hex');
  return found;
}

/** Encodings whose order is the same in SQLite and in PostgreSQL. */
const ORDERED: Encoding['as'][] = [
  'integer',
  'text',
  'bytes',
  'boolean',
  'date',
  'numeric',
  'real',
  'short-real',
];

/** In which order the source is read for the comparison. */
export function readingOrder(table: MappedTable): 'key' | 'storage' {
  return orderedKey(table) === undefined ? 'storage' : 'key';
}

/** With its schema before it, where that is not in the path. */
export function isCitext(type: string): boolean {
  return /(?:^|\.)citext$/.test(type);
}

/** Whether SQLite sorts a key with this column without regard to case or blanks. */
function folds({ indexes }: MappedTable['source'], name: string): boolean {
  return indexes.some((index) =>
    index.columns.some((column) => column.name === name && column.folds !== undefined),
  );
}

/** The columns of the primary key, where both sides have them in one order. */
function orderedKey({ source, columns }: MappedTable): MappedTable['columns'] | undefined {
  if (source.primaryKey === null) return undefined;
  const keys = source.primaryKey.map((name) => columns.find((column) => column.name === name));
  const isOrdered = keys.every((column) => {
    if (column === undefined || column.quarantine || !column.notNull || !ORDERED.includes(column.encoding.as))
      return false;
    // Carried in another form than SQLite sorts it.
    if ('any' in column.encoding || 'texts' in column.encoding) return false;
    return !isCitext(column.type) && !folds(source, column.name);
  });
  return isOrdered ? keys.filter((column) => column !== undefined) : undefined;
}

/** Most tables are equal, and that is seen without a look at any cell. Gives false where one has to be had. */
async function areEqual(
  work: CompareWork,
  found: Comparison,
  digest: ReturnType<typeof createHash>,
): Promise<boolean> {
  const equal = await compareBytes(work, targetQuery(work, keyOrder(work.table)));
  if (equal === undefined) return false;
  digest.update(equal.digest);
  found.rowsSource = equal.rows;
  found.cellsCompared = equal.rows * work.table.columns.length;
  return true;
}

async function compareInOrder(
  work: CompareWork,
  found: Comparison,
  digest: ReturnType<typeof createHash>,
): Promise<void> {
  const target = openTarget(work, keyOrder(work.table));
  const strays = new Strays(work.table, found);
  try {
    for await (const source of readSource(work, found, 'key')) {
      const bytes = Buffer.from(`${source.join('\n')}\n`);
      digest.update(bytes);
      found.rowsSource += source.length;
      // Both sides write equal cells as equal bytes, so that most chunks need no closer look.
      if (await target.takeEqual(bytes)) found.cellsCompared += source.length * work.table.columns.length;
      else strays.match(source, await target.take(source.length));
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

function keyOrder(table: MappedTable): string {
  return (orderedKey(table) ?? [])
    .map(({ target, encoding }) => quote(target) + (encoding.as === 'text' ? ' COLLATE "C"' : ''))
    .join(', ');
}

/** The lines of the source, page by page. A cell that cannot be carried ends it: no comparison could be exact. */
async function* readSource(
  work: CompareWork,
  found: Comparison,
  order: 'key' | 'storage',
): AsyncGenerator<string[]> {
  const rowsMax = Math.min(work.chunkRows, work.rowsMax ?? work.chunkRows);
  const pages = readPages(work.source, work.table.source, { order, rowsMax, signal: work.signal });
  let rows = 0;
  for await (const page of pages) {
    const offenders = new Offenders();
    const { lines, quarantined } = encodePage(work.source, work.table, page, offenders, 'compared');
    if (offenders.total > 0) {
      throw fail(
        'VerificationFailed',
        `'${work.source.name}' holds what cannot be compared: ${offenders.text()}.`,
      );
    }
    found.quarantined.push(...quarantined);
    yield lines;
    rows += lines.length;
    if (work.rowsMax !== undefined && rows >= work.rowsMax) return;
  }
}

/** The lines of the target, as the source would have written them. */
function openTarget(work: CompareWork, order: string): TargetLines {
  const normalize = normalizer(work.table);
  return readTargetLines(work.target, targetQuery(work, order), { signal: work.signal, normalize });
}

function targetQuery({ table, relation = placeOf(table) }: CompareWork, order: string): string {
  const columns = table.columns.map((column) => quote(column.target)).join(', ');
  return `SELECT ${columns} FROM ${relation}${order === '' ? '' : ` ORDER BY ${order}`}`;
}

/** Makes a line of PostgreSQL the line that the source has for equal cells; undefined where they are the same. */
function normalizer(table: MappedTable): ((line: string) => string) | undefined {
  const fields = table.columns.map(({ encoding }) => carrierOf(encoding).normalize);
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
  readonly #tell: (difference: string) => void;
  readonly #keys: number[];
  readonly #source = new Map<string, string>();
  readonly #target = new Map<string, string>();

  constructor(table: MappedTable, found: Comparison, tell = (text: string): void => note(found, text)) {
    this.#table = table;
    this.#found = found;
    this.#tell = tell;
    this.#keys = (table.source.primaryKey ?? []).map((name) =>
      table.columns.findIndex((column) => column.name === name),
    );
  }

  match(source: string[], target: string[]): void {
    for (const line of source) this.#source.set(this.#keyOf(line), line);
    for (const line of target) this.#meet(line);
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

  /** A key that comes twice in the target would hide one of its rows. */
  #meet(line: string): void {
    const key = this.#keyOf(line);
    if (this.#target.has(key)) this.#tell(`${this.#label(key)} is in the target twice`);
    this.#target.set(key, line);
  }

  /** Whoever has no partner now gets none. */
  settle(): void {
    for (const key of this.#source.keys()) this.#tell(`${this.#label(key)} is missing in the target`);
    for (const key of this.#target.keys()) this.#tell(`${this.#label(key)} is in the target only`);
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
      this.#tell(
        `${this.#label(key)} ${column.name}: source ${show(mine[place])}, target ${show(theirs[place])}`,
      );
    }
  }
}

function note(found: Comparison, difference: string): void {
  found.differencesTotal += 1;
  if (found.differences.length < DIFFERENCES_NAMED_MAX) found.differences.push(difference);
}

/** A field in words. */
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
  work: CompareWork,
  found: Comparison,
  digest: ReturnType<typeof createHash>,
): Promise<void> {
  const [source, target] = [new Bag(), new Bag()];
  let rowsTarget = 0;
  for await (const lines of readSource(work, found, 'storage')) {
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

async function* readTarget(work: CompareWork): AsyncGenerator<string[]> {
  const lines = openTarget(work, '');
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

/** Reads the rows of groups that differ again, and names what stands on one side only, by key where there is one. */
async function nameStrayRows(work: CompareWork, found: Comparison, buckets: Set<number>): Promise<void> {
  const balance = new Map<string, number>();
  const count = (line: string, by: number): void => {
    if (!buckets.has(bucketOf(createHash('sha256').update(line).digest()))) return;
    const now = (balance.get(line) ?? 0) + by;
    if (now === 0) balance.delete(line);
    else if (balance.size < STRAYS_MAX || balance.has(line)) balance.set(line, now);
  };
  const again: Comparison = { ...found, quarantined: [] };
  for await (const lines of readSource(work, again, 'storage')) for (const line of lines) count(line, 1);
  for await (const lines of readTarget(work)) for (const line of lines) count(line, -1);
  // Sums differed, so a difference there is, even where too many rows hid which.
  if (balance.size === 0)
    return note(found, `${work.table.source.name} differs in ${buckets.size} of ${BUCKETS} groups of rows`);
  if (work.table.source.primaryKey !== null) {
    const strays = new Strays(work.table, { ...found, cellsCompared: 0 }, (text) => note(found, text));
    const of = (sign: number): string[] =>
      [...balance].filter(([, by]) => Math.sign(by) === sign).map(([line]) => line);
    strays.match(of(1), of(-1));
    return strays.settle();
  }
  for (const [line, by] of balance) {
    const cells = line.split('\t').map((field, place) => `${work.table.columns[place]?.name}=${show(field)}`);
    const side = by > 0 ? 'is missing in the target' : 'is in the target only';
    for (let times = Math.abs(by); times > 0; times -= 1)
      note(found, `${work.table.source.name} (${cells.join(', ')}) ${side}`);
  }
}
