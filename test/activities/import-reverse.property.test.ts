/** Reverse capture under any traffic: the source ends with exactly the rows that PostgreSQL had, read by other eyes. */
import { DatabaseSync } from 'node:sqlite';
import { expect, test } from 'vitest';
import { makeRandom } from '../../examples/piano-keys/random.ts';
import { released } from '../support/reverse-world.ts';

const seed = Number(process.env['COUNTDOWN_TEST_SEED'] ?? 1);
const ROUNDS = process.env['COUNTDOWN_TEST_DEEP'] === '1' ? 40 : 3;
const STATEMENTS = 120;
process.stdout.write(`reverse capture: ${ROUNDS} rounds, seed ${seed}\n`);

const SQL = `
  CREATE TABLE a (id INTEGER PRIMARY KEY AUTOINCREMENT, word TEXT UNIQUE, n INTEGER, r REAL, d DATE, at DATETIME, b BLOB, ok BOOLEAN);
  CREATE TABLE "Odd ""name" ("the key" TEXT, part BLOB, v TEXT, PRIMARY KEY ("the key", part));
  CREATE TABLE c (k TEXT PRIMARY KEY, a INTEGER REFERENCES a (id) ON DELETE SET NULL) WITHOUT ROWID;
  WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60)
  INSERT INTO a SELECT i, 'w' || i, i, i / 3.0, date('2020-01-01', i || ' days'), datetime('2020-01-01', i || ' hours'), randomblob(i % 5), i % 2 FROM n;
  INSERT INTO "Odd ""name" SELECT 'k' || (id % 7), CAST(id AS BLOB), 'v' FROM a;
  INSERT INTO c SELECT 'c' || id, id FROM a WHERE id % 3 = 0;`;

const WORDS = [
  '',
  'a',
  'Ä',
  '\\',
  '\\N',
  "it''s",
  'tab\t',
  'line\n',
  '😀',
  '{"x"}',
  ' blank ',
  '$do$',
  '%s',
] as const;

/** One statement of an application, or none of it where a rule forbids it. */
function statement(random: ReturnType<typeof makeRandom>): string {
  const id = random.whole(1, 90);
  const word = `'${random.pick(WORDS)}${random.whole(0, 30)}'`;
  const key = `'k${random.whole(0, 8)}', '\\x${random.pick(['31', '3132', '00ff', ''])}'`;
  return random.pick([
    () => `INSERT INTO a (word, n, r) VALUES (${word}, ${random.whole(-5, 5)}, ${random.whole(0, 99)} / 7.0)`,
    () => `INSERT INTO a (id, word) VALUES (${id}, ${word})`,
    () => `UPDATE a SET word = ${word} WHERE id = ${id}`,
    () => `UPDATE a SET n = n + 1, ok = NOT ok WHERE id % 5 = ${id % 5}`,
    () => `UPDATE a SET at = at + interval '1 second', d = d - 1, b = b || '\\x00' WHERE id = ${id}`,
    () =>
      `UPDATE a SET id = ${id} WHERE id = ${random.whole(1, 90)} AND NOT EXISTS (SELECT 1 FROM c WHERE c.a = a.id)`,
    () => `UPDATE a SET r = NULL, b = NULL, at = NULL WHERE id = ${id}`,
    () => `DELETE FROM a WHERE id = ${id}`,
    () =>
      `INSERT INTO "Odd ""name" VALUES (${key}, ${word}) ON CONFLICT ("the key", part) DO UPDATE SET v = excluded.v`,
    () =>
      `UPDATE "Odd ""name" SET "the key" = ${word} WHERE "the key" = 'k${random.whole(0, 8)}' AND part = '\\x31'`,
    () => `DELETE FROM "Odd ""name" WHERE "the key" = 'k${random.whole(0, 8)}'`,
    () => `INSERT INTO c VALUES (${word}, ${id})`,
    () => `UPDATE c SET k = k || 'x' WHERE a = ${id}`,
    () => (random.whole(0, 20) === 0 ? 'TRUNCATE c' : `DELETE FROM c WHERE a = ${id}`),
  ])();
}

/** Both sides in one simple text that neither the import nor its comparison has anything to do with. */
const IN_POSTGRES = `SELECT 'a' || jsonb_build_array(id, word, n, r, d::text, to_char(at, 'YYYY-MM-DD HH24:MI:SS'), encode(b, 'hex'), ok::int)::text AS row FROM a
  UNION ALL SELECT 'o' || jsonb_build_array("the key", encode(part, 'hex'), v)::text FROM "Odd ""name" UNION ALL SELECT 'c' || jsonb_build_array(k, a)::text FROM c`;
const IN_SQLITE = `SELECT 'a' || json_array(id, word, n, r, d, at, CASE WHEN b IS NULL THEN NULL ELSE lower(hex(b)) END, ok) AS row FROM a
  UNION ALL SELECT 'o' || json_array("the key", lower(hex(part)), v) FROM "Odd ""name" UNION ALL SELECT 'c' || json_array(k, a) FROM c`;

function rows(found: Record<string, unknown>[]): string[] {
  return found
    .map(({ row }) => String(row))
    .map((row) => row.slice(0, 1) + JSON.stringify(JSON.parse(row.slice(1))))
    .toSorted();
}

for (let round = 0; round < ROUNDS; round += 1) {
  test(`traffic ${seed + round}: what PostgreSQL held is what the source holds`, async () => {
    const random = makeRandom(seed + round);
    await using world = await released({ sql: SQL, chunkRows: 7 });
    const before = rows(await world.ask(IN_POSTGRES));
    // A statement that breaks a rule does nothing.
    const traffic = Array.from(
      { length: STATEMENTS },
      () =>
        `DO $one$ BEGIN ${statement(random)}; EXCEPTION WHEN integrity_constraint_violation THEN NULL; END $one$`,
    );
    await world.ask(traffic.join(';\n'));
    const held = rows(await world.ask(IN_POSTGRES));
    expect(held).not.toEqual(before);
    expect(await world.undo('release-writes')).toMatchObject({ verdict: 'pass' });
    using source = new DatabaseSync(world.path, { readOnly: true });
    expect(rows(source.prepare(IN_SQLITE).all())).toEqual(held);
    expect(source.prepare('PRAGMA integrity_check').all()).toEqual([{ integrity_check: 'ok' }]);
    expect(source.prepare('PRAGMA foreign_key_check').all()).toEqual([]);
    for (const phase of ['switch', 'copy', 'hold-writes'] as const)
      expect(await world.undo(phase), phase).toMatchObject({ verdict: 'pass' });
  });
}
