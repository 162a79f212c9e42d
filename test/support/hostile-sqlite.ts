/** SQLite files that nobody would wish for, made up by chance from a seed: odd names, odd schemas, cells of every class anywhere. */
import { DatabaseSync } from 'node:sqlite';

/** Chance that can be had again. */
export type Chance = {
  /** From 0 to `most - 1`. */
  below(most: number): number;
  /** True so often. */
  often(share: number): boolean;
  pick<T>(from: readonly [T, ...T[]]): T;
};

/** Chance from a seed (mulberry32). */
export function makeChance(seed: number): Chance {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (most: number): number => Math.floor(next() * most);
  return {
    below,
    often: (share) => next() < share,
    pick: (from) => from[below(from.length)] ?? from[0],
  };
}

/** Several, written in one text. */
function listed(text: string): [string, ...string[]] {
  const [first = '', ...others] = text.split('¦');
  return [first, ...others];
}

const NAMES = listed(
  `a¦b¦c¦id¦name¦Mixed¦select¦order¦user¦table¦null¦true¦public¦oid¦rowid¦a"b¦it's¦x y¦ lead` +
    `¦trail ¦new\nline¦tab\there¦a.b¦.dot¦1¦1.5¦2e3¦-¦- dash¦#hash¦{y: z}¦[br]¦(x)¦, or¦~¦%s¦$1¦?` +
    `¦back\\slash¦Ünï¦😀¦ﬁ¦İ¦--¦/*¦')¦y¦!tag¦&ref¦*¦xmin¦ctid¦xmax¦quarantine¦kept`,
).concat('x'.repeat(63), 'y'.repeat(64), 'ü'.repeat(32)) as [string, ...string[]];

const TYPES = listed(
  `¦¦INTEGER¦INT¦TEXT¦TEXT¦VARCHAR(5)¦BLOB¦REAL¦DOUBLE PRECISION¦NUMERIC¦DECIMAL(10,2)¦BOOLEAN` +
    `¦DATE¦TIME¦DATETIME¦TIMESTAMP¦JSON¦UNSIGNED BIG INT¦MONEY¦check¦CLOB¦FLOAT¦ANY`,
);
const STRICT_TYPES = ['INT', 'INTEGER', 'REAL', 'TEXT', 'BLOB', 'ANY'] as const;

const DEFAULTS = listed(
  `1¦'x'¦NULL¦CURRENT_TIMESTAMP¦(datetime('now'))¦(random())¦x'00'¦-1.5¦TRUE¦'it''s'¦"word"¦0x10¦9e999`,
);

/** A cell as it is bound; `bytes` become text as they are, valid or not. */
type Bound = null | bigint | number | string | Uint8Array | { bytes: Uint8Array };

const bytesOf = (...numbers: number[]): Uint8Array => Uint8Array.from(numbers);

const ODD_TEXTS = listed(
  `¦ ¦x¦true¦TRUE¦1¦-1¦1.0¦\\N¦\\.¦\t\n\r\b\f\v\\¦a\0b¦\0¦\uFFFD¦\uFEFFx¦😀¦ä¦Ä¦A¦a¦a ¦İ¦NULL` +
    `¦null¦2024-02-29¦2023-02-29¦99999-01-01¦0000-01-01¦0001-01-01¦12:00:00¦24:00:00` +
    `¦2024-01-01 00:00:00¦2024-01-01T00:00:00Z¦2024-01-01 00:00:00.123456` +
    `¦2024-01-01 00:00:00.1234567¦2024-01-01 00:00:00+02:00¦now¦{"a":1,"a":2}¦[1e400]¦"\\ud800"` +
    `¦{}`,
);
const ODD_NUMBERS = [
  0n,
  1n,
  -1n,
  2n,
  2n ** 63n - 1n,
  -(2n ** 63n),
  2n ** 53n + 1n,
  1_704_164_645n,
  1_704_164_645_250n,
  0.1,
  -0,
  1.5,
  1e300,
  5e-324,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
  2 ** 63,
  123_456_789_012_345_680,
  2_460_311.5,
  1_704_164_645.25,
];
const ODD_BYTES = ['', '00', 'fffe', '61'].map((hex) => Uint8Array.from(Buffer.from(hex, 'hex')));
/** Text that is not valid UTF-8: a cut character, a surrogate, an overlong NUL, one beyond the last. */
const BAD_TEXTS = ['61ff', '80', 'eda080', 'efbfbdff', 'c080', 'f4908080'].map((hex) => ({
  bytes: Uint8Array.from(Buffer.from(hex, 'hex')),
}));
const ODD = [null, ...ODD_NUMBERS, ...ODD_TEXTS, 'long '.repeat(60), ...ODD_BYTES, ...BAD_TEXTS] as [
  Bound,
  ...Bound[],
];

