import { describe, expect, test } from 'vitest';
import { parseRunbook } from '../../procedures/runbook.ts';
import { changed, hold, keep, phase, planSteps, problemOf, wait } from './support.ts';

const environment = changed((file) => {
  const { targets = {} } = file;
  targets['flag'] = { kind: 'switch', url: 'http://127.0.0.1:1/flag', values: ['off', 'on'] };
});
const flag = '{ id: flag, uses: app.switch, with: { switch: flag, to: on } }';
const block = (branches: string[], more = '') => `{ id: both, parallel: [${branches.join(', ')}]${more} }`;

describe('a parallel block', () => {
  const plan = planSteps(
    [wait('first'), block([hold, flag], ', approval: { from: { sre: 1 } }'), wait('last')],
    {
      environment,
    },
  );

  test('begins after the entry before it, and the next entry begins after all of its steps', () => {
    expect(plan.phases.map(({ id, after }) => [id, after])).toEqual([
      ['first', []],
      ['hold/read', ['first']],
      ['hold/set', ['hold/read']],
      ['flag/read', ['first']],
      ['flag/set', ['flag/read']],
      ['last', ['hold/set', 'flag/set']],
    ]);
    expect(plan.steps.map(({ id, block: name }) => [id, name])).toEqual([
      ['first', undefined],
      ['hold', 'both'],
      ['flag', 'both'],
      ['last', undefined],
    ]);
  });

  test('asks once for all of its steps', () => {
    expect(phase(plan, 'hold/set').waitsFor).toEqual({ approval: 'both' });
    expect(phase(plan, 'flag/set').waitsFor).toEqual({ approval: 'both' });
    expect(plan.approvals).toMatchObject({
      both: { from: { sre: 1 }, covers: ['hold', 'flag'], leading: ['hold/read', 'flag/read'] },
    });
  });

  test('is not for steps that change one target', () => {
    const other = hold.replace('id: hold', 'id: other');
    expect(problemOf(() => planSteps([block([hold, other])]))).toMatchObject({
      code: 'ParallelTargets',
      message:
        'other and hold run beside each other and both change app-database-mode, expected one of them.',
      hint: 'write one of them below the block',
    });
  });

  test('is not for a point of no return', () => {
    expect(problemOf(() => planSteps([block([keep, wait('a')])])).message).toBe(
      'A step of kind point-of-no-return stands in a parallel block, expected it between the entries of the runbook.',
    );
  });

  test('has steps that know nothing of each other', () => {
    const one = '{ id: one, uses: sql.check, with: { target: app-postgres, query: select 1, expect: 1 } }';
    const two = one.replace('one', 'two').replace('expect: 1', 'expect: $(one.value)');
    expect(problemOf(() => planSteps([block([one, two])])).message).toBe(
      '$(one.value) names a step that does not stand above this one, so it has no outputs yet.',
    );
  });
});

const problemIn = (entry: string) =>
  problemOf(() => parseRunbook(`name: x\nsteps: [${entry}]`, 'runbook.yaml'));

test.each([
  ['one step', block([wait('a')]), 'steps[0].parallel is a list, expected at least 2 steps.'],
  [
    'a block in a block',
    block([block([wait('a'), wait('b')]), wait('c')]),
    'parallel stands inside parallel, expected steps that use a kind.',
  ],
  [
    'uses beside it',
    block([wait('a'), wait('b')], ', uses: wait'),
    'The entry has uses and parallel, expected one of the two.',
  ],
  [
    'an approval of a branch',
    block([wait('a').replace(/ }$/, ', approval: { from: { sre: 1 } } }'), wait('b')]),
    'A branch asks for no approval of its own, expected one approval of the whole block.',
  ],
  [
    'an id twice',
    block([wait('both'), wait('b')]),
    "Step 'both' stands here a second time, first in line 2, expected each id once.",
  ],
])('parallel with %s is refused', (_, entry, message) => {
  expect(problemIn(entry).message).toBe(message);
});
