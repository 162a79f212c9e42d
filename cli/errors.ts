/** What goes wrong in the command line, and the exit code that it ends with. */
import { EXIT } from './exit-codes.ts';
import { safe } from './view/style.ts';

/** The command line was used in a way that cannot work. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

export type ApiErrorOptions = {
  status: number;
  code: string;
  detail: string;
  errors?: { pointer: string; detail: string; excerpt?: string }[];
  requestId?: string | null;
  run?: number | null;
  hint?: string | null;
  cause?: unknown;
};

/** The API refused, or could not be reached. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly status: number;
  readonly code: string;
  readonly errors: { pointer: string; detail: string; excerpt?: string }[];
  readonly requestId: string | null;
  readonly run: number | null;
  /** What to do, where the API says so. */
  readonly hint: string | null;
  constructor(options: ApiErrorOptions) {
    super(options.detail, { cause: options.cause });
    this.status = options.status;
    this.code = options.code;
    this.errors = options.errors ?? [];
    this.requestId = options.requestId ?? null;
    this.run = options.run ?? null;
    this.hint = options.hint ?? null;
  }

  /** The same of a text that came from this file. */
  in(file: string): ApiError {
    const named = (text: string) => text.replace(/(^|  )your text:(?=\d)/, `$1${file}:`);
    return new ApiError({
      status: this.status,
      code: this.code,
      requestId: this.requestId,
      run: this.run,
      hint: this.hint,
      detail: named(this.message),
      errors: this.errors.map((error) =>
        error.excerpt === undefined ? error : { ...error, excerpt: named(error.excerpt) },
      ),
      cause: this.cause,
    });
  }
}

export function exitCodeOfError(error: unknown): number {
  if (error instanceof UsageError) return EXIT.usage;
  if (!(error instanceof ApiError)) return EXIT.clientError;
  if (error.status === 401 || error.status === 403) return EXIT.notAllowed;
  return error.status === 422 ? EXIT.usage : EXIT.clientError;
}

/** The text on stderr: what was found, then what to do where the command line knows. */
export function renderError(error: unknown): string {
  if (error instanceof UsageError) return `error Usage  ${error.message}`;
  if (!(error instanceof ApiError)) return `error ${error instanceof Error ? error.message : String(error)}`;
  const excerpts = error.errors.flatMap(({ excerpt }) => (excerpt === undefined ? [] : [excerpt]));
  if (excerpts.length > 0) return excerpts.map(keepLines).join('\n');
  const lines = [`error ${error.code}  ${safe(error.message)}`];
  for (const { pointer, detail } of error.errors) {
    if (error.errors.length > 1)
      lines.push(`      ${pointer === '' ? '' : `${safe(pointer)}: `}${safe(detail)}`);
  }
  const hint = hintOf(error);
  if (hint !== null) lines.push(`do    ${hint}`);
  if (error.requestId !== null && error.status >= 500) lines.push(`      requestId ${error.requestId}`);
  return lines.join('\n');
}

/** The lines of an excerpt, without what could move the cursor. */
export function keepLines(text: string): string {
  return text.split('\n').map(safe).join('\n');
}

function hintOf(error: ApiError): string | null {
  if (error.code === 'TargetLeased' && error.run !== null) {
    const look = `look at it: countdown show ${error.run}`;
    return error.hint === null ? look : `${safe(error.hint)}      ${look}`;
  }
  if (error.code === 'Unauthenticated') return 'set COUNTDOWN_TOKEN to a token that has not expired';
  if (error.code === 'NoWorker')
    return 'start a worker, or look why none answers; what you decided arrives by itself then';
  if (error.code === 'Unreachable')
    return 'set COUNTDOWN_URL to the address of the API, and look whether it runs';
  return error.hint === null ? null : safe(error.hint);
}
