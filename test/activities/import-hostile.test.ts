/**
 * Files made up by chance: each is carried whole, which a second opinion confirms, or refused with names; every line that a
 * refusal proposes does what it says; a cell that is changed behind the import's back is found.
 */
import { join } from 'node:path';
import { parse } from 'yaml';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { databaseImport } from '../../procedures/database-import.ts';
import { makeChance, makeHostileFile } from '../support/hostile-sqlite.ts';
import type { Chance } from '../support/hostile-sqlite.ts';
import { disagreements } from '../support/import-oracle.ts';
import { makeImportWorld } from '../support/import-world.ts';
import type { ImportWorld, ImportWorldOptions } from '../support/import-world.ts';
import { visible } from '../../activities/lib/import/lines.ts';
import { failureOf, makeTestFolder } from '../support/phase-context.ts';
import { makeDatabase } from '../support/postgres.ts';
import type { TestDatabase } from '../support/postgres.ts';

const DEEP = process.env['COUNTDOWN_TEST_DEEP'] === '1';
const SEED = Number(process.env['COUNTDOWN_TEST_SEED'] ?? 1) * 1_000;
const FILES = DEEP ? 2_000 : 24;
/** Files of one test. */
const SLICE = 8;
/** Refusals of one file that are answered with the lines that they propose. */
const ANSWERS_MAX = 30;

let database: TestDatabase | undefined;
beforeAll(async () => {
  database = await makeDatabase();
});
afterAll(async () => {
  await database?.[Symbol.asyncDispose]();
});

type Lines = Pick<ImportWorldOptions, 'mapping' | 'skip' | 'timezone'>;

/** What a message proposes, as YAML reads it: each line with the other words that would do. */
function proposals(message: string): { line: Lines; others: string[] }[] {
  const found: { line: Lines; others: string[] }[] = [];
  for (const { index } of message.matchAll(/(?:mapping: \{|skip: \[|timezone: )/g)) {
    for (let end = index + 10; end <= message.length; end += 1) {
      if (!/[\]}C]/.test(message[end - 1] ?? '')) continue;
      const line = parsed(message.slice(index, end));
      if (line === undefined) continue;
      const others = /^((?:, or \w+)*)\)/.exec(message.slice(end))?.[1]?.match(/\w+(?=,|$)/g) ?? [];
      found.push({ line, others });
      break;
    }
  }
  return found;
}

function parsed(text: string): Lines | undefined {
  try {
    const line: unknown = parse(text);
    const whole = { source: 's', target: 't', switch: 'w', ...(line as object) };
    const { success, data } = databaseImport.params.safeParse(whole);
    if (!success) return undefined;
    return {
      mapping: data.mapping,
      skip: data.skip,
      ...(data.timezone === undefined ? {} : { timezone: data.timezone }),
    };
  } catch {
    return undefined;
  }
}

/** Does what the message says. Whether that was anything. */
function answer(message: string, { params }: ImportWorld, chance: Chance): boolean {
  const before = JSON.stringify(params);
  const answered = new Set<string>();
  for (const { line, others } of proposals(message)) {
    params.skip = [...new Set([...params.skip, ...(line.skip ?? [])])];
    if (typeof line.timezone === 'string') params.timezone = line.timezone;
    for (const [key, first] of Object.entries(line.mapping ?? {})) {
      if (answered.has(key)) continue;
      answered.add(key);
      const other = others[chance.below(others.length)];
      params.mapping[key] = other !== undefined && chance.often(0.3) ? (other as typeof first) : first;
    }
  }
  return JSON.stringify(params) !== before;
}

/** Then only the source's owner can go on. */
const HOPELESS = /in the source|has no tables/;

/** Answers each refusal until the inspection passes (undefined), or gives the refusal that nothing in the step can answer. */
async function inspectUntilPassed(world: ImportWorld, chance: Chance): Promise<string | undefined> {
  for (let turn = 0; turn < ANSWERS_MAX; turn += 1) {
    const failure = await world.run('inspect').then(
      () => undefined,
      (error: unknown) => failureOf(Promise.reject(error as Error)),
    );
    if (failure === undefined) return undefined;
    const { type, message } = failure;
    expect(['NotSupported', 'VerificationFailed', 'PreconditionFailed'], message).toContain(type);
    // oxlint-disable-next-line no-control-regex -- a message has none
    if (/[\u0000-\u001f]/.test(message)) throw new Error(`A message of several lines: ${message}`);
    if (answer(message, world, chance)) continue;
    if (!HOPELESS.test(message)) throw new Error(`Nothing answers this refusal: ${message}`);
    return message;
  }
  throw new Error(
    `The inspection did not pass after ${ANSWERS_MAX} answers: ${JSON.stringify(world.params)}`,
  );
}

/** How a value of a type becomes another one. */
const CHANGES: Record<string, string> = {
  bigint: 'CASE WHEN c > 0 THEN c - 1 ELSE c + 1 END',
  'double precision': `CASE WHEN c = 'Infinity' THEN 0 ELSE 'Infinity' END`,
  numeric: 'c + 0.5',
  text: `c || 'z'`,
  bytea: `c || '\\x00'`,
  boolean: 'NOT c',
  date: 'c + 1',
  'time without time zone': `c + interval '1 microsecond'`,
  'timestamp without time zone': `c + interval '1 microsecond'`,
  'timestamp with time zone': `c + interval '1 microsecond'`,
};

