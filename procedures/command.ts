/**
 * command: a program that the environment file names, with arguments of the runbook's.
 *
 *   run   the entry's argv with `args` after it; undo and probe are the entry's own, with the same `args` after them
 *
 * What it changes is what the entry says; without undo and probe it is irreversible, and stands below a point of no return.
 */
import { z } from 'zod';
import { ARGUMENTS_MAX, argumentSchema } from './command-target.ts';
import { SECOND_MS } from './limits.ts';
import type { ByHand } from './plan.ts';
import { type DraftPhase, type Procedure, callOf, targetOf } from './procedure.ts';
import { exact, nameSchema } from './schema.ts';

/** Left of a phase's time for ending the program's processes and for the answer. */
const ENDING_MS = 15 * SECOND_MS;

/** Characters of all arguments together. */
const ARGS_LENGTH_MAX = 32_000;

const params = exact({
  /** Target of kind command. */
  run: nameSchema,
  /** Arguments after those of the entry. Text only. */
  args: z
    .array(argumentSchema, "a list of arguments, as in ['--dry-run', $(params.release)]")
    .max(ARGUMENTS_MAX, `at most ${ARGUMENTS_MAX} of them`)
    .refine((args) => args.reduce((sum, one) => sum + one.length, 0) <= ARGS_LENGTH_MAX, {
      error: `The arguments have more than ${ARGS_LENGTH_MAX} characters, expected fewer.`,
    })
    .default([]),
});

const output = z.object({ exitCode: z.int(), stdout: z.string(), stderr: z.string() });

export const command: Procedure<typeof params> = {
  kind: 'command',
  summary: 'runs a program that the environment file names',
  params,
  output,
  plan(input) {
    const { run: name, args } = input.params;
    const target = targetOf(input, ['run'], name, 'command');
    if (target === undefined) return [];
    const phaseMs = input.timeoutMs ?? target.timeoutMs + ENDING_MS;
    const timeoutMs = Math.min(target.timeoutMs, phaseMs - Math.min(ENDING_MS, Math.floor(phaseMs / 2)));
    const call = (direction: 'run' | 'undo' | 'probe') =>
      callOf('command', 'run', direction, { run: name, args, timeoutMs });
    const canUndo = target.undo !== undefined && !input.belowPointOfNoReturn;
    const phase: DraftPhase = {
      name: 'run',
      title: `Run ${name}`,
      effect: target.effect,
      targets: [name],
      run: call('run'),
      ...(target.undo === undefined
        ? {}
        : { undo: call('undo'), undoTitle: `Run the undo of ${name}`, byHand: byHand(name, args) }),
      ...(target.probe === undefined
        ? {}
        : { probe: callOf('command', 'run', 'probe', { run: name, args, timeoutMs, canUndo }) }),
      expected: { runMs: 10 * SECOND_MS, undoMs: target.undo === undefined ? 0 : 10 * SECOND_MS },
      limits: { timeoutMs: phaseMs },
    };
    return [phase];
  },
};

/** The command lines stand in the environment file, which whoever does this by hand can read. */
function byHand(name: string, args: readonly string[]): ByHand {
  const quoted = args.map((one) => `'${one}'`).join(' ');
  const same = args.length === 0 ? '' : ', with the same arguments';
  return {
    how:
      `On a machine of its pool, as the user of the worker, run what the environment file names under targets.${name}.undo` +
      `${args.length === 0 ? '' : `, followed by ${quoted}`}, with the variables under targets.${name}.env and no others.`,
    seen: `when it ends with exit 0, and targets.${name}.probe${same} ends with exit 1.`,
  };
}
