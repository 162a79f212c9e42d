/** What a handler throws, and the body that the caller gets of it. The codes are in `problem-codes.ts`. */
import { PROBLEMS } from './problem-codes.ts';

export { PROBLEMS } from './problem-codes.ts';

export type ProblemCode = keyof typeof PROBLEMS;

export type ProblemError = {
  /** JSON pointer into the body, or into the runbook. */
  pointer: string;
  detail: string;
  file?: string;
  line?: number;
  column?: number;
  /** What to do about it. */
  hint?: string;
  /** The line of the runbook with a caret below it, as a terminal shows it. */
  excerpt?: string;
};

export type ProblemBody = {
  type: string;
  title: string;
  status: number;
  code: string;
  detail: string;
  instance: string;
  requestId: string;
  errors: ProblemError[];
  [member: string]: unknown;
};

/** What a handler throws; `onError` makes the answer of it. */
export class ApiProblem extends Error {
  override readonly name = 'ApiProblem';
  readonly code: ProblemCode;
  readonly errors: ProblemError[];
  readonly headers: Record<string, string>;
  /** Further members of the problem, as RFC 9457 allows. */
  readonly members: Record<string, string | number>;
  constructor(
    code: ProblemCode,
    detail: string,
    more: {
      errors?: ProblemError[];
      headers?: Record<string, string>;
      members?: Record<string, string | number>;
      cause?: unknown;
    } = {},
  ) {
    super(detail, { cause: more.cause });
    this.code = code;
    this.errors = more.errors ?? [];
    this.headers = more.headers ?? {};
    this.members = more.members ?? {};
  }
}

export function isProblemCode(code: string): code is ProblemCode {
  return Object.hasOwn(PROBLEMS, code);
}