const quote = (name: string): string => `"${name.replaceAll('"', '""')}"`;

/** Changes one cell of the target. Gives its table and column; undefined where constraints or a lack of cells forbid it. */
async function changeOne(
  world: ImportWorld,
  chance: Chance,
): Promise<{ table: string; column: string; isCell: boolean } | undefined> {
  const columns = await world.ask(
    `select c.relname, a.attname, format_type(a.atttypid, null) as type, c.oid::text as oid,
       exists (select 1 from pg_index i where i.indrelid = c.oid and i.indisprimary and a.attnum = any (i.indkey)) as key,
       exists (select 1 from pg_index i where i.indrelid = c.oid and i.indisprimary) as keyed
     from pg_attribute a join pg_class c on c.oid = a.attrelid
     where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and a.attnum > 0 order by 1, 2`,
  );
  for (let turn = 0; turn < 10 && columns.length > 0; turn += 1) {
    const { relname, attname, type, key, keyed } = columns[chance.below(columns.length)] ?? {};
    const [table, column] = [String(relname), String(attname)];
    const change = CHANGES[String(type)]?.replaceAll(/\bc\b/g, () => quote(column)) ?? '';
    const rows = await world.ask(
      `select ctid::text as place from ${quote(table)} where ${quote(column)} is not null order by 1`,
    );
    const place = rows[chance.below(rows.length)]?.['place'];
    if (typeof place !== 'string') continue;
    const changed = await world
      .ask(`update ${quote(table)} set ${quote(column)} = ${change} where ctid = '${place}' returning 1`)
      .catch(() => []);
    if (changed.length === 1) return { table, column, isCell: keyed === true && key !== true };
  }
  return undefined;
}

const EACH = `do $$declare t record; begin for t in select oid::regclass as name from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r' loop execute format`;
const EMPTY = `${EACH}('truncate %s restart identity cascade', t.name); end loop; end$$; drop schema countdown cascade`;
const DROP = `${EACH}('drop table %s cascade', t.name); end loop; end$$`;

/** Into the tables that the first import made, emptied: what was carried into them once can be again. */
async function carryAgain(world: ImportWorld, path: string): Promise<void> {
  const before = await world.print();
  const inspected = await world.run('inspect');
  expect(inspected.output).toMatchObject({ mode: 'existing' });
  await world.run('hold-writes');
  await world.run('copy');
  const { mapping, skip, timezone } = world.params;
  expect(await disagreements({ path, ask: (sql) => world.ask(sql), mapping, skip, timezone })).toEqual([]);
  const verified = await world.run('verify');
  expect(verified.verdict, verified.summary).toBe(
    inspected.output?.['cells'] === 0 ? 'inconclusive' : 'pass',
  );
  await world.undo('copy');
  expect(await world.print()).toEqual(before);
}

/** What became of a file. */
type Fate = 'carried' | 'refused';

async function holdFile(seed: number, folder: string): Promise<Fate> {
  if (database === undefined) throw new Error('The database of this file was not made.');
  const path = join(folder, `${seed}.db`);
  makeHostileFile(path, seed);
  const chance = makeChance(seed + 1);
  await using world = await makeImportWorld({ path }, { chunkRows: chance.pick([3, 7, 100]), database });
  const before = await world.print();
  const refusal = await inspectUntilPassed(world, chance);
  expect(await world.print()).toEqual(before);
  if (refusal !== undefined) return 'refused';
  await world.run('hold-writes');
  await world.run('copy');
  const { mapping, skip, timezone } = world.params;
  expect(await disagreements({ path, ask: (sql) => world.ask(sql), mapping, skip, timezone })).toEqual([]);
  const verified = await world.run('verify');
  const empty = world.outputs['database/inspect']?.['cells'] === 0;
  expect(verified.verdict, verified.summary).toBe(empty ? 'inconclusive' : 'pass');
  const changed = await changeOne(world, chance);
  if (changed !== undefined) {
    const { verdict, summary } = await world.run('verify');
    expect(verdict, JSON.stringify(changed)).toBe('fail');
    expect(summary).toContain(visible(changed.table));
    expect(summary).toContain(visible(changed.column) + (changed.isCell ? ': source ' : ''));
  }
  if (chance.often(0.3)) {
    await world.ask(EMPTY);
    await world.undo('hold-writes');
    await carryAgain(world, path);
    await world.ask(DROP);
  }
  await world.undo('copy');
  await world.undo('hold-writes');
  expect(await world.print()).toEqual(before);
  return 'carried';
}

function told(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined ? error.message : `${error.message}: ${told(error.cause)}`;
}

const fates: Fate[] = [];

test.each(Array.from({ length: FILES / SLICE }, (_, slice) => SEED + slice * SLICE))(
  'hostile files from seed %i on are carried whole or refused with names',
  async (first) => {
    await using folder = await makeTestFolder();
    const failures: unknown[] = [];
    for (let seed = first; seed < first + SLICE; seed += 1) {
      try {
        fates.push(await holdFile(seed, folder.path));
      } catch (error) {
        failures.push(new Error(`The file of seed ${seed}`, { cause: error }));
      }
    }
    if (failures.length > 0)
      throw new AggregateError(failures, failures.map((error) => told(error)).join('\n'));
  },
  120_000,
);

test('most of these files are carried in the end', () => {
  expect(fates.filter((fate) => fate === 'carried').length).toBeGreaterThan(FILES / 2);
});
