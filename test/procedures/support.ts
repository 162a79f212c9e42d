/** What the tests of this folder share: the shipped files, a compiler with the real digest, and problems as values. */
import { readFileSync } from 'node:fs';
import { parse, stringify } from 'yaml';
import { compile } from '../../procedures/compile.ts';
import { type Environment, parseEnvironment } from '../../procedures/environment.ts';
import type { Runbooks } from '../../procedures/include.ts';
import type { Json, Plan } from '../../procedures/plan.ts';
import { PlanProblem, type Problem } from '../../procedures/problem.ts';
import { parseRunbook } from '../../procedures/runbook.ts';
import { digest } from '../../store/digest.ts';

export function shipped(path: string): string {
  return readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');
}

export const demo = (): Environment => parseEnvironment(shipped('environments/demo.yaml'), 'demo.yaml');

/** A runbook of these steps, each a line of YAML, in the demo environment. */
export function planSteps(
  steps: string | string[],
  more: {
    environment?: Environment;
    params?: Record<string, Json>;
    head?: string;
    runbooks?: Runbooks;
  } = {},
): Plan {
  const text = `name: test\n${more.head ?? ''}steps:\n${[steps]
    .flat()
    .map((step) => `  - ${step}\n`)
    .join('')}`;
  return planText(text, more);
}

export function planText(
  text: string,
  more: { environment?: Environment; params?: Record<string, Json>; runbooks?: Runbooks } = {},
): Plan {
  const runbook = parseRunbook(text, 'runbook.yaml');
  return compile({
    runbook,
    environment: more.environment ?? demo(),
    params: more.params ?? {},
    digest,
    ...(more.runbooks === undefined ? {} : { runbooks: more.runbooks }),
  });
}

/** Every problem that was thrown. Anything else that is thrown is thrown on; nothing thrown is an error. */
export function problemsOf(act: () => unknown): readonly Problem[] {
  try {
    act();
  } catch (error) {
    if (error instanceof PlanProblem) return error.problems;
    throw error;
  }
  throw new Error('Nothing was refused, expected a PlanProblem.');
}

/** The only problem. */
export function problemOf(act: () => unknown): Problem {
  const problems = problemsOf(act);
  const [first] = problems;
  if (first === undefined || problems.length > 1) {
    throw new Error(
      `Found ${problems.length} problems, expected one: ${problems.map(({ message }) => message).join(' ')}`,
    );
  }
  return first;
}

export const launch = () => planText(shipped('runbooks/first-launch.yaml'));
export const keep = '{ id: keep, uses: point-of-no-return, with: { because: It is time. } }';
export const hold = '{ id: hold, uses: app.switch, with: { switch: app-database-mode, to: sqlite-held } }';
export const wait = (id: string) => `{ id: ${id}, uses: wait, with: { for: 1s } }`;
export const phase = (plan: Plan, id: string) => {
  const found = plan.phases.find((one) => one.id === id);
  if (found === undefined)
    throw new Error(`The plan has ${plan.phases.map((one) => one.id).join(', ')}, expected ${id}.`);
  return found;
};

/** The demo environment with parts of it replaced. */
export const changed = (change: (file: Record<string, Record<string, unknown>>) => void) => {
  const file = parse(shipped('environments/demo.yaml'));
  change(file);
  return parseEnvironment(stringify(file, { aliasDuplicateObjects: false }), 'demo.yaml');
};
