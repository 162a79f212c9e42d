/**
 * Conditions of steps. On a param, `when: { param: kind, is: full }`, it is decided when the plan is made, and the step is
 * in the plan or not. On an output, `when: { output: restore.rows, above: 10 }`, a phase of the step decides in the run.
 */
import { z } from 'zod';
import type { Collector } from './collector.ts';
import { EXPECTATION_FORM, parseExpectation } from './expect.ts';
import type { Scope } from './include.ts';
import { nearest } from './nearest.ts';
import { PARAM_NAME, PARAM_NAME_FORM, type ParamDeclaration, checkParam } from './params.ts';
import type { Json, LeftOutStep, When, WhenOutput } from './plan.ts';
import { REFERENCE_PATTERN, fillParams, unescapeText } from './references.ts';
import type { Runbook, RunbookStep } from './runbook.ts';
import { exact, listOr, show } from './schema.ts';
import { parseDuration } from './units.ts';
import type { Path } from './yaml.ts';

const OUTPUT_NAME = new RegExp(`^${REFERENCE_PATTERN}$`);
const OUTPUT_FORM = 'an output of a step above, as in restore.rows';
const COMPARISONS = ['above', 'below', 'atLeast', 'atMost'] as const;
const amount = z.union([z.string(), z.number()], { error: 'an amount, such as 10 or 60%' }).exactOptional();

/** `{ param: kind, is: full }`, or `{ output: restore.rows, above: 10 }`. */
export const whenSchema = exact({
  param: z.string().regex(PARAM_NAME, PARAM_NAME_FORM).exactOptional().describe('A param of this runbook.'),
  output: z.string().regex(OUTPUT_NAME, OUTPUT_FORM).exactOptional().describe('An output of a step above.'),
  is: z
    .union([z.string(), z.number(), z.boolean()], { error: 'a value' })
    .exactOptional()
    .describe('The value of the param, or of the output.'),
  above: amount.describe('The output is above this.'),
  below: amount.describe('The output is below this.'),
  atLeast: amount.describe('The output is at least this.'),
  atMost: amount.describe('The output is at most this.'),
})
  .superRefine((when, context) => {
    const refuse = (message: string, hint: string) =>
      context.addIssue({ code: 'custom', message, params: { hint } });
    const asked = [...COMPARISONS, 'is' as const].filter((key) => when[key] !== undefined);
    if ((when.param === undefined) === (when.output === undefined)) {
      refuse('The condition names a param or an output, expected one of the two.', FORMS);
    } else if (when.param !== undefined && (asked.length !== 1 || when.is === undefined)) {
      refuse(`The condition on param '${when.param}' is not complete, expected is and nothing else.`, FORMS);
    } else if (asked.length !== 1) {
      const expected = 'expected one of is, above, below, atLeast, atMost';
      refuse(`The condition on output '${when.output}' is not complete, ${expected}.`, FORMS);
    } else if (
      when.output !== undefined &&
      !isFilledLater(wordsOf(when)) &&
      'expected' in parseExpectation(wordsOf(when))
    ) {
      refuse(`The condition says ${show(wordsOf(when))}, expected ${EXPECTATION_FORM}.`, FORMS);
    }
  })
  .describe('The step is left out where this does not hold.');

const FORMS = 'write  when: { param: NAME, is: VALUE }  or  when: { output: STEP.OUTPUT, above: 10 }';

type Condition = z.output<typeof whenSchema>;

/** What a param brings is looked at once it is there. */
function isFilledLater(words: string): boolean {
  return words.includes('$(params.');
}

function wordsOf({ is, above, below, atLeast, atMost }: Condition): string {
  const [words, value] = [
    ['above ', above] as const,
    ['below ', below] as const,
    ['at least ', atLeast] as const,
    ['at most ', atMost] as const,
  ].find(([, given]) => given !== undefined) ?? ['', is];
  return `${words}${String(value)}`;
}

