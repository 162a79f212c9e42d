/**
 * `when: { param: kind, is: full }`: which steps of a runbook are in the plan for these params. It is decided when the plan
 * is made, so the run knows no conditions.
 */
import type { Collector } from './collector.ts';
import { nearest } from './nearest.ts';
import { type ParamDeclaration, checkParam } from './params.ts';
import type { Json, LeftOutStep, When } from './plan.ts';
import type { Runbook } from './runbook.ts';
import { listOr, show } from './schema.ts';
import { parseDuration } from './units.ts';

/** Notes conditions on params that the runbook has not, or on values that they cannot have. */
export function checkConditions({ steps, params }: Runbook, found: Collector): void {
  for (const [index, { id, when }] of steps.entries()) {
    if (when === undefined) continue;
    const path = ['steps', index, 'when'];
    const declaration = Object.hasOwn(params, when.param) ? params[when.param] : undefined;
    if (declaration === undefined) {
      const known = Object.keys(params);
      const near = nearest(when.param, known);
      const message = `Step '${id}' asks for param '${when.param}', which this runbook has not, expected ${listOr(known)}.`;
      const hint = near === undefined ? `declare ${when.param} under params` : `write ${near}`;
      found.add([...path, 'param'], { message, hint });
      continue;
    }
    const checked = checkParam(declaration, when.is);
    if ('value' in checked) continue;
    const message = `Param '${when.param}' is never ${show(when.is)}, expected ${checked.expected}.`;
    found.add([...path, 'is'], { message, hint: 'write a value that the param can have' });
  }
}

/** The steps that are not in the plan for these params, in the order of the runbook. */
export function stepsLeftOut(runbook: Runbook, params: Readonly<Record<string, Json>>): LeftOutStep[] {
  return runbook.steps.flatMap(({ id, uses, when }) =>
    when === undefined || holds(when, runbook.params, params) ? [] : [{ id, kind: uses, when }],
  );
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
export function leftOutBecause({ when }: LeftOutStep, params: Readonly<Record<string, Json>>): string {
  return `${when.param} is ${show(params[when.param] ?? null)}, and it runs where ${when.param} is ${show(when.is)}`;
}
