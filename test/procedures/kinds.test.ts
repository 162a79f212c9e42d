import { describe, expect, test } from 'vitest';
import { hold, keep, phase, planSteps, problemOf, problemsOf, wait } from './support.ts';

describe('kinds', () => {
  test.each([
    [
      'a value that the switch has not',
      hold.replace('sqlite-held', 'sqlite-hold'),
      "Switch 'app-database-mode' has no value 'sqlite-hold', expected sqlite, sqlite-held, postgres-held or postgres.",
    ],
    [
      'a reverse capture that nothing ends',
      '{ id: a, uses: database.import, with: { source: app-sqlite, target: app-postgres, switch: app-database-mode, reverseCapture: true } }',
      'a keeps what is written for the way back, and nothing ends that, expected a point of no return below it.',
    ],
    [
      'no request',
      '{ id: a, uses: http.check, with: { target: app, requests: [] } }',
      'steps[0].with.requests is a list, expected at least 1 request.',
    ],
    [
      'a request of two methods',
      '{ id: a, uses: http.check, with: { target: app, requests: [{ get: /, head: / }] } }',
      'A request has one method, expected exactly one of get, head or options with its path.',
    ],
    [
      'a request that changes something',
      '{ id: a, uses: http.check, with: { target: app, requests: [{ post: / }] } }',
      'post comes with a later version: a check changes nothing, expected get, head or options.',
    ],
    [
      'every without for',
      '{ id: a, uses: http.check, with: { target: app, requests: [{ get: / }], every: 1s } }',
      'every stands without for, expected both or neither.',
    ],
    [
      'a watch without a reading',
      '{ id: a, uses: http.check, with: { target: app, requests: [{ get: / }], for: 1s, every: 2s } }',
      'every is longer than for, expected time for at least one reading.',
    ],
    [
      'a path of another host',
      "{ id: a, uses: http.check, with: { target: app, requests: [{ get: 'http://evil' }] } }",
      "steps[0].with.requests[0].get is 'http://evil', expected a path that begins with '/' and has no spaces.",
    ],
    [
      'a wait without time',
      '{ id: a, uses: wait }',
      "steps[0].with.for is missing, expected a duration such as '30s', '5m', '4h', '7d' or '1h30m'.",
    ],
    [
      'a point of no return without a reason',
      '{ id: a, uses: point-of-no-return }',
      'steps[0].with.because is missing, expected text.',
    ],
    [
      'an unknown key',
      '{ id: a, uses: wait, with: { for: 1s, fro: 2s } }',
      "'fro' is not a key in steps[0].with, expected for.",
    ],
  ])('refuse %s', (_, step, message) => {
    expect(problemOf(() => planSteps([step])).message).toBe(message);
  });

  test('http.check watches with a reading a second, and three tries where it asks once', () => {
    const [once, watch] = planSteps([
      '{ id: a, uses: http.check, with: { target: app, requests: [{ head: /x, status: 204, headers: [Content-Security-Policy] }] } }',
      '{ id: b, uses: http.check, with: { target: app, requests: [{ get: / }], for: 10m } }',
    ]).phases;
    expect(once?.run).toEqual({
      activity: 'http.check/check/run',
      params: {
        target: 'app',
        requests: [{ method: 'HEAD', path: '/x', status: 204, headers: ['content-security-policy'] }],
        forMs: null,
        everyMs: 1_000,
        breach: { count: 2, of: 3 },
        tries: 3,
      },
    });
    expect(watch).toMatchObject({
      run: { params: { forMs: 600_000, everyMs: 1_000 } },
      expected: { runMs: 600_000 },
    });
    expect(watch?.limits.timeoutMs).toBeGreaterThan(600_000);
  });
});