/** The condition with its params filled in, or the sentence that says why it cannot stand. */
export function filledCondition(
  { output, words }: WhenOutput,
  params: Readonly<Record<string, Json>>,
): WhenOutput | { message: string } {
  const { value, outputs, bad } = fillParams(words, params);
  const filled = unescapeText(typeof value === 'string' ? value : JSON.stringify(value));
  const [first] = bad;
  if (first !== undefined || outputs.length > 0) {
    const text = first?.text ?? `$(${outputs[0]?.step}.${outputs[0]?.output})`;
    return {
      message: `The condition holds ${text}, expected a value or a param that this runbook declares.`,
    };
  }
  if ('expected' in parseExpectation(filled))
    return { message: `The condition says ${show(filled)}, expected ${EXPECTATION_FORM}.` };
  return { output, words: filled };
}

/** What the plan decides apart from what the run decides. */
export function splitConditions(condition: Condition | undefined): {
  when: When[];
  whenOutputs: WhenOutput[];
} {
  if (condition?.param !== undefined)
    return { when: [{ param: condition.param, is: condition.is ?? null }], whenOutputs: [] };
  if (condition?.output === undefined) return { when: [], whenOutputs: [] };
  return { when: [], whenOutputs: [{ output: condition.output, words: wordsOf(condition) }] };
}

/** Notes conditions on params that the runbook has not, or on values that they cannot have. */
export function checkConditions({ steps, params, source }: Runbook, found: Collector): void {
  const seen = new Set<string>();
  for (const { id, path, when } of steps) {
    for (const condition of when) {
      // Branches inherit the condition of their block: it is spoken of once, where it stands.
      const own = source.value !== null && hasOwnCondition(source.value, path);
      const at = own ? [...path, 'when'] : [...path.slice(0, 2), 'when'];
      if (seen.has(at.join('/'))) continue;
      seen.add(at.join('/'));
      checkCondition(id, condition, params, at, found);
    }
  }
}

function hasOwnCondition(file: Json, path: Path): boolean {
  let at: Json | undefined = file;
  for (const key of [...path, 'when']) at = (at as Record<string | number, Json> | undefined)?.[key];
  return at !== undefined;
}

function checkCondition(
  id: string,
  when: When,
  params: Runbook['params'],
  path: Path,
  found: Collector,
): void {
  const declaration = Object.hasOwn(params, when.param) ? params[when.param] : undefined;
  if (declaration === undefined) {
    const known = Object.keys(params);
    const near = nearest(when.param, known);
    const message = `Step '${id}' asks for param '${when.param}', which this runbook has not, expected ${listOr(known)}.`;
    const hint = near === undefined ? `declare ${when.param} under params` : `write ${near}`;
    return found.add([...path, 'param'], { message, hint });
  }
  const checked = checkParam(declaration, when.is);
  if ('value' in checked) return;
  const message = `Param '${when.param}' is never ${show(when.is)}, expected ${checked.expected}.`;
  found.add([...path, 'is'], { message, hint: 'write a value that the param can have' });
}

/** The condition of the step that does not hold for these params, if there is one. */
export function failingCondition({ when }: RunbookStep, { declared, values }: Scope): When | undefined {
  return when.find((one) => !holds(one, declared, values));
}

/** Both values as the plan would hold them: 60s is 1m, and the text of a number is the number. */
function holds(
  { param, is }: When,
  declared: Readonly<Record<string, ParamDeclaration>>,
  params: Readonly<Record<string, Json>>,
): boolean {
  const declaration = declared[param];
  if (declaration === undefined) return false;
  const checked = checkParam(declaration, is);
  return (
    'value' in checked && meant(declaration, checked.value) === meant(declaration, params[param] ?? null)
  );
}

function meant({ type }: ParamDeclaration, value: Json): Json | undefined {
  return type === 'duration' && typeof value === 'string' ? parseDuration(value) : value;
}

/** Why a step is left out, in words. */
export function leftOutBecause({ when, value }: LeftOutStep, params: Readonly<Record<string, Json>>): string {
  return `${when.param} is ${show(value ?? params[when.param] ?? null)}, and it runs where ${when.param} is ${show(when.is)}`;
}