const FITTING: [RegExp, (chance: Chance, row: number) => Bound][] = [
  [/^BOOL/, (chance) => BigInt(chance.below(2))],
  [/INT/, (chance, row) => BigInt(row * 7 + chance.below(7))],
  [/REAL|DOUB|FLOA/, (chance, row) => row + chance.below(1000) / 7],
  [/NUM|DEC|MONEY/, (chance, row) => row + chance.below(100) / 100],
  [
    /DATETIME|TIMESTAMP/,
    (chance, row) =>
      `2024-01-${String((row % 28) + 1).padStart(2, '0')} 0${chance.below(10)}:00:00${chance.pick(['', '.5', '.25', '.000001'])}`,
  ],
  [/DATE/, (chance, row) => `20${String(10 + (row % 80))}-0${1 + chance.below(9)}-1${chance.below(10)}`],
  [/TIME/, (chance) => `0${chance.below(10)}:0${chance.below(10)}:00`],
  [/JSON/, (_, row) => `{"n": ${row}}`],
  [/BLOB/, (chance, row) => bytesOf(row & 255, row >> 8, chance.below(256))],
];

/** A cell for a declared type: mostly one that fits, sometimes any. `odd`: how often. */
function makeCell(
  chance: Chance,
  { declared, row, odd }: { declared: string; row: number; odd: number },
): Bound {
  if (chance.often(odd)) return chance.pick(ODD);
  const fitting = FITTING.find(([pattern]) => pattern.test(declared));
  return fitting === undefined
    ? `t${row} ${chance.pick(['', '♪', 'Ä', "'", '\\', '\n'])}`
    : fitting[1](chance, row);
}

type Column = { name: string; declared: string; generated: boolean };

const quote = (name: string): string => `"${name.replaceAll('"', '""')}"`;
const folded = (name: string): string => name.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase());

function makeNames(chance: Chance, count: number, taken: Set<string>): string[] {
  const names: string[] = [];
  while (names.length < count) {
    const found = chance.often(0.5)
      ? chance.pick(NAMES)
      : `${chance.pick(NAMES).slice(0, 9)}${chance.below(99)}`;
    if (taken.has(folded(found)) || folded(found).startsWith('sqlite_')) continue;
    taken.add(folded(found));
    names.push(found);
  }
  return names;
}

/** Makes the file. What SQLite itself refuses is left out. */
export function makeHostileFile(path: string, seed: number): void {
  const chance = makeChance(seed);
  using db = new DatabaseSync(path);
  db.exec('PRAGMA foreign_keys = off; PRAGMA synchronous = off; BEGIN');
  const taken = new Set<string>();
  const parents: { table: string; column: string }[] = [];
  const tables = makeNames(chance, 1 + chance.below(3), taken);
  const odd = chance.pick([0, 0.02, 0.02, 0.1, 0.3]);
  for (const table of tables) {
    const columns = makeTable(db, chance, { table, parents });
    if (columns === undefined) continue;
    fill(db, chance, { table, columns, odd });
    addIndexes(db, chance, { table, columns, taken });
  }
  addObjects(db, chance, { tables, taken });
  // Some refusals end the transaction by themselves.
  if (db.isTransaction) db.exec('COMMIT');
}

function attempt(db: DatabaseSync, sql: string): boolean {
  try {
    db.exec(sql);
    return true;
  } catch {
    return false;
  }
}

