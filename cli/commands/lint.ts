/**
 * `countdown lint FILE|NAME… [--env NAME]`: every problem of runbooks and environment files, without the API. What one
 * person writes is checked here before anybody else sees it, so this command alone reads the language itself.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { compile } from '../../procedures/compile.ts';
import { type Environment, environmentFileProblems, parseEnvironment } from '../../procedures/environment.ts';
import { type LoadedRunbooks, loadRunbooks } from '../../procedures/load-runbooks.ts';
import type { Json } from '../../procedures/plan.ts';
import { PlanProblem, type Problem, render } from '../../procedures/problem.ts';
import { type Runbook, parseRunbook } from '../../procedures/runbook.ts';
import { decodeYaml, readYaml } from '../../procedures/yaml.ts';
import type { CommandContext } from '../context.ts';
import { UsageError, keepLines } from '../errors.ts';
import { EXIT } from '../exit-codes.ts';
import { plural, safe } from '../view/style.ts';
import { type Command, type Values, readParams, stringOf } from './command.ts';
import { isPath } from './plan.ts';

const FILES_MAX = 1_000;

/** What was found in one file. */
type Finding = {
  file: string;
  kind: 'runbook' | 'environment';
  problems: readonly Problem[];
  /** What a good file holds, in words. */
  holds: string;
  text: string;
  /** Of the runbooks that it uses too, by file. */
  texts?: ReadonlyMap<string, string>;
};

type Read = { file: string; bytes: Uint8Array };
type Text = { file: string; text: string };
type InEnvironment = { environment: Environment; params: Record<string, Json>; declared: Set<string> };

export const lint: Command = {
  usage: 'lint FILE.yaml|NAME… [--env NAME|FILE.yaml] [--param NAME=VALUE]',
  about:
    'Print every problem of runbooks and environment files; with --env also what a plan would find. No API.',
  options: { env: { type: 'string', short: 'e' }, param: { type: 'string', multiple: true } },
  takes: { least: 1, most: FILES_MAX },
  async run(context, names, values) {
    const findings = await lintAll(context, names, values);
    const count = findings.reduce((sum, { problems }) => sum + problems.length, 0);
    context.answer(() => lintLines(findings, count), {
      problems: count,
      files: findings.map(({ file, kind, problems }) => ({ file, kind, problems })),
    });
    return count === 0 ? EXIT.succeeded : EXIT.usage;
  },
};

async function lintAll(context: CommandContext, names: string[], values: Values): Promise<Finding[]> {
  const { variables } = context.terminal;
  const runbooks = variables['COUNTDOWN_RUNBOOKS'] ?? 'runbooks';
  const named = stringOf(values, 'env');
  const params = paramsOf(values);
  if (named === undefined && Object.keys(params).length > 0) {
    throw new UsageError('--param stands without --env: params are looked at where a plan is made.');
  }
  const findings: Finding[] = [];
  let inside: InEnvironment | undefined;
  if (named !== undefined) {
    const read = await readText(named, variables['COUNTDOWN_ENVIRONMENTS'] ?? 'environments', 'environment');
    const { finding, environment } = decoded(read, 'environment', lintEnvironment);
    if (finding.problems.length > 0) findings.push(finding);
    if (environment !== undefined) inside = { environment, params, declared: new Set() };
  }
  for (const name of new Set(names)) {
    const read = await readText(name, runbooks, 'runbook');
    const linted = decoded(read, 'runbook', (text) => ({ finding: lintText(text), source: text }));
    if (inside !== undefined && linted.source !== undefined && isGoodRunbook(linted.finding))
      await planned(linted.finding, linted.source, inside, runbooks);
    findings.push(linted.finding);
  }
  const undeclared = Object.keys(params).filter((param) => inside?.declared.has(param) === false);
  if (undeclared.length > 0 && findings.every(({ problems }) => problems.length === 0)) {
    throw new UsageError(`No runbook here has a param '${undeclared.join("', '")}': leave --param out.`);
  }
  return findings;
}

/** A name stands for a file of the folder, anything that looks like a path for itself. */
async function readText(name: string, folder: string, what: Finding['kind']): Promise<Read> {
  const file = isPath(name) ? name : join(folder, `${name}.yaml`);
  try {
    return { file, bytes: await readFile(file) };
  } catch (error) {
    throw new UsageError(
      `${file} cannot be read: give the path of a file, or the name of one ${what} of ${folder}.`,
      {
        cause: error,
      },
    );
  }
}

type Linted = { finding: Finding; environment?: Environment; source?: Text };

