import { describe, expect, test } from 'vitest';
import { compile } from '../../procedures/compile.ts';
import { loadRunbooks } from '../../procedures/load-runbooks.ts';
import type { Json } from '../../procedures/plan.ts';
import { parseRunbook } from '../../procedures/runbook.ts';
import { leftOutBecause } from '../../procedures/when.ts';
import { digest } from '../../store/digest.ts';
import { changed, hold, keep, phase, problemOf, problemsOf, wait } from './support.ts';

const environment = changed((file) => {
  const hours = { days: ['Sat'], from: '01:00', to: '05:00', timezone: 'UTC' };
  file['windows'] = { night: hours };
  file['approvals'] = {};
  const { targets = {} } = file;
  targets['flag'] = { kind: 'switch', url: 'http://127.0.0.1:1/flag', values: ['off', 'on'] };
  targets['lamp'] = { kind: 'switch', url: 'http://127.0.0.1:1/lamp', values: ['off', 'on'] };
});
const use = (name: string, more = '', params = '') =>
  `{ id: use-${name}, uses: runbook, with: { runbook: ${name}${params === '' ? '' : `, params: ${params}`} }${more} }`;
const look = '{ id: look, uses: http.check, with: { target: app, requests: [{ get: / }] } }';
const flag = '{ id: flag, uses: app.switch, with: { switch: flag, to: on } }';
const lamp = '{ id: lamp, uses: app.switch, with: { switch: lamp, to: on } }';
const text = (name: string, steps: string[], head = '') =>
  `name: ${name}\n${head}steps:\n${steps.map((step) => `  - ${step}\n`).join('')}`;

const only = (step: string) => step.replace(/ }$/, ', when: { param: kind, is: full } }');
const block = (...steps: string[]) =>
  `{ id: both, parallel: [${steps.join(', ')}], approval: { from: { sre: 1 } } }`;

type Files = Record<string, { steps: string[]; head?: string }>;

/** The runbook of these steps, those that it uses beside it, as the doors make a plan of them. */
async function planned(
  steps: string[],
  files: Files,
  more: { head?: string; params?: Record<string, Json> } = {},
) {
  const runbook = parseRunbook(text('test', steps, more.head), 'runbook.yaml');
  const { runbooks } = await loadRunbooks(runbook, (name) => {
    const file = files[name];
    if (file === undefined) return Promise.resolve(undefined);
    return Promise.resolve({ file: `runbooks/${name}.yaml`, text: text(name, file.steps, file.head) });
  });
  return () => compile({ runbook, environment, params: more.params ?? {}, digest, runbooks });
}
const plan = async (...given: Parameters<typeof planned>) => (await planned(...given))();
const refused = async (...given: Parameters<typeof planned>) => problemOf(await planned(...given));