describe('params and references', () => {
  const head =
    'params: { time: { type: duration, default: 5m }, path: { type: string, default: /x }, code: { type: integer, default: 200 } }\n';
  const check =
    '{ id: a, uses: http.check, with: { target: app, requests: [{ get: $(params.path)/y, status: $(params.code) }], for: $(params.time) } }';

  test('are filled in with their type, and stand in the plan', () => {
    const plan = planSteps([check], { head, params: { code: 204 } });
    expect(plan.phases[0]?.run).toMatchObject({
      params: { requests: [{ path: '/x/y', status: 204 }], forMs: 300_000 },
    });
    expect(plan.params).toEqual({ time: '5m', path: '/x', code: 204 });
  });

  test('an output of a step above stays a reference', () => {
    const plan = planSteps([
      hold,
      '{ id: b, uses: http.check, with: { target: app, requests: [{ get: /was/$(hold.found) }] } }',
    ]);
    expect(phase(plan, 'b').run).toMatchObject({ params: { requests: [{ path: '/was/$(hold.found)' }] } });
  });

  test.each([
    [
      'a step below',
      '$(b.found)',
      '$(b.found) names a step that does not stand above this one, so it has no outputs yet.',
    ],
    [
      'the step itself',
      '$(c.found)',
      '$(c.found) names a step that does not stand above this one, so it has no outputs yet.',
    ],
    ['no step', '$(x.found)', '$(x.found) names no step of this runbook, expected one that stands above.'],
    ['no output of it', '$(hold.fond)', '$(hold.fond) names no output of hold (app.switch), expected found.'],
    ['no param', '$(params.x)', "The runbook has no param 'x', expected one that params declares."],
    ['nothing at all', '$(hold)', "'$(hold)' is no reference, expected $(params.NAME) or $(STEP.OUTPUT)."],
  ])('a reference to %s is refused', (_, reference, message) => {
    const steps = [
      hold,
      `{ id: c, uses: http.check, with: { target: app, requests: [{ get: '/${reference}' }] } }`,
      hold.replace('hold', 'b'),
    ];
    expect(problemOf(() => planSteps(steps)).message).toBe(message);
  });

  test('a step that only waits takes no outputs', () => {
    const step = keep.replace('It is time.', () => "'It was $(hold.found).'");
    expect(problemOf(() => planSteps([hold, step])).message).toBe(
      '$(hold.found) cannot stand in a step of kind point-of-no-return, expected plain text or params.',
    );
  });

  test('what is meant as text is text, where it waits and where it is called', () => {
    const plan = planSteps([
      '{ id: b, uses: http.check, with: { target: app, requests: [{ get: /$$(b.found) }] } }',
      keep.replace('It is time.', () => "'It costs $$(hold.found) and $$(5).'"),
    ]);
    expect(phase(plan, 'b').run).toMatchObject({ params: { requests: [{ path: '/$$(b.found)' }] } });
    expect(phase(plan, 'keep').run).toMatchObject({ because: 'It costs $(hold.found) and $(5).' });
  });

  test('a param cannot bring a reference with it', () => {
    const plan = planSteps(
      [hold, '{ id: b, uses: http.check, with: { target: app, requests: [{ get: $(params.path) }] } }'],
      {
        head,
        params: { path: '/$(hold.found)' },
      },
    );
    expect(phase(plan, 'b').run).toMatchObject({ params: { requests: [{ path: '/$$(hold.found)' }] } });
  });

  test.each([
    [
      'an unknown param',
      { nme: 1 },
      "The runbook has no param 'nme', expected time, path or code.",
      '/params/nme',
    ],
    ['another type', { code: 'many' }, "Param 'code' is 'many', expected a whole number.", '/params/code'],
    [
      'no duration',
      { time: '5 min' },
      "Param 'time' is '5 min', expected a duration such as '30s', '5m', '4h', '7d' or '1h30m'.",
      '/params/time',
    ],
    [
      'an invisible character',
      { path: '/\u0000' },
      "Param 'path' is '/\u0000', expected one line of text, at most 1000 characters.",
      '/params/path',
    ],
  ])('%s is refused', (_, params, message, pointer) => {
    expect(problemOf(() => planSteps([check], { head, params }))).toMatchObject({
      code: 'ParamsInvalid',
      message,
      pointer,
    });
  });

  test.each([
    ['no references', '$('.repeat(100_000)],
    [
      'references to different steps',
      Array.from({ length: 15_000 }, (_unused, index) => `$(s${index}.out)`).join(''),
    ],
    ['references to params', '$(params.nothing)'.repeat(14_000)],
    ['marks', '$'.repeat(250_000)],
  ])('a text full of %s is answered at once', (_unused, text) => {
    const startedAt = performance.now();
    const step = `{ id: a, uses: http.check, with: { target: app, requests: [{ get: '/${text}' }] } }`;
    expect(problemsOf(() => planSteps([step])).length).toBeLessThanOrEqual(221);
    expect(performance.now() - startedAt).toBeLessThan(2_000);
  });

  test('a long param cannot be multiplied', () => {
    const request = `{ get: '/${'$(params.note)'.repeat(500)}' }`;
    const step = `{ id: a, uses: http.check, with: { target: app, requests: [${request}] } }`;
    const long = { head: 'params: { note: { type: text } }\n', params: { note: 'x'.repeat(16_000) } };
    expect(new Set(problemsOf(() => planSteps([step], long)).map(({ message }) => message))).toEqual(
      new Set(['The step holds more than 65536 characters of params.']),
    );
  });

  test('a param without a default must be given', () => {
    const release = 'params: { release: { type: version } }\n';
    expect(problemOf(() => planSteps([wait('a')], { head: release }))).toMatchObject({
      code: 'ParamsInvalid',
      message:
        "Param 'release' is missing, expected a version such as '1.4.0', in quotes where it could be read as a number.",
      hint: 'give release=VALUE',
    });
    expect(planSteps([wait('a')], { head: release, params: { release: '1.4.0-rc.1' } }).params).toEqual({
      release: '1.4.0-rc.1',
    });
  });
});
