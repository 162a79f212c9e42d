import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Plan } from '../../procedures/plan.ts';
import { undoSheet } from '../../procedures/undo-sheet.ts';
import { digest } from '../../store/digest.ts';
import { type StepSpec, makePlan } from '../support/plans.ts';
import { changed, hold, keep, launch, planSteps } from './support.ts';

const sheetOf = (plan: Plan) => undoSheet(plan, digest(plan));
const owed = (plan: Plan) =>
  plan.phases.filter(({ undo, undoWait }) => undo !== undefined || undoWait !== undefined);

/** The phases of the entries, in the order in which they stand. */
function entriesOf(sheet: string): string[] {
  return [...sheet.matchAll(/^\[ \] (\d+)\. +(\S+) {3}about /gm)].map(
    ([, number = '', phase = ''], index) => {
      expect(Number(number)).toBe(index + 1);
      return phase;
    },
  );
}

test('the sheet of first-launch is the one in the golden file', async () => {
  const plan = launch();
  await expect(undoSheet(plan, '7f3a91c204de'.padEnd(64, '0'))).toMatchFileSnapshot(
    'golden/first-launch.undo-sheet.golden',
  );
});

describe('on the sheet', () => {
  const step = fc.record({
    phases: fc.array(fc.constantFrom('none', 'reversible', 'costly'), { minLength: 1, maxLength: 4 }),
    isLine: fc.boolean(),
  });

  test('stands every phase with an undo, in reverse order, each once', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 8 }), (steps) => {
        const lineAt = steps.findIndex(({ isLine }) => isLine);
        const specs = steps.map(({ phases }, index): StepSpec => {
          if (index === lineAt)
            return { id: `s${index}`, phases: [{ name: 'p', wait: 'point-of-no-return' }] };
          return {
            id: `s${index}`,
            phases: phases.map((effect, at) => ({ name: `p${at}`, effect: effect as 'none' })),
          };
        });
        const plan = makePlan(specs);
        const sheet = sheetOf(plan);
        expect(entriesOf(sheet)).toEqual(
          owed(plan)
            .map(({ id }) => id)
            .toReversed(),
        );
        expect(sheet.includes('POINT OF NO RETURN')).toBe(lineAt >= 0);
        for (const line of sheet.split('\n')) expect(line.length).toBeLessThanOrEqual(78);
      }),
      { numRuns: 300 },
    );
  });

  test('stands what a person does whose undo is a person’s too', () => {
    const plan = planSteps(hold);
    const last = plan.phases.at(-1);
    if (last === undefined) throw new Error('The plan has no phase.');
    delete last.undo;
    delete last.byHand;
    last.undoWait = { wait: 'person', instructions: 'Put the sign away.', evidence: 'required' };
    expect(sheetOf(plan)).toContain('By hand   Put the sign away.');
  });

  test('stands room to write in what only the run will know, and a literal as it is meant', () => {
    const plan = planSteps([hold, keep], { head: 'description: x\n' });
    plan.params = { note: 'pay $$(a.b) \u001b[2J\nat once' };
    const sheet = sheetOf(plan);
    expect(sheet.replaceAll(/\s+/g, ' ')).toContain('{"value": "[found of hold: ____________]"}');
    expect(sheet).toContain('note = pay $(a.b) [2J at once');
    expect(sheet).not.toContain('\u001b');
  });

  test('stands that a step ran beside others', () => {
    const plan = planSteps(`{ id: both, parallel: [${hold}, { id: look, uses: wait, with: { for: 1s } }] }`);
    expect(sheetOf(plan).replaceAll(/\s+/g, ' ')).toContain(
      'Beside It ran beside other steps of both: of those, what began last goes first.',
    );
  });

  test('stands no address, no path and no secret of a target', () => {
    const environment = changed((file) => {
      file['targets'] = {
        ...file['targets'],
        flag: {
          kind: 'command',
          argv: ['/opt/secret-place/flag', 'set'],
          undo: ['/opt/secret-place/flag', 'unset'],
          probe: ['/opt/secret-place/flag', 'is-set'],
          env: { TOKEN: { env: 'FLAG_TOKEN' } },
        },
      };
    });
    const command = '{ id: flag, uses: command, with: { run: flag, args: [--mode, cold night] } }';
    const sheet = sheetOf(planSteps([hold, command], { environment }));
    expect(sheet).not.toMatch(/secret-place|FLAG_TOKEN|127\.0\.0\.1|piano_|srv/i);
    expect(sheet.replaceAll(/\s+/g, ' ')).toContain(
      "targets.flag.undo, followed by '--mode' 'cold night', with the variables under targets.flag.env and no others.",
    );
  });
});

test('a plan that changes nothing says so', () => {
  const plan = planSteps('{ id: ready, uses: http.check, with: { target: app, requests: [{ get: / }] } }');
  expect(sheetOf(plan)).toContain('This plan changes nothing that could be taken back.\n');
});
