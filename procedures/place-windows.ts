/**
 * Which phases wait for hours. A step waits before its first effect, or before it begins where it has none; where a step
 * that is under way is held when the window closes, each of its effects waits. Whether a window is open is for the run.
 */
import type { Collector, Note } from './collector.ts';
import type { Environment } from './environment.ts';
import { nearest } from './nearest.ts';
import type { Phase, Step } from './plan.ts';
import type { PlannedStep } from './plan-steps.ts';
import { listOr } from './schema.ts';
import type { Window } from './windows.ts';

/** Notes a window that the environment has not, and one that would unwind what cannot be unwound. */
export function checkWindows(
  planned: readonly PlannedStep[],
  environment: Environment,
  found: Collector,
): void {
  for (const { step, belowPointOfNoReturn } of planned) {
    if (step.window === undefined) continue;
    const { name, path } = step.window;
    const window = environment.windows?.[name];
    if (window === undefined) found.add(path, unknownWindow(name, environment));
    else if (window.midRun === 'unwind' && belowPointOfNoReturn) {
      const message = `Window '${name}' unwinds what is under way when it closes, expected finish or hold below the point of no return.`;
      const hint = 'take another window, or put the step above the point of no return';
      found.add(path, { code: 'PointOfNoReturn', message, hint });
    }
  }
}

function unknownWindow(name: string, { environment, windows = {} }: Environment): Note {
  const known = Object.keys(windows);
  const near = nearest(name, known);
  return {
    message: `Environment ${environment} has no window '${name}', expected ${listOr(known)}.`,
    hint: near === undefined ? 'add it to the environment file' : `write ${near}`,
  };
}

/** Sets `waitsFor` of the phases that wait. The windows that are used, by name. */
export function placeWindows(
  planned: readonly PlannedStep[],
  phases: readonly Phase[],
  environment: Environment,
): Record<string, Window> {
  const used: Record<string, Window> = {};
  for (const { step } of planned) {
    const window = step.window && environment.windows?.[step.window.name];
    if (step.window === undefined || window === undefined) continue;
    const { name } = step.window;
    used[name] = window;
    const own = phases.filter((phase) => phase.step === step.id);
    const effects = own.filter(({ effect }) => effect !== 'none');
    // A condition is looked at whatever the hour: it may leave the step out.
    const first = effects[0] ?? own.find(({ decides }) => decides === undefined);
    const waiting = window.midRun === 'hold' && effects.length > 0 ? effects : [first];
    for (const phase of waiting)
      if (phase !== undefined) phase.waitsFor = { ...phase.waitsFor, window: name };
  }
  return used;
}

/** The step's window as the plan says it. */
export function windowOf(
  { step }: PlannedStep,
  { windows = {} }: Environment,
): Pick<Step, 'window'> | undefined {
  const name = step.window?.name;
  const window = name === undefined ? undefined : windows[name];
  if (name === undefined || window === undefined) return undefined;
  return { window: { name, midRun: window.midRun ?? 'finish' } };
}