describe('a runbook that is used as a step', () => {
  test('has its steps in the plan, under the id of the step, in one order with the others', async () => {
    const made = await plan([wait('a'), use('inner'), wait('b')], { inner: { steps: [hold, look] } });
    expect(made.steps.map(({ id }) => id)).toEqual(['a', 'use-inner.hold', 'use-inner.look', 'b']);
    expect(made.phases.map(({ id, after }) => [id, after])).toEqual([
      ['a', []],
      ['use-inner.hold/read', ['a']],
      ['use-inner.hold/set', ['use-inner.hold/read']],
      ['use-inner.look', ['use-inner.hold/set']],
      ['b', ['use-inner.look']],
    ]);
    const value = parseRunbook(text('inner', [hold, look]), 'inner.yaml').source.value;
    expect(made.includes).toEqual({ inner: digest(value) });
    expect(await plan([wait('a')], {})).not.toHaveProperty('includes');
  });

  test('knows its own params, given by the step or their defaults, and no others', async () => {
    const head = "params: { p: { type: string }, q: { type: string, default: 'Q' } }\n";
    const tell = "{ id: tell, uses: notify, with: { target: app, text: '$(params.p) $(params.q)' } }";
    const made = await plan(
      [use('inner', '', "{ p: '$(params.own) $$(a.b)' }"), wait('b')],
      { inner: { steps: [tell], head } },
      { head: 'params: { own: { type: string } }\n', params: { own: 'mine $(x.y)' } },
    );
    expect(phase(made, 'use-inner.tell').run).toMatchObject({
      params: { text: 'mine $$(x.y) $$(a.b) Q' },
    });
    expect(made.params).toEqual({ own: 'mine $(x.y)' });
  });

  test('has references of its own steps, and steps below may name its outputs', async () => {
    const found = '{ id: say, uses: http.check, with: { target: app, requests: [{ get: /$(hold.found) }] } }';
    const below = found.replace('hold.found', 'use-inner.hold.found');
    const made = await plan([use('inner'), below], { inner: { steps: [hold, found] } });
    const asked = { params: { requests: [{ path: '/$(use-inner.hold.found)' }] } };
    expect(phase(made, 'use-inner.say').run).toMatchObject(asked);
    expect(phase(made, 'say').run).toMatchObject(asked);
    expect((await refused([use('inner'), found], { inner: { steps: [hold] } })).message).toBe(
      '$(hold.found) names no step of this runbook, expected one that stands above.',
    );
    expect((await refused([use('inner'), below], { inner: { steps: [wait('a')] } })).message).toBe(
      '$(use-inner.hold.found) names no step of this runbook, expected one that stands above.',
    );
  });

  test('keeps its blocks, and may stand inside others', async () => {
    const made = await plan([use('outer')], {
      outer: { steps: [use('inner'), wait('z')] },
      inner: { steps: [block(hold, flag)] },
    });
    expect(made.steps.map(({ id, block: name }) => [id, name])).toEqual([
      ['use-outer.use-inner.hold', 'use-outer.use-inner.both'],
      ['use-outer.use-inner.flag', 'use-outer.use-inner.both'],
      ['use-outer.z', undefined],
    ]);
    expect(Object.keys(made.approvals)).toContain('use-outer.use-inner.both');
    expect(Object.keys(made.includes ?? {})).toEqual(['outer', 'inner']);
  });

  test('shares one point of no return with the plan', async () => {
    const line = keep.replace(/ }$/, ', approval: { from: { sre: 1 } } }');
    const made = await plan([use('inner'), flag], { inner: { steps: [line] } });
    expect(phase(made, 'flag/set').effect).toBe('irreversible');
    expect(made.approvals['use-inner.keep']?.covers).toEqual(['use-inner.keep', 'flag']);
    expect((await refused([line, use('inner')], { inner: { steps: [line] } })).message).toBe(
      'A second point of no return stands here, expected one: keep is above it.',
    );
  });

  test('inherits approval, window, onFail and conditions of the step', async () => {
    const made = await plan(
      [use('inner', ', approval: { from: { owner: 1 } }, window: night, onFail: ask')],
      { inner: { steps: [look, hold.replace(/ }$/, ', approval: { from: { sre: 1 } } }'), flag] } },
    );
    const asked = Object.entries(made.approvals).filter(([, { skip }]) => skip !== true);
    expect(asked.map(([id, { from }]) => [id, from])).toEqual([
      ['use-inner.hold', { sre: 1, owner: 1 }],
      ['use-inner.flag', { owner: 1 }],
    ]);
    expect(made.steps.map(({ onFail, window }) => [onFail, window?.name])).toEqual([
      ['ask', 'night'],
      ['ask', 'night'],
      ['ask', 'night'],
    ]);
    const decided = await plan([hold, use('inner', ", when: { output: hold.found, is: 'x' }")], {
      inner: { steps: [wait('a'), wait('b')] },
    });
    expect(decided.phases.map(({ id }) => id)).toEqual([
      'hold/read',
      'hold/set',
      'use-inner.a/when',
      'use-inner.a/wait',
      'use-inner.b/when',
      'use-inner.b/wait',
    ]);
  });

  test('inherits a condition with the params of where it is written', async () => {
    const head = "params: { p: { type: string, default: 'outer' } }\n";
    const files = { inner: { steps: [wait('a')], head: head.replace('outer', 'inner') } };
    const when = ', when: { output: hold.found, is: $(params.p) }';
    const made = await plan([hold, use('inner', when)], files, { head });
    expect(phase(made, 'use-inner.a/when').run).toMatchObject({
      params: { conditions: [{ output: 'hold.found', words: 'outer' }] },
    });
    const wrong = when.replace('params.p', 'params.q');
    expect(await refused([hold, use('inner', wrong)], files, { head })).toMatchObject({
      file: 'runbook.yaml',
      pointer: '/steps/1/when',
    });
  });

  test('is left out as a whole by a param of the plan, and in parts by its own', async () => {
    const head = 'params: { kind: { type: choice, options: [quick, full], default: quick } }\n';
    const whole = await plan([wait('a'), use('inner', ', when: { param: kind, is: full }')], {}, { head });
    expect(whole.leftOut).toEqual([
      { id: 'use-inner', kind: 'runbook', when: { param: 'kind', is: 'full' } },
    ]);
    const part = await plan([use('inner')], { inner: { steps: [only(wait('a')), wait('b')], head } });
    expect(part.steps.map(({ id }) => id)).toEqual(['use-inner.b']);
    expect(part.leftOut?.map((step) => [step.id, leftOutBecause(step, part.params)])).toEqual([
      ['use-inner.a', "kind is 'quick', and it runs where kind is 'full'"],
    ]);
    const uses =
      '{ id: b, uses: http.check, with: { target: app, requests: [{ get: /$(use-inner.hold.found) }] } }';
    expect(
      (await refused([use('inner', ', when: { param: kind, is: full }'), uses], {}, { head })).message,
    ).toBe(
      "$(use-inner.hold.found) names an output of use-inner.hold, which is left out: it runs where kind is 'full'.",
    );
  });
});

