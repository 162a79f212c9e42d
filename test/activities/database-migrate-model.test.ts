/**
 * Random small databases and random migrations of them: whatever is applied is what was tried, and after its undo
 * structure, rights and rows are those of before, or the step had said that they would not be.
 */
import { expect, test } from 'vitest';
import { RULES } from '../../activities/lib/migrate/lint.ts';
import { makeRandom, randomMigrations, randomSchema } from '../support/migrate-grammar.ts';
import { makeMigrateWorld } from '../support/migrate-world.ts';
import type { MigrateWorld } from '../support/migrate-world.ts';

const seed = Number(process.env['COUNTDOWN_TEST_SEED'] ?? 1);
const count = process.env['COUNTDOWN_TEST_DEEP'] === '1' ? 400 : 25;
const BATCH = 5;

/** Every finding is allowed: what is asked here is whether it comes back, not whether it stops a query. */
const ALLOW = Object.keys(RULES).map((rule) => ({ rule, because: 'nobody uses it' }));

type Ended = 'refused' | 'fails' | 'back' | 'for good';

async function oneOf(number: number): Promise<Ended> {
  const random = makeRandom(number);
  const schema = randomSchema(random);
  const { sql } = schema;
  const files = randomMigrations(random, schema);
  const forGood = random.chance(15);
  await using world = await makeMigrateWorld({
    sql,
    files,
    params: { lossyDown: true, allow: ALLOW, forGood, lockTries: 2 },
  });
  const before = await world.print();
  const inspected = await world.run('inspect').catch((error: unknown) => error as Error);
  expect(await world.print()).toEqual(before);
  if (inspected instanceof Error) {
    // A sentence with its name, and never a bug of ours.
    expect(inspected.message).toMatch(/ \([A-Z]\w+\)\.$/);
    return 'refused';
  }
  return await applyAndBack(world, before, forGood);
}

async function applyAndBack(
  world: MigrateWorld,
  before: Awaited<ReturnType<MigrateWorld['print']>>,
  forGood: boolean,
): Promise<Ended> {
  const applied = await world.run('apply').catch((error: unknown) => error as Error);
  if (applied instanceof Error) expect(applied.message).toMatch(/\(StatementFails\)\.$/);
  else expect(await world.run('verify')).toMatchObject({ verdict: 'pass' });
  if (forGood) return 'for good';
  await world.undo('apply');
  const after = await world.print();
  expect(after).toEqual(before);
  expect((await world.probe('apply')).answer).toBe('no');
  return applied instanceof Error ? 'fails' : 'back';
}

const ended: Ended[] = [];
const batches = Array.from({ length: Math.ceil(count / BATCH) }, (_, batch) => seed * 1_000 + batch * BATCH);

test.each(batches)(
  'random migrations from seed %i on come back, or are refused before',
  async (first) => {
    for (let number = first; number < first + BATCH; number += 1) {
      ended.push(
        await oneOf(number).catch((error: unknown) => {
          throw new Error(`World ${number}: ${error instanceof Error ? error.message : String(error)}`, {
            cause: error,
          });
        }),
      );
    }
  },
  120_000,
);

test('some of them were applied and some refused', () => {
  expect(ended).toContain('back');
  expect(ended).toContain('refused');
});
