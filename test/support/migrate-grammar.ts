/** Random small schemas with rows, and random migrations for them, most with a way back that is right; the same for one seed. */
import type { Files } from './migrate-world.ts';

export type Random = {
  below(limit: number): number;
  chance(percent: number): boolean;
  pick<T>(from: readonly T[]): T;
};

/** Numbers that are the same for the same seed. */
export function makeRandom(seed: number): Random {
  let state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (limit: number): number => Math.floor(next() * limit);
  return {
    below,
    chance: (percent) => below(100) < percent,
    pick: <T>(from: readonly T[]): T => from[below(from.length)]!,
  };
}

type Column = { name: string; type: string };
type Table = { name: string; columns: Column[]; indexes: string[] };
export type Schema = { sql: string; tables: Table[] };

const TYPES = [
  'int',
  'bigint',
  'text',
  'varchar(20)',
  'numeric(8,2)',
  'boolean',
  'timestamptz',
  'int[]',
  'date',
];
const NAMES = ['songs', 'lists', 'Odd Name', 'notes', 'users'];
const ROWS = 12;
const VALUES: Record<string, string> = {
  int: 'i * 3',
  bigint: 'i * 4000000000',
  text: `'text ' || i % 5`,
  'varchar(20)': `'v' || i`,
  'numeric(8,2)': 'i / 7.0',
  boolean: 'i % 2 = 0',
  timestamptz: `'2026-01-01'::timestamptz + i * interval '1 hour'`,
  'int[]': 'ARRAY[i, i + 1]',
  date: `'2026-01-01'::date + i`,
};

const q = (name: string): string => `"${name.replaceAll('"', '""')}"`;

/** Two to four tables of some columns, indexes, a check or a key to another table, and rows. */
export function randomSchema(random: Random): Schema {
  const tables: Table[] = [];
  const sql: string[] = [];
  for (const name of NAMES.slice(0, 2 + random.below(3))) {
    const columns = Array.from({ length: 1 + random.below(4) }, (_, at) => ({
      name: random.chance(10) ? `Col ${at}` : `c${at}`,
      type: random.pick(TYPES),
    }));
    sql.push(
      `CREATE TABLE ${q(name)} (id bigint PRIMARY KEY${columns.map((one) => `, ${q(one.name)} ${one.type}`).join('')})`,
      `INSERT INTO ${q(name)} SELECT i${columns.map((one) => `, ${random.chance(15) ? 'NULL' : VALUES[one.type]}`).join('')} FROM generate_series(1, ${ROWS}) AS i`,
    );
    const table: Table = { name, columns, indexes: [] };
    for (const one of columns.filter(() => random.chance(30))) {
      table.indexes.push(`${name}_${one.name}_old`);
      sql.push(`CREATE INDEX ${q(`${name}_${one.name}_old`)} ON ${q(name)} (${q(one.name)})`);
    }
    const other = tables[0];
    if (other !== undefined && random.chance(40)) {
      sql.push(
        `ALTER TABLE ${q(name)} ADD CONSTRAINT ${q(`${name}_key`)} FOREIGN KEY (id) REFERENCES ${q(other.name)} (id)`,
      );
    }
    if (random.chance(20)) sql.push(`GRANT SELECT ON ${q(name)} TO pg_monitor`);
    if (random.chance(20)) sql.push(`CREATE VIEW ${q(`${name}_view`)} AS SELECT id FROM ${q(name)}`);
    tables.push(table);
  }
  return { sql: sql.join(';\n'), tables };
}

type Change = { up: string; down: string };