describe('a runbook in a parallel block', () => {
  test('runs its steps one after the other beside the other branches, and is asked about with them', async () => {
    const made = await plan([block(use('inner'), hold), wait('z')], { inner: { steps: [look, flag, lamp] } });
    expect(made.phases.map(({ id, after, waitsFor }) => [id, after, waitsFor?.approval])).toEqual([
      ['use-inner.look', [], undefined],
      ['use-inner.flag/read', ['use-inner.look'], undefined],
      ['use-inner.flag/set', ['use-inner.flag/read'], 'both'],
      ['use-inner.lamp/read', ['use-inner.flag/set'], undefined],
      ['use-inner.lamp/set', ['use-inner.lamp/read'], undefined],
      ['hold/read', [], undefined],
      ['hold/set', ['hold/read'], 'both'],
      ['z', ['use-inner.lamp/set', 'hold/set'], undefined],
    ]);
    expect(made.approvals['both']).toMatchObject({
      covers: ['use-inner.look', 'use-inner.flag', 'use-inner.lamp', 'hold'],
      leading: ['use-inner.look', 'use-inner.flag/read', 'hold/read'],
    });
  });

  test('knows what its own steps above found', async () => {
    const say = '{ id: say, uses: http.check, with: { target: app, requests: [{ get: /$(flag.found) }] } }';
    const made = await plan([block(use('inner'), hold)], { inner: { steps: [flag, say] } });
    expect(made.steps).toHaveLength(3);
  });

  test('changes nothing that another branch changes', async () => {
    expect(await refused([block(use('inner'), flag)], { inner: { steps: [flag] } })).toMatchObject({
      code: 'ParallelTargets',
      message: 'flag and use-inner run beside each other and both change flag, expected one of them.',
    });
  });

  test.each([
    ['a parallel block (both)', `{ id: both, parallel: [${wait('x')}, ${wait('y')}] }`],
    ['a point of no return (keep)', keep],
    ['an approval (hold)', hold.replace(/ }$/, ', approval: { from: { sre: 1 } } }')],
    ['an approval (talk)', '{ id: talk, uses: approval, approval: { from: { sre: 1 } } }'],
    [
      'a condition on an output (last)',
      "{ id: last, uses: wait, with: { for: 1s }, when: { output: flag.found, is: 'x' } }",
    ],
  ])('is refused with %s', async (what, step) => {
    expect((await refused([block(use('inner'), lamp)], { inner: { steps: [flag, step] } })).message).toBe(
      `Runbook 'inner' has ${what} and stands in a parallel block, expected one without.`,
    );
  });
});

