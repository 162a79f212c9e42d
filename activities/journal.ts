/** The worker's patience with its own journal: a database that is away for a moment loses nothing and starts nothing. */
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import type { Logger } from 'pino';
import { fail } from './lib/fail.ts';

export type Journal = {
  /** Before the intent: what cannot be read or written means that nothing was started (`NotStarted`). */
  before<T>(act: () => Promise<T>): Promise<T>;
  /** After the effect: what cannot be written leaves an effect that nobody knows of (`OutcomeLost`). */
  after<T>(act: () => Promise<T>): Promise<T>;
};

const PAUSE_MS_FIRST = 100;
const PAUSE_MS_MAX = 2_000;

export function makeJournal(deps: { journalWaitMs: number; log: Logger; signal: AbortSignal }): Journal {
  const patiently = async <T>(
    act: () => Promise<T>,
    giveUp: (message: string) => ApplicationFailure,
  ): Promise<T> => {
    const until = Date.now() + deps.journalWaitMs;
    for (let pauseMs = PAUSE_MS_FIRST; ; pauseMs = Math.min(pauseMs * 2, PAUSE_MS_MAX)) {
      try {
        return await act();
      } catch (error) {
        if (error instanceof ApplicationFailure || error instanceof CancelledFailure) throw error;
        const message = error instanceof Error ? error.message : String(error);
        if (Date.now() + pauseMs > until || deps.signal.aborted) throw giveUp(message);
        deps.log.warn({ err: error }, 'journal: unreachable, trying again');
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
      }
    }
  };
  return {
    before: (act) =>
      patiently(act, (message) =>
        fail('NotStarted', `The journal cannot be written, so nothing was started: ${message}`),
      ),
    after: (act) =>
      patiently(act, (message) =>
        fail('OutcomeLost', `The outcome could not be written to the journal: ${message}`),
      ),
  };
}