/** Bytes that are no text are a problem of their file alone. */
function decoded({ file, bytes }: Read, kind: Finding['kind'], lintIt: (text: Text) => Linted): Linted {
  const code = kind === 'runbook' ? 'RunbookInvalid' : 'EnvironmentInvalid';
  try {
    return lintIt({ file, text: decodeYaml(bytes, file, code) });
  } catch (error) {
    return { finding: { file, kind, problems: problemsOf(error), holds: '', text: '' } };
  }
}

/** The file is an environment where it says `environment` and has no steps; else it is meant as a runbook. */
function lintText(read: Text): Finding {
  return isEnvironment(read) ? lintEnvironment(read).finding : lintRunbook(read);
}

function isEnvironment({ file, text }: Text): boolean {
  try {
    const { value } = readYaml(text, file);
    return isEntries(value) && Object.hasOwn(value, 'environment') && !Object.hasOwn(value, 'steps');
  } catch (error) {
    // A text that cannot be read at all has the same problems as either.
    if (error instanceof PlanProblem) return false;
    throw error;
  }
}

function isEntries(value: Json): value is { [key: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function lintEnvironment({ file, text }: Text): Linted {
  const finding: Finding = { file, kind: 'environment', problems: [], holds: '', text };
  try {
    const environment = parseEnvironment(text, file);
    finding.problems = environmentFileProblems(environment, text, file);
    const targets = Object.keys(environment.targets).length;
    finding.holds = `${plural(targets, 'target')}, ${peopleText(Object.keys(environment.people).length)}`;
    return { finding, environment };
  } catch (error) {
    finding.problems = problemsOf(error);
    return { finding };
  }
}

function peopleText(count: number): string {
  return count === 1 ? '1 person' : `${count} people`;
}

function lintRunbook({ file, text }: Text): Finding {
  const finding: Finding = { file, kind: 'runbook', problems: [], holds: '', text };
  try {
    finding.holds = plural(parseRunbook(text, file).steps.length, 'step');
  } catch (error) {
    finding.problems = problemsOf(error);
  }
  return finding;
}

function isGoodRunbook({ kind, problems }: Finding): boolean {
  return kind === 'runbook' && problems.length === 0;
}

/** What only a plan shows; runbooks that it uses are looked for in the folder of runbooks. */
async function planned(
  finding: Finding,
  { file, text }: Text,
  inside: InEnvironment,
  folder: string,
): Promise<void> {
  const runbook = parseRunbook(text, file);
  const { runbooks, texts } = await loadRunbooks(runbook, (name) => usedRunbook(folder, name));
  finding.texts = texts;
  try {
    finding.holds = planText(runbook, inside, runbooks);
  } catch (error) {
    finding.problems = problemsOf(error);
  }
}

async function usedRunbook(folder: string, name: string): Promise<Text | undefined> {
  const file = join(folder, `${name}.yaml`);
  try {
    return { file, text: decodeYaml(await readFile(file), file) };
  } catch (error) {
    if (error instanceof PlanProblem) throw error;
    return undefined;
  }
}

/** Several runbooks share one list of params: each gets those that it declares. */
function planText(
  runbook: Runbook,
  { environment, params, declared }: InEnvironment,
  runbooks: LoadedRunbooks['runbooks'],
): string {
  const own = Object.entries(params).filter(([param]) => Object.hasOwn(runbook.params, param));
  for (const [param] of own) declared.add(param);
  // Nobody asks for this plan's name, or for those of its targets.
  const plan = compile({ runbook, environment, params: Object.fromEntries(own), digest: () => '', runbooks });
  const size = `${plural(plan.steps.length, 'step')}, ${plural(plan.phases.length, 'phase')}`;
  const leftOut = plan.leftOut === undefined ? '' : `, ${plural(plan.leftOut.length, 'step')} left out`;
  return `${size} in ${environment.environment}${leftOut}`;
}

function problemsOf(error: unknown): readonly Problem[] {
  if (error instanceof PlanProblem) return error.problems;
  throw error;
}

function paramsOf(values: Values): Record<string, Json> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- texts, numbers and booleans of the command line
  return readParams(values) as Record<string, Json>;
}

function lintLines(findings: readonly Finding[], count: number): string[] {
  const lines = findings.flatMap(({ file, problems, holds, text, texts }) =>
    problems.length === 0
      ? [`ok    ${safe(file)}  ${holds}`]
      : problems.map((problem) => keepLines(render(problem, texts?.get(problem.file) ?? text))),
  );
  const bad = findings.filter(({ problems }) => problems.length > 0).length;
  return count === 0
    ? lines
    : [...lines, `${plural(count, 'problem')} in ${bad} of ${plural(findings.length, 'file')}.`];
}
