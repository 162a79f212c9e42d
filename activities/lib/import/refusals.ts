/** What stands in the way of an import, gathered over all that is looked at, so that people hear all of it at once. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { grouped } from '../counted.ts';
import type { PhaseContext } from '../../phase.ts';
import { fail } from '../fail.ts';
import { visible } from './lines.ts';
import { OFFENDERS_NAMED_MAX } from './offenders.ts';

/** Of one kind of thing, how many are listed in the file of the run; further ones are counted at most. */
export const REFUSED_LISTED_MAX = 100_000;

export type Refusal = {
  type: 'NotSupported' | 'PreconditionFailed' | 'VerificationFailed';
  /** In whole sentences: what was found, where, and what to do. */
  message: string;
  /** Each thing in words, at most `REFUSED_LISTED_MAX`. */
  lines: readonly string[];
  /** The message names all of them. */
  whole: boolean;
};

/** Refuses these things; `message` puts the first of them into words, with how many there are beside. None, where there are none. */
export function refusalOf(
  type: Refusal['type'],
  lines: readonly string[],
  message: (named: string) => string,
): Refusal[] {
  if (lines.length === 0) return [];
  return [{ type, message: message(nameSome(lines)), lines, whole: lines.length <= OFFENDERS_NAMED_MAX }];
}

function nameSome(lines: readonly string[]): string {
  const named = lines.slice(0, OFFENDERS_NAMED_MAX).join('; ');
  return lines.length > OFFENDERS_NAMED_MAX
    ? `${named}; and ${grouped(lines.length - OFFENDERS_NAMED_MAX)} more`
    : named;
}

export class Refusals {
  readonly #step: string;
  readonly #context: PhaseContext;
  readonly #all: Refusal[] = [];

  constructor(step: string, context: PhaseContext) {
    this.#step = step;
    this.#context = context;
  }

  get any(): boolean {
    return this.#all.length > 0;
  }

  add(...refusals: Refusal[]): void {
    this.#all.push(...refusals);
  }

  /** Looks at more. Where something is refused already an error is no news: what was looked at may have lost its ground. */
  async alsoAt(look: () => Promise<void>): Promise<void> {
    try {
      await look();
    } catch (error) {
      this.#context.signal.throwIfAborted();
      if (!this.any) throw error;
    }
  }

  /** Throws all of them as one failure, with a file in the run's folder that lists more than its message names. */
  async throwAny(): Promise<void> {
    const [first] = this.#all;
    if (first === undefined) return;
    const messages = this.#all.map(({ message }) => message);
    if (this.#all.some(({ whole }) => !whole)) {
      const path = join(await this.#context.folder(), `${this.#step}-offenders.txt`);
      const lines = this.#all.flatMap((refusal) => refusal.lines.map((line) => `${visible(line)}\n`));
      await writeFile(path, lines.join(''), { mode: 0o600 });
      messages.push(`All of them are listed in ${path}.`);
    }
    throw fail(first.type, visible(messages.join(' ')));
  }
}
