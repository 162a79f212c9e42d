/**
 * manual: a person does something by hand and says that it is done, with what shows it. Where it changes something, a person
 * takes it back by hand too: no program can look, so the undo waits on the desk with its instructions.
 */
import { z } from 'zod';
import { MINUTE_MS, SECOND_MS } from './limits.ts';
import { nearest } from './nearest.ts';
import type { Effect, PersonWait } from './plan.ts';
import type { DraftPhase, PlanInput, Procedure } from './procedure.ts';
import { exact, listOr, nameSchema } from './schema.ts';

/** What a person is expected to take where nothing is known. */
const PERSON_MS = 5 * MINUTE_MS;
/** On the undo sheet: there may be no target to look at. */
const SEEN = 'when all that is said here is done, and what shows it is noted.';
const TEXT_LENGTH_MAX = 2_000;
const TARGETS_MAX = 20;

const text = z
  .string('what to do, in words')
  .max(TEXT_LENGTH_MAX, `at most ${TEXT_LENGTH_MAX} characters`)
  .refine((words) => words.trim() !== '', { params: { expected: 'what to do, in words' } });

const params = exact({
  instructions: text.describe('What the person does, and how to see that it is done.'),
  undo: text.exactOptional().describe('How a person takes it back.'),
  evidence: z
    .enum(['required', 'optional'])
    .default('required')
    .describe('Whether the person must say what shows that it is done. Default required.'),
  effect: z
    .enum(['none', 'reversible', 'costly', 'irreversible'])
    .exactOptional()
    .describe('What it leaves. Default reversible where undo is given, else none.'),
  targets: z
    .array(nameSchema, 'a list of targets, as in [app]')
    .max(TARGETS_MAX, `at most ${TARGETS_MAX} targets`)
    .refine((names) => new Set(names).size === names.length, {
      error: 'A target stands in targets twice, expected once.',
      params: { hint: 'take one of the two away' },
    })
    .meta({ uniqueItems: true })
    .default([])
    .describe('What the person touches: held for this run, and compared after an undo.'),
});

const output = z.object({});

export const manual: Procedure<typeof params> = {
  kind: 'manual',
  summary: 'a person does something by hand and says that it is done',
  params,
  output,
  plan(input) {
    const { instructions, undo, evidence, targets } = input.params;
    const effect: Effect = input.params.effect ?? (undo === undefined ? 'none' : 'reversible');
    checkTargets(input);
    if (!isUndoClear(input, effect)) return [];
    const byPerson = (words: string): PersonWait => ({ wait: 'person', instructions: words, evidence });
    const phase: DraftPhase = {
      name: 'do',
      title: 'A person does it by hand',
      effect,
      targets,
      run: byPerson(instructions),
      ...(undo === undefined || effect === 'none'
        ? {}
        : { undoWait: byPerson(undo), byHand: { how: undo, seen: SEEN } }),
      expected: { runMs: PERSON_MS, undoMs: undo === undefined ? 0 : PERSON_MS },
      limits: { timeoutMs: SECOND_MS, tries: 1 },
    };
    return [phase];
  },
};

type Input = PlanInput<z.output<typeof params>>;

/** What is to be taken back says how; what leaves nothing has nothing to take back. */
function isUndoClear(input: Input, effect: Effect): boolean {
  const { undo } = input.params;
  if (undo !== undefined && effect === 'none') {
    const message =
      'The step says how it is taken back and has effect none, expected another effect or no undo.';
    input.refuse({ field: ['undo'], message, hint: 'take undo away, or write  effect: reversible' });
    return false;
  }
  const isOwed = !input.belowPointOfNoReturn && (effect === 'reversible' || effect === 'costly');
  if (!isOwed || undo !== undefined) return true;
  const message = `The effect is ${effect} and no undo says how a person takes it back, expected instructions.`;
  const hint = 'write  undo: …  in words, or put a point-of-no-return step above it';
  input.refuse({ field: ['effect'], code: 'PointOfNoReturn', message, hint });
  return false;
}

function checkTargets(input: Input): void {
  const { environment, targets } = input.environment;
  const known = Object.keys(targets);
  for (const [index, name] of input.params.targets.entries()) {
    if (known.includes(name)) continue;
    const near = nearest(name, known);
    const message = `Environment ${environment} has no target '${name}', expected ${listOr(known)}.`;
    const hint = near === undefined ? 'add it to the environment file' : `write ${near}`;
    input.refuse({ field: ['targets', index], code: 'TargetUnknown', message, hint });
  }
}
