/**
 * One runbook that uses every construct, on real servers: it is paused, partly skipped, aborted past its parallel block, and
 * taken back in the right order.
 */
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseDocument } from 'yaml';
import type { RunDetailWire } from '../../cli/wire.ts';
import { makeFolder } from '../../scripts/lib/processes.ts';
import { type LaunchWorld, makeLaunchWorld } from '../support/launch-world.ts';
import { intactEvidence, stateOf } from '../support/launch-world-looks.ts';

const TEST_MS = 180_000;

const RUNBOOK = `name: everything
description: Every construct of the language
params: { cold: { type: boolean, default: true }, least: { type: integer, default: 10 } }
rollback: { within: 30m }
steps:
  - { id: ready, uses: http.check, with: { target: app, requests: [{ get: /health/ready }] } }
  - { id: found, uses: sql.check, with: { target: app-postgres, query: 'select 3', expect: 3 } }
  - id: both
    parallel:
      - { id: hold, uses: app.switch, with: { switch: app-database-mode, to: sqlite-held }, rollback: { within: 20m } }
      - { id: flag, uses: command, with: { run: flag }, timeout: 30s, tries: 2 }
    window: always
    approval: { from: { sre: 1 }, comment: required }
  - { id: above, uses: command, with: { run: flag }, when: { output: found.value, above: $(params.least) } }
  - { id: warm, uses: wait, with: { for: 1s }, when: { param: cold, is: false } }
  - { id: hand, uses: manual, with: { instructions: Put the sign up., undo: Take the sign down. } }
  - { id: red, uses: sql.check, with: { target: app-postgres, query: 'select $1::int', values: [$(found.value)], expect: 4 }, onFail: ask }
  - { id: stay, uses: wait, with: { for: 10m } }
  - { id: keep, uses: point-of-no-return, with: { because: Nothing goes back. } }
  - { id: open, uses: app.switch, with: { switch: app-database-mode, to: sqlite } }
`;

let world: LaunchWorld;
let folder: Awaited<ReturnType<typeof makeFolder>>;
beforeAll(async () => {
  folder = await makeFolder('countdown-flag-');
  const file = join(folder.path, 'flag');
  world = await makeLaunchWorld({
    environment: [
      [
        ['targets', 'flag'],
        {
          kind: 'command',
          argv: ['/usr/bin/touch', file],
          undo: ['/bin/rm', '-f', file],
          probe: ['/usr/bin/test', '-e', file],
          effect: 'reversible',
        },
      ],
      [
        ['windows'],
        {
          always: {
            days: ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'],
            from: '00:00',
            to: '24:00',
            timezone: 'UTC',
          },
        },
      ],
    ],
  });
}, TEST_MS);
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
  await folder?.discard();
});

const stateIn = (run: RunDetailWire, id: string) => run.phases.find(({ phase }) => phase === id)?.state;
const isAsked = (step: string) => (run: RunDetailWire) =>
  run.approvals.some((one) => one.step === step && one.state === 'open');

async function approve(number: number, step: string, people: readonly string[]): Promise<void> {
  const run = await world.client().run(number);
  const evidence = run.approvals.findLast((one) => one.step === step)?.evidence;
  for (const person of people) {
    const body = { step, decision: 'approve', plan: run.plan, evidence, reason: 'seen' };
    await world.client(person).decide(number, body);
  }
}

test(
  'a run through every construct is paused, partly skipped, aborted past a parallel block and unwound in order',
  async () => {
    const dana = world.client();
    const before = await stateOf(world.stack);
    const { plan } = await dana.makePlan({ runbook: { text: RUNBOOK }, environment: 'demo', params: {} });
    const { run } = await dana.start({ plan }, randomUUID());

    await world.until(run, isAsked('both'), { steps: [] });
    expect(existsSync(join(folder.path, 'flag'))).toBe(false);
    await dana.steer(run, 'pause', { reason: 'coffee' });
    expect((await dana.run(run)).state).toBe('paused');
    await dana.steer(run, 'resume', {});
    await approve(run, 'both', ['ana']);

    const waiting = await world.until(run, (now) => stateIn(now, 'hand') === 'running', { steps: [] });
    expect([stateIn(waiting, 'hold/set'), stateIn(waiting, 'flag'), stateIn(waiting, 'above/run')]).toEqual([
      'done',
      'done',
      'skipped',
    ]);
    expect(existsSync(join(folder.path, 'flag'))).toBe(true);
    await dana.steer(run, 'done', { phase: 'hand', evidence: 'The sign is up, photo 1.' });

    await world.until(run, (now) => now.state === 'waiting' && stateIn(now, 'red') === 'done', { steps: [] });
    const answer = await dana.steer(run, 'skip', { phase: 'red', reason: 'known and harmless' });
    if (answer.detail.includes('must approve')) {
      await world.until(run, isAsked('red'), { steps: [] });
      await approve(run, 'red', ['ana', 'olu']);
    }
    await world.until(run, (now) => stateIn(now, 'stay') === 'running', { steps: [] });

    await dana.steer(run, 'abort', { reason: 'enough' });
    const stuck = await world.until(run, (now) => now.state === 'stuck', { steps: [] });
    expect([stateIn(stuck, 'hand'), stateIn(stuck, 'flag'), stateIn(stuck, 'hold/set')]).toEqual([
      'undoing',
      'undone',
      'undone',
    ]);
    expect(existsSync(join(folder.path, 'flag'))).toBe(false);
    await world
      .client('olu')
      .steer(run, 'resolve', { phase: 'hand', done: true, evidence: 'The sign is down, photo 2.' });

    const ended = await world.until(run, (now) => now.state === 'rolled-back', { steps: [] });
    // A command leaves nothing that could be compared, and the sign is a person's word.
    expect(ended).toMatchObject({ verified: false, notVerified: ['flag', 'hand'] });
    expect((await stateOf(world.stack)).mode).toEqual(before.mode);

    const { rows } = await intactEvidence(dana, run);
    const begun = rows
      .filter(({ kind, direction }) => kind === 'intent' && direction === 'run')
      .map(({ phase }) => phase);
    const undone = rows
      .filter(({ kind, direction }) => kind === 'intent' && direction === 'undo')
      .map(({ phase }) => phase);
    expect(begun).not.toContain('above/run');
    expect(new Set(undone)).toEqual(new Set(['flag', 'hold/set']));
  },
  TEST_MS,
);

test(
  'a target that is added to the environment file can be used without a new worker',
  async () => {
    const dana = world.client();
    const file = join(world.stack.folder, 'environments', 'demo.yaml');
    const document = parseDocument(await readFile(file, 'utf8'));
    document.setIn(['targets', 'later'], { kind: 'command', argv: ['/bin/true'], effect: 'none' });
    await writeFile(file, document.toString());
    const text = 'name: later\nsteps:\n  - { id: later, uses: command, with: { run: later } }\n';
    const { plan } = await dana.makePlan({ runbook: { text }, environment: 'demo', params: {} });
    // Until the worker has looked again it says that its copy differs, and nothing is started.
    const deadline = Date.now() + 30_000;
    for (;;) {
      const { run } = await dana.start({ plan }, randomUUID());
      const ended = await world.until(run, ({ state }) => state === 'succeeded' || state === 'stopped');
      if (ended.state === 'succeeded') return;
      expect(ended.because).toContain("Target 'later' in this worker's copy");
      expect(Date.now()).toBeLessThan(deadline);
    }
  },
  TEST_MS,
);