function makeTable(
  db: DatabaseSync,
  chance: Chance,
  { table, parents }: { table: string; parents: { table: string; column: string }[] },
): Column[] | undefined {
  const strict = chance.often(0.15);
  const key = chance.pick([
    'none',
    'rowid',
    'rowid',
    'autoincrement',
    'one',
    'several',
    'without',
    'without',
  ]);
  const columns = makeNames(chance, 1 + chance.below(6), new Set()).map((name) => ({
    name,
    declared: strict ? chance.pick(STRICT_TYPES) : chance.pick(TYPES),
    generated: false,
  }));
  const [first] = columns;
  if (first === undefined) return undefined;
  const isAlias = key === 'rowid' || key === 'autoincrement';
  if (isAlias) first.declared = 'INTEGER';
  const lines = columns.map((column, place) => {
    const words = [
      quote(column.name),
      /^[A-Z0-9 (),]*$/.test(column.declared) ? column.declared : quote(column.declared),
    ];
    if (place === 0 && isAlias) words.push(key === 'rowid' ? 'PRIMARY KEY' : 'PRIMARY KEY AUTOINCREMENT');
    if (place === 0 && (key === 'one' || key === 'without')) words.push('PRIMARY KEY');
    if (place > 0 || !isAlias) {
      if (chance.often(0.1)) words.push(`COLLATE ${chance.pick(['NOCASE', 'RTRIM', 'BINARY'])}`);
      if (chance.often(0.1)) words.push('NOT NULL');
      if (chance.often(0.1)) words.push('UNIQUE');
      if (chance.often(0.2)) words.push(`DEFAULT ${chance.pick(DEFAULTS)}`);
      if (chance.often(0.04)) words.push(`CHECK (${quote(column.name)} IS NOT 'forbidden')`);
      const parent = parents[chance.below(parents.length * 4)];
      if (parent !== undefined)
        words.push(
          `REFERENCES ${quote(parent.table)} (${quote(parent.column)})${chance.pick(['', ' ON DELETE CASCADE', ' DEFERRABLE INITIALLY DEFERRED'])}`,
        );
    }
    return words.join(' ');
  });
  if (key === 'several')
    lines.push(
      `PRIMARY KEY (${columns
        .slice(0, 2)
        .map(({ name }) => quote(name))
        .join(', ')})`,
    );
  if (chance.often(0.08)) {
    columns.push({ name: 'made', declared: 'TEXT', generated: true });
    lines.push(`made TEXT AS (${quote(first.name)} || '!') ${chance.pick(['STORED', 'VIRTUAL'])}`);
  }
  const options = [key === 'without' ? 'WITHOUT ROWID' : '', strict ? 'STRICT' : ''].filter(
    (word) => word !== '',
  );
  if (!attempt(db, `CREATE TABLE ${quote(table)} (${lines.join(', ')}) ${options.join(', ')}`))
    return undefined;
  if (key !== 'none' && key !== 'several') parents.push({ table, column: first.name });
  return columns;
}

function fill(
  db: DatabaseSync,
  chance: Chance,
  { table, columns, odd }: { table: string; columns: Column[]; odd: number },
): void {
  const stored = columns.filter(({ generated }) => !generated);
  const names = stored.map(({ name }) => quote(name)).join(', ');
  const rows = chance.pick([0, 1, 3, 12, 12, 40, 260]);
  for (let row = 1; row <= rows; row += 1) {
    const cells = stored.map(({ declared }) =>
      makeCell(chance, { declared: declared.toUpperCase(), row, odd }),
    );
    const values = cells.map((cell) => (isBytes(cell) ? 'CAST(? AS TEXT)' : '?')).join(', ');
    try {
      db.prepare(`INSERT INTO ${quote(table)} (${names}) VALUES (${values})`).run(
        ...cells.map((cell) => (isBytes(cell) ? cell.bytes : cell)),
      );
    } catch {
      // A key that is there already, a class that STRICT refuses: the row is left out.
    }
  }
}

function isBytes(cell: Bound): cell is { bytes: Uint8Array } {
  return typeof cell === 'object' && cell !== null && 'bytes' in cell;
}

function addIndexes(
  db: DatabaseSync,
  chance: Chance,
  { table, columns, taken }: { table: string; columns: Column[]; taken: Set<string> },
): void {
  for (let count = chance.below(3); count > 0; count -= 1) {
    const [name = ''] = makeNames(chance, 1, taken);
    const on = columns
      .slice(0, 1 + chance.below(2))
      .map((column) => quote(column.name) + chance.pick(['', '', ' DESC', ' COLLATE NOCASE']));
    const tail = chance
      .pick(['', '', '', ` WHERE ${on[0] ?? ''} IS NOT NULL`])
      .replace(/ (?:DESC|COLLATE NOCASE)/, '');
    const what = chance.often(0.1) ? [`length(${quote(columns[0]?.name ?? '')})`] : on;
    attempt(
      db,
      `CREATE ${chance.pick(['', '', 'UNIQUE '])}INDEX ${quote(name)} ON ${quote(table)} (${what.join(', ')})${tail}`,
    );
  }
}

function addObjects(
  db: DatabaseSync,
  chance: Chance,
  { tables, taken }: { tables: string[]; taken: Set<string> },
): void {
  const on = quote(tables[0] ?? '');
  const made = (): string => quote(makeNames(chance, 1, taken)[0] ?? '');
  if (chance.often(0.15)) attempt(db, `CREATE VIEW ${made()} AS SELECT * FROM ${on}`);
  if (chance.often(0.05)) attempt(db, `CREATE VIEW ${made()} AS SELECT * FROM nowhere`);
  if (chance.often(0.15)) attempt(db, `CREATE TRIGGER ${made()} AFTER INSERT ON ${on} BEGIN SELECT 1; END`);
  if (chance.often(0.1)) attempt(db, `CREATE VIRTUAL TABLE ${made()} USING fts5 (words)`);
  if (chance.often(0.1)) attempt(db, `CREATE VIRTUAL TABLE ${made()} USING rtree (id, low, high)`);
}