describe('a runbook that cannot be used', () => {
  const file = { file: 'runbooks/inner.yaml', line: 3 };

  test('is refused where there is none of the name', async () => {
    expect(await refused([use('nowhere')], {})).toMatchObject({
      file: 'runbook.yaml',
      pointer: '/steps/0/with/runbook',
      message: "There is no runbook 'nowhere', expected one that is shipped.",
    });
  });

  test('says what is wrong in it with its own file, line and column', async () => {
    const bad = look.replace('target: app', 'target: ap');
    expect(await refused([wait('a'), use('inner')], { inner: { steps: [bad] } })).toMatchObject({
      ...file,
      column: 51,
      pointer: '/steps/0/with/target',
      code: 'TargetUnknown',
    });
    const unread = await refused([use('inner')], { inner: { steps: [wait('A')] } });
    expect(unread).toMatchObject({ ...file, pointer: '/steps/0/id' });
    const form = await refused([use('inner')], {
      inner: { steps: ['{ id: a, uses: wait, with: { fro: 1s, for: 1s } }'] },
    });
    expect(form).toMatchObject({ ...file, message: "'fro' is not a key in steps[0].with, expected for." });
    const twice = await planned([use('inner')], {
      inner: { steps: ['{ id: a, uses: wait, with: { for: $(params.x) } }'] },
    });
    expect(problemsOf(twice).map(({ file: of, message }) => [of, message])).toEqual([
      [file.file, "The runbook has no param 'x', expected one that params declares."],
    ]);
  });

  test('is refused where it uses itself, with the way to it', async () => {
    expect(await refused([use('a')], { a: { steps: [use('b')] }, b: { steps: [use('a')] } })).toMatchObject({
      file: 'runbooks/b.yaml',
      message: "Runbook 'a' uses itself: test → a → b → a.",
    });
    expect((await refused([use('test')], {})).message).toBe("Runbook 'test' uses itself: test → test.");
  });

  test('is refused more than 4 levels deep', async () => {
    const files = { a: ['b'], b: ['c'], c: ['d'], d: ['e'], e: [] as string[] };
    const steps = Object.fromEntries(
      Object.entries(files).map(([name, used]) => [
        name,
        { steps: used.length === 0 ? [wait('x')] : used.map((one) => use(one)) },
      ]),
    );
    expect((await refused([use('a')], steps)).message).toBe(
      'Runbooks stand inside each other 5 levels deep, expected at most 4: test → a → b → c → d → e.',
    );
    expect((await plan([use('b')], steps)).steps).toHaveLength(1);
  });

  test('is refused with more steps than one plan may have, however they come together', async () => {
    const many = (name: string, count: number) =>
      Array.from({ length: count }, (_, index) => use(name).replace(`use-${name}`, `s${index}`));
    const message =
      'With the runbooks that it uses the runbook has more than 100 steps, expected at most 100.';
    const files = { a: { steps: many('b', 60) }, b: { steps: [wait('x'), wait('y')] } };
    expect((await refused([use('a')], files)).message).toBe(message);
    const none = await planned(many('a', 90), { a: { steps: many('nowhere', 90) } });
    expect(problemsOf(none).map((problem) => problem.message)).toContain(message);
  });

  test.each([
    ['a param that it has not', "{ q: 'x' }", "Runbook 'inner': The runbook has no param 'q', expected p."],
    ['a param of another type', '{ p: x }', "Runbook 'inner': Param 'p' is 'x', expected a whole number."],
    ['no value', '{}', "Runbook 'inner': Param 'p' is missing, expected a whole number."],
    [
      'what a step finds',
      '{ p: $(hold.found) }',
      '$(hold.found) cannot be a param of a runbook, expected plain text or params: the plan is made before any step has run.',
    ],
    [
      'a param that the plan has not',
      '{ p: $(params.x) }',
      "The runbook has no param 'x', expected one that params declares.",
    ],
  ])('is refused with %s', async (_, params, message) => {
    const head = 'params: { p: { type: integer } }\n';
    const all = problemsOf(
      await planned([hold, use('inner', '', params)], { inner: { steps: [wait('a')], head } }),
    );
    expect(all.map((problem) => problem.message)).toContain(message);
    expect(all[0]?.file).toBe('runbook.yaml');
  });

  test.each([
    ['timeout', ', timeout: 5s'],
    ['tries', ', tries: 2'],
    ['rollback', ', rollback: { within: 5m }'],
  ])('is refused with %s beside it', (key, more) => {
    expect(problemOf(() => parseRunbook(text('test', [use('inner', more)]), 'runbook.yaml'))).toMatchObject({
      pointer: `/steps/0/${key}`,
      message: `${key} stands beside uses: runbook, expected it at the steps of that runbook.`,
    });
  });

  test('is refused without a name, and with an approval of a group that there is not', async () => {
    const nameless = '{ id: a, uses: runbook, with: {} }';
    expect(problemOf(() => parseRunbook(text('test', [nameless]), 'runbook.yaml')).message).toBe(
      'steps[0].with.runbook is missing, expected text.',
    );
    const asked = use('inner', ', approval: { from: { sree: 1 } }');
    expect(await refused([asked], { inner: { steps: [hold] } })).toMatchObject({
      file: 'runbook.yaml',
      pointer: '/steps/0/approval/from/sree',
      hint: 'write sre',
    });
  });
});