/** What a change does to the schema is told, so that the next one fits; one that fits no more is found on the clone. */
const CHANGES: ((random: Random, schema: Schema, at: number) => Change)[] = [
  function addColumn(random, { tables }, at) {
    const table = random.pick(tables);
    const column = { name: `n${at}`, type: random.pick(TYPES) };
    table.columns.push(column);
    const more = random.chance(30)
      ? ` NOT NULL DEFAULT (${VALUES[column.type]!.replaceAll(/\bi\b/g, '1')})`
      : '';
    return {
      up: `ALTER TABLE ${q(table.name)} ADD COLUMN ${q(column.name)} ${column.type}${more}`,
      down: `ALTER TABLE ${q(table.name)} DROP COLUMN ${q(column.name)}`,
    };
  },
  function dropColumn(random, { tables }) {
    const table = random.pick(tables);
    const column = table.columns.pop() ?? { name: 'id', type: 'bigint' };
    return {
      up: `ALTER TABLE ${q(table.name)} DROP COLUMN ${q(column.name)}`,
      down: `ALTER TABLE ${q(table.name)} ADD COLUMN ${q(column.name)} ${column.type}`,
    };
  },
  function addIndex(random, { tables }, at) {
    const table = random.pick(tables);
    const column = random.pick([...table.columns, { name: 'id', type: 'bigint' }]);
    const name = `i${at}`;
    const [unique, concurrently] = [
      random.chance(30) ? 'UNIQUE ' : '',
      random.chance(70) ? 'CONCURRENTLY ' : '',
    ];
    table.indexes.push(name);
    return {
      up: `CREATE ${unique}INDEX ${concurrently}${q(name)} ON ${q(table.name)} (${q(column.name)})`,
      down: `DROP INDEX ${concurrently}${q(name)}`,
    };
  },
  function dropIndex(random, { tables }) {
    const table = random.pick(tables);
    const name = table.indexes.pop() ?? 'none';
    const column = name.replace(`${table.name}_`, '').replace('_old', '');
    const concurrently = random.chance(60) ? 'CONCURRENTLY ' : '';
    return {
      up: `DROP INDEX ${concurrently}${q(name)}`,
      down: `CREATE INDEX ${random.chance(60) ? 'CONCURRENTLY ' : ''}${q(name)} ON ${q(table.name)} (${q(column)})`,
    };
  },
  function addCheck(random, { tables }, at) {
    const table = random.pick(tables);
    const valid = random.chance(50) ? ' NOT VALID' : '';
    return {
      up: `ALTER TABLE ${q(table.name)} ADD CONSTRAINT k${at} CHECK (id ${random.pick(['> 0', '> 5'])})${valid}`,
      down: `ALTER TABLE ${q(table.name)} DROP CONSTRAINT k${at}`,
    };
  },
  function addKey(random, { tables }, at) {
    const [table, other] = [random.pick(tables), random.pick(tables)];
    return {
      up: `ALTER TABLE ${q(table.name)} ADD CONSTRAINT k${at} FOREIGN KEY (id) REFERENCES ${q(other.name)} (id)${random.chance(50) ? ' NOT VALID' : ''}`,
      down: `ALTER TABLE ${q(table.name)} DROP CONSTRAINT k${at}`,
    };
  },
  function renameColumn(random, { tables }, at) {
    const table = random.pick(tables);
    const column = random.pick(table.columns.length === 0 ? [{ name: 'id', type: '' }] : table.columns);
    const before = column.name;
    column.name = `r${at}`;
    return {
      up: `ALTER TABLE ${q(table.name)} RENAME COLUMN ${q(before)} TO ${q(column.name)}`,
      down: `ALTER TABLE ${q(table.name)} RENAME COLUMN ${q(column.name)} TO ${q(before)}`,
    };
  },
  function renameTable(random, { tables }, at) {
    const table = random.pick(tables);
    const before = table.name;
    table.name = `Table.${at}`;
    return {
      up: `ALTER TABLE ${q(before)} RENAME TO ${q(table.name)}`,
      down: `ALTER TABLE ${q(table.name)} RENAME TO ${q(before)}`,
    };
  },
  function changeType(random, { tables }) {
    const table = random.pick(tables);
    const column = random.pick(table.columns.length === 0 ? [{ name: 'id', type: 'bigint' }] : table.columns);
    const before = column.type;
    column.type = random.pick(['text', 'varchar(3)', 'varchar(60)', 'numeric(10,2)', 'bigint']);
    const change = (type: string): string =>
      `ALTER TABLE ${q(table.name)} ALTER COLUMN ${q(column.name)} TYPE ${type} USING ${q(column.name)}::${type}`;
    return { up: change(column.type), down: change(before) };
  },
  function setDefault(random, { tables }) {
    const table = random.pick(tables);
    return {
      up: `ALTER TABLE ${q(table.name)} ALTER COLUMN id SET DEFAULT ${random.below(9)}`,
      down: `ALTER TABLE ${q(table.name)} ALTER COLUMN id DROP DEFAULT`,
    };
  },
  function setNotNull(random, { tables }) {
    const table = random.pick(tables);
    const { name } = random.pick(
      table.columns.length === 0 ? [{ name: 'id', type: 'bigint' }] : table.columns,
    );
    return {
      up: `ALTER TABLE ${q(table.name)} ALTER COLUMN ${q(name)} SET NOT NULL`,
      down: `ALTER TABLE ${q(table.name)} ALTER COLUMN ${q(name)} DROP NOT NULL`,
    };
  },
  function addTable(random, { tables }, at) {
    tables.push({ name: `new_${at}`, columns: [{ name: 'a', type: 'text' }], indexes: [] });
    const rows = random.chance(40)
      ? `; INSERT INTO new_${at} SELECT i, 'x' FROM generate_series(1, 3) i`
      : '';
    return {
      up: `CREATE TABLE new_${at} (id bigint PRIMARY KEY, a text UNIQUE DEFERRABLE)${rows.replace('UNIQUE', '').replace(`'x'`, 'i::text')}`,
      down: `DROP TABLE new_${at}`,
    };
  },
  function dropTable(random, { tables }) {
    const { name, columns } =
      tables.length > 2 ? tables.splice(random.below(tables.length), 1)[0]! : tables[0]!;
    return {
      up: `DROP TABLE ${q(name)}${random.chance(20) ? ' CASCADE' : ''}`,
      down: `CREATE TABLE ${q(name)} (id bigint PRIMARY KEY${columns.map((one) => `, ${q(one.name)} ${one.type}`).join('')})`,
    };
  },
  function insertRows(random, { tables }) {
    const { name } = random.pick(tables);
    const again = random.chance(20) ? ' ON CONFLICT (id) DO UPDATE SET id = excluded.id' : '';
    return {
      up: random.chance(50)
        ? `INSERT INTO ${q(name)} (id) VALUES (100), (101)${again}`
        : `INSERT INTO ${q(name)} (id) SELECT id + 100 FROM ${q(name)}`,
      down: `DELETE FROM ${q(name)} WHERE id >= 100`,
    };
  },
  function changeRows(random, { tables }) {
    const { name } = random.pick(tables);
    return {
      up: random.pick([
        `UPDATE ${q(name)} SET id = id + 1000`,
        `DELETE FROM ${q(name)} WHERE id = 1`,
        `WITH gone AS (DELETE FROM ${q(name)} WHERE id > 10 RETURNING *) SELECT count(*) FROM gone`,
        `TRUNCATE ${q(name)}`,
      ]),
      down: 'SELECT 1',
    };
  },
  function giveRights(random, { tables }) {
    const { name } = random.pick(tables);
    return {
      up: `GRANT INSERT ON ${q(name)} TO pg_monitor`,
      down: `REVOKE INSERT ON ${q(name)} FROM pg_monitor`,
    };
  },
  function addView(random, { tables }, at) {
    const { name, columns } = random.pick(tables);
    const list = ['id', ...columns.map((one) => one.name)].map(q).join(', ');
    return {
      up: `CREATE VIEW v${at} AS SELECT ${list} FROM ${q(name)}`,
      down: `DROP VIEW v${at}`,
    };
  },
  function addTrigger(random, { tables }, at) {
    const { name } = random.pick(tables);
    return {
      up: `CREATE FUNCTION f${at}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END; $$; CREATE TRIGGER t${at} BEFORE INSERT ON ${q(name)} FOR EACH ROW EXECUTE FUNCTION f${at}()`,
      down: `DROP TRIGGER t${at} ON ${q(name)}; DROP FUNCTION f${at}()`,
    };
  },
];

/** One to four migrations. One way back in ten is wrong, one in twenty is not there. */
export function randomMigrations(random: Random, schema: Schema): Files {
  const files: Files = {};
  const count = 1 + random.below(4);
  for (let version = 1; version <= count; version += 1) {
    const changes = Array.from({ length: random.chance(25) ? 2 : 1 }, (_, at) =>
      random.pick(CHANGES)(random, schema, version * 10 + at),
    );
    files[`${version}_m.up.sql`] = changes.map(({ up }) => `${up};`).join('\n');
    const back = changes.toReversed().map(({ down }) => `${down};`);
    if (random.chance(10)) back.pop();
    if (!random.chance(5)) files[`${version}_m.down.sql`] = back.join('\n');
  }
  return files;
}
