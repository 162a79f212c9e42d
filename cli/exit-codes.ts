/** What the command line ends with; the state of a run speaks first. */
import type { RunWire } from './wire.ts';

export const EXIT = {
  succeeded: 0,
  clientError: 1,
  usage: 2,
  rolledBack: 3,
  notAllowed: 4,
  stopped: 5,
  rejected: 6,
  stuck: 7,
  notVerified: 8,
  timeout: 124,
  left: 130,
} as const;

/** The exit code of a run; undefined while it goes on. */
export function exitCodeOf(
  run: Pick<RunWire, 'state' | 'verified'> & {
    approvals: readonly { state: string }[];
    decisions: readonly { kind: string; counted: boolean }[];
  },
): number | undefined {
  if (run.state === 'succeeded') return EXIT.succeeded;
  if (run.state === 'stuck') return EXIT.stuck;
  if (run.state === 'rolled-back') return run.verified === true ? EXIT.rolledBack : EXIT.notVerified;
  if (run.state !== 'stopped') return undefined;
  const wasAborted = run.decisions.some(({ kind, counted }) => kind === 'abort' && counted);
  const isClosed = run.approvals.some(({ state }) => state === 'rejected' || state === 'expired');
  return isClosed && !wasAborted ? EXIT.rejected : EXIT.stopped;
}
