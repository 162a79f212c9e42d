/** A check of the shipped runbook on real servers: it shows what is there, and leaves everything as it was. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type LaunchWorld, makeLaunchWorld } from '../support/launch-world.ts';
import {
  askTarget,
  intactEvidence,
  rowCounts,
  sourceDigest,
  stateOf,
} from '../support/launch-world-looks.ts';

const TEST_MS = 120_000;

let world: LaunchWorld;
beforeAll(async () => {
  world = await makeLaunchWorld();
}, TEST_MS);
afterAll(async () => world?.[Symbol.asyncDispose]());

const lookAtAll = async () => ({ state: await stateOf(world.stack), source: sourceDigest(world.stack) });

async function check(): Promise<{ code: number | null; text: string; run: number }> {
  const before = (await world.client().runs({ limit: 1 })).items[0]?.run ?? 0;
  const said = await world.cli('dana', ['check', 'first-launch', '--env', 'demo']);
  const code = await said.code;
  return { code, text: await said.text(), run: before + 1 };
}

test(
  'a check of first-launch shows real counts, changes nothing, asks nobody and leaves with 0',
  async () => {
    const before = await lookAtAll();
    const { code, text, run } = await check();
    expect(code, text).toBe(0);
    expect(text).toContain(
      `run ${run} looks at 4 steps and changes nothing: ready, database, smoke, watch\n`,
    );
    expect(text).toContain('Not checked  keep  point-of-no-return  it is the point of no return\n');
    expect(text).toContain(`run ${run}  check of first-launch → demo  ✓ succeeded  pass`);

    const ended = await world.client().run(run);
    expect(ended).toMatchObject({ check: true, runbook: 'first-launch', approvals: [], targets: [] });
    const inspect = ended.phases.find(({ phase }) => phase === 'database/inspect');
    const { users } = await rowCounts(world.stack);
    const rows = Number(/([\d,]+) rows/.exec(inspect?.summary ?? '')?.[1]?.replaceAll(',', ''));
    expect(rows).toBeGreaterThanOrEqual(users.source);
    expect(text).toContain(inspect?.summary);
    const { rows: journal } = await intactEvidence(world.client(), run);
    expect(new Set(journal.map(({ direction }) => direction))).toEqual(new Set([null, 'run']));
    expect((await lookAtAll()).state).toEqual(before.state);

    const listed = await world.cli('ana', ['runs']);
    expect(await listed.code).toBe(0);
    expect(await listed.text()).toMatch(/check of first-launch +demo +✓ succeeded/);
  },
  TEST_MS,
);

test(
  'a red inspect leaves with 5 and says what was found, and a check stands in no launch’s way',
  async () => {
    await askTarget(world.stack, 'create table public.left_over (id integer)');
    const { code, text, run } = await check();
    expect(code, text).toBe(5);
    expect(text).toContain('left_over');
    expect(await world.client().run(run)).toMatchObject({ state: 'stopped', check: true });
    await askTarget(world.stack, 'drop table public.left_over');

    const launch = await world.start();
    await world.until(launch, (now) => now.approvals.some(({ state }) => state === 'open'), { steps: [] });
    const refused = await check();
    expect(refused.code).toBe(1);
    expect(refused.text).toMatch(new RegExp(`is held by run ${launch} \\(first-launch, requester dana\\)`));
    const abort = await world.cli('dana', ['abort', String(launch), '--confirm', String(launch)]);
    expect(await abort.code).toBe(0);
    await world.until(launch, ({ endedAt }) => endedAt !== null);
  },
  TEST_MS,
);
