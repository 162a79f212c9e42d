/**
 * The worker's patience with Countdown's own database: a database that is away for a moment loses nothing and starts
 * nothing. Heartbeats go on meanwhile, and a cancellation ends the wait.
 */
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import type { Logger } from 'pino';
import { JournalRefusal } from '../store/refusal.ts';
import { fail, messageOf } from './lib/fail.ts';
import { pause } from './lib/wait.ts';

/** Each method tries `act` until it answers or `journalWaitMs` is over. An answer of the database, a refusal too, is never tried again. */
export type Journal = {
  /** Before the intent: without an answer nothing was started (`NotStarted`), also after a cancellation. */
  before<T>(act: () => Promise<T>): Promise<T>;
  /** Reads while the attempt is at work: without an answer it throws `lost`, after a cancellation the signal's reason. */
  during<T>(act: () => Promise<T>): Promise<T>;
  /** Writes after the effect: without an answer, also after a cancellation, it throws `lost`. */
  after<T>(act: () => Promise<T>): Promise<T>;
};

export type JournalDeps = {
  /** Milliseconds for which an access is tried; `JOURNAL_WAIT_MS` by default. */
  journalWaitMs: number;
  log: Logger;
  /** The activity's cancellation. */
  signal: AbortSignal;
  /**
   * How an attempt ends that lost the database at work. `OutcomeLost`: it is unknown whether its effect exists, so its probe is
   * asked. `Unreachable`: it can be repeated, so Temporal tries it again. Default `OutcomeLost`.
   */
  lost?: 'OutcomeLost' | 'Unreachable';
};

const PAUSE_MS_FIRST = 100;
const PAUSE_MS_MAX = 2_000;

/** The accesses of one attempt, or of one activity of the recorder (`during` with `lost: 'Unreachable'`). */
export function makeJournal(deps: JournalDeps): Journal {
  const { journalWaitMs, log, signal, lost = 'OutcomeLost' } = deps;
  const patiently = async <T>(act: () => Promise<T>, giveUp: (why: string) => never): Promise<T> => {
    const since = Date.now();
    const leftMs = (): number => since + journalWaitMs - Date.now();
    for (let pauseMs = PAUSE_MS_FIRST; ; pauseMs = Math.min(pauseMs * 2, PAUSE_MS_MAX)) {
      try {
        return await act();
      } catch (error) {
        if (isAnswer(error)) throw error;
        if (leftMs() > 0 && !signal.aborted) {
          log.warn({ err: error }, 'journal: unreachable, trying again');
          await pause(Math.min(pauseMs, leftMs()), signal).catch(() => undefined);
          if (!signal.aborted) continue;
        }
        giveUp(unusable(messageOf(error), Date.now() - since));
      }
    }
  };
  return {
    before: (act) =>
      patiently(act, (why) =>
        fail(
          'NotStarted',
          `${why}, so nothing was started. Check that it runs and that this worker can reach it.`,
        ),
      ),
    during: (act) =>
      patiently(
        () => orCancelled(act(), signal),
        (why) => {
          signal.throwIfAborted();
          throw fail(
            lost,
            `${why}, so this attempt cannot tell whether it is still the current one. Check that it runs and that this worker can reach it.`,
          );
        },
      ),
    after: (act) =>
      patiently(act, (why) =>
        fail(
          lost,
          `${why}, so the outcome of this attempt was not recorded. Check that it runs and that this worker can reach it.`,
        ),
      ),
  };
}

function unusable(message: string, tookMs: number): string {
  return `Countdown's own database could not be used for ${Math.max(1, Math.round(tookMs / 1_000))} s (${message})`;
}

/** The database has spoken, or somebody above has: trying again would give the same. */
function isAnswer(error: unknown): boolean {
  return (
    error instanceof ApplicationFailure ||
    error instanceof CancelledFailure ||
    error instanceof JournalRefusal
  );
}

/** A read may be left behind: its answer changes nothing. */
async function orCancelled<T>(read: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const cancel = (): void => reject(signal.reason);
  if (signal.aborted) cancel();
  signal.addEventListener('abort', cancel, { once: true });
  try {
    return await Promise.race([read, promise]);
  } finally {
    signal.removeEventListener('abort', cancel);
  }
}
