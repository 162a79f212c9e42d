/** All problems of one runbook, with their places, so that a person sees them at once. */
import { PlanProblem, type Problem, type ProblemCode } from './problem.ts';
import type { Path, Source } from './yaml.ts';

export type Note = {
  /** Default RunbookInvalid. */
  code?: ProblemCode;
  message: string;
  hint?: string;
  /** Where the problem is not in the runbook itself. Default: the pointer of the path. */
  pointer?: string;
  /** Whether the key or the value is marked. Default the value. */
  part?: 'key' | 'value';
};

export class Collector {
  private readonly problems: Problem[] = [];
  readonly source: Source;

  constructor(source: Source) {
    this.source = source;
  }

  add(path: Path, { code = 'RunbookInvalid', message, hint, pointer, part }: Note): void {
    const place = this.source.place(path, part);
    const more = hint === undefined ? {} : { hint };
    const problem = { ...place, pointer: pointer ?? place.pointer, code, message, ...more };
    // What stands at a block once is found at each of its branches.
    const isNoted = this.problems.some(
      (one) => one.message === message && one.pointer === problem.pointer && one.file === problem.file,
    );
    if (!isNoted) this.problems.push(problem);
  }

  push(problems: readonly Problem[]): void {
    this.problems.push(...problems);
  }

  /** Throws PlanProblem where anything was noted. */
  finish(): void {
    if (this.problems.length > 0) throw new PlanProblem(this.problems);
  }
}
