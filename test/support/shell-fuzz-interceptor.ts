/**
 * Fails workflow tasks at random. It is bundled into the workflows of the fuzzer alone. A plain error out of an activation fails
 * the task, and the server hands the task out again; it changes nothing in the history otherwise.
 *
 * The memo of the workflow says how often, and until when: `{ failTasks: SHARE, failUntil: EPOCH_MS }`.
 */
import { type WorkflowInterceptorsFactory, workflowInfo } from '@temporalio/workflow';

/** How the message of such a failure begins. */
export const FAILED_ON_PURPOSE = 'failed on purpose';

/** Replayed activations fail less often, or a long history would never be replayed to its end. */
const REPLAY_SHARE = 0.05;

let calls = 0;

/** Real chance: the `Math.random` of a workflow is the same in each replay. */
function chance(now: number): number {
  calls += 1;
  let mixed = Math.imul(now >>> 0, 0x9e3779b1) ^ Math.imul(calls, 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x2c1b3c6d);
  mixed = Math.imul(mixed ^ (mixed >>> 12), 0x297a2d39);
  return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32;
}

function failSometimes(moment: string): void {
  const { memo, unsafe } = workflowInfo();
  const share = Number(memo?.['failTasks'] ?? 0);
  const until = Number(memo?.['failUntil'] ?? 0);
  const now = unsafe.now();
  if (now > until) return;
  if (chance(now) < (unsafe.isReplaying ? share * REPLAY_SHARE : share))
    throw new Error(`${FAILED_ON_PURPOSE} ${moment} an activation`);
}

export const interceptors: WorkflowInterceptorsFactory = () => ({
  internals: [
    {
      activate(input, next) {
        failSometimes('before');
        next(input);
      },
      concludeActivation(input, next) {
        failSometimes('after');
        return next(input);
      },
    },
  ],
});
