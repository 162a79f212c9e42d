/** Fills `$(step.output)` in a call's params from the outputs of done phases. Typed substitution, no logic. */
import type { Json } from '../procedures/plan.ts';
import { REFERENCE_PATTERN } from '../procedures/references.ts';
import { fail } from './lib/fail.ts';

const WHOLE = new RegExp(`^\\$\\(${REFERENCE_PATTERN}\\)$`);
const WITHIN = new RegExp(`(\\$?)\\$\\(${REFERENCE_PATTERN}\\)`, 'g');

/** A string that is one reference becomes the output with its type; within a text it is written out. `$$(` stays a literal `$(`. */
export function fill(value: Json, outputs: Record<string, Record<string, Json>>): Json {
  if (Array.isArray(value)) return value.map((one) => fill(one, outputs));
  if (value !== null && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, fill(one, outputs)]));
  }
  if (typeof value !== 'string' || !value.includes('$(')) return value;
  const whole = WHOLE.exec(value);
  if (whole?.[1] !== undefined && whole[2] !== undefined) return outputOf(whole[1], whole[2], outputs);
  return value.replace(WITHIN, (all, dollar: string, step: string, name: string) => {
    if (dollar === '$') return all.slice(1);
    const output = outputOf(step, name, outputs);
    return typeof output === 'string' ? output : JSON.stringify(output);
  });
}

/** A step's output is the union of its phases' outputs. */
function outputOf(step: string, name: string, outputs: Record<string, Record<string, Json>>): Json {
  for (const [phase, output] of Object.entries(outputs)) {
    if ((phase === step || phase.startsWith(`${step}/`)) && name in output) return output[name] ?? null;
  }
  throw fail(
    'PreconditionFailed',
    `Output '${name}' of step '${step}' is not there: the step has not given it.`,
  );
}
