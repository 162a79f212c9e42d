/** What is wrong with a runbook, an environment file or params: a place, what was found, what is expected, what to do. */

export type ProblemCode =
  | 'RunbookInvalid'
  | 'EnvironmentInvalid'
  | 'ParamsInvalid'
  | 'TargetUnknown'
  | 'QuorumImpossible'
  | 'PointOfNoReturn'
  | 'ParallelTargets'
  | 'PoolsDiffer'
  | 'NotSupported'
  | 'TooLarge';

export type Problem = {
  code: ProblemCode;
  file: string;
  /** From 1. */
  line: number;
  /** From 1, in UTF-16 units. */
  column: number;
  /** Of the text that the caret line marks; at least 1. */
  length: number;
  /** JSON pointer into the document. */
  pointer: string;
  /** One sentence: what was found and what is expected. */
  message: string;
  /** What to write or do. */
  hint?: string;
};

/** Problems that one error holds: more than anybody reads at once. */
const PROBLEMS_MAX = 100;

/** Thrown by parsing and compiling, with every problem that was found (the first 100), in the order of the text. */
export class PlanProblem extends Error {
  override readonly name = 'PlanProblem';
  /** The code of the first problem. */
  readonly code: ProblemCode;
  readonly problems: readonly Problem[];
  constructor(problems: readonly Problem[]) {
    const sorted = [...problems].sort((a, b) => a.line - b.line || a.column - b.column);
    super(
      sorted
        .slice(0, 3)
        .map(({ message }) => message)
        .join(' '),
    );
    this.code = sorted[0]?.code ?? 'RunbookInvalid';
    this.problems = sorted.slice(0, PROBLEMS_MAX);
  }
}

/** Columns of a terminal, and those that the text of one line may take. */
const COLUMNS_MAX = 105;
const LINE_WIDTH_MAX = 96;

/** The problem as a terminal shows it: the line, a caret line below it, and what to do. */
export function render(problem: Problem, text: string): string {
  const { code, file, line, column, message, hint } = problem;
  const head = `error ${code}  ${file}:${line}:${column}`;
  const source = (text.split('\n')[line - 1] ?? '').replace(/\r$/, '').replaceAll('\t', ' ');
  const isNear = column - 1 + Math.min(problem.length, LINE_WIDTH_MAX / 2) <= LINE_WIDTH_MAX;
  const from = isNear ? 0 : column - 31;
  const shown = source.slice(from, from + LINE_WIDTH_MAX);
  const at = Math.min(column - 1 - from, shown.length);
  const carets = '^'.repeat(Math.max(1, Math.min(problem.length, shown.length - at)));
  const margin = `${' '.repeat(5)} | `;
  const marked = `${margin}${' '.repeat(at)}${carets}`;
  const isShort = marked.length + 1 + message.length <= COLUMNS_MAX;
  const lines = [head, `${String(line).padStart(5)} | ${shown}`, isShort ? `${marked} ${message}` : marked];
  if (!isShort) lines.push(`${margin}${message}`);
  if (hint !== undefined) lines.push(`do    ${hint}`);
  return lines.join('\n');
}
