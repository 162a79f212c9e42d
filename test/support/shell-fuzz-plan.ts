/** Random small plans for the fuzzer of the shell: work, blocks, approvals, timers, windows, people, a point of no return. */
import type { Effect, Plan } from '../../procedures/plan.ts';
import type { Chance } from './hostile-sqlite.ts';
import { type PhaseSpec, type StepSpec, approval, makePlan } from './plans.ts';

const STEPS_MAX = 4;
const PHASES_MAX = 3;
/** The activities of the engine, `test/NAME/run|probe|undo`. */
const NAMES = ['a', 'b', 'c', 'd', 'e', 'f'];
/** Longer than most disturbances, shorter than the longest. */
const PHASE_TIMEOUT_MS = 1_500;

/** One seed, one plan. Every construct of the core has its share. */
export function randomPlan(chance: Chance): Plan {
  const steps = 1 + chance.below(STEPS_MAX);
  const lineAt = chance.often(0.2) ? chance.below(steps + 1) : undefined;
  const specs: StepSpec[] = [];
  for (let index = 0; index < steps; index += 1) {
    const isBelow = lineAt !== undefined && index >= lineAt;
    const step = randomStep(chance, { id: `s${index}`, isBelow });
    const before = specs.at(-1);
    if (before !== undefined && isWork(before) && isWork(step) && index !== lineAt && chance.often(0.4))
      join(before, step, `b${index}`);
    specs.push(step);
  }
  if (lineAt !== undefined) specs.splice(lineAt, 0, pointOfNoReturn(chance));
  return makePlan(specs, {
    // Always open: the worker looks whether it is. The recorder of the fuzzer says when the core may start.
    windows: {
      night: {
        days: ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'],
        fromMinute: 0,
        toMinute: 1_440,
        timezone: 'UTC',
      },
    },
  });
}

/** Only work can fail. */
function isWork({ onFail }: StepSpec): boolean {
  return onFail !== undefined;
}

/** Steps of one block ask once: for what the first of them asks. */
function join(first: StepSpec, second: StepSpec, name: string): void {
  const block = (first.block ??= name);
  second.block = block;
  const asked = first.phases.find((phase) => phase.approval !== undefined)?.approval;
  const gate = second.phases.find(({ effect }) => effect !== undefined && effect !== 'none');
  for (const phase of second.phases) delete phase.approval;
  if (asked !== undefined && gate !== undefined) gate.approval = asked;
}

function pointOfNoReturn(chance: Chance): StepSpec {
  const asked = approval({ sre: 1 }, { expiresMs: 2_000 + chance.below(6_000), remindEveryMs: 500 });
  return { id: 'keep', phases: [{ name: 'keep', wait: 'point-of-no-return', approval: asked }] };
}

function randomStep(chance: Chance, at: { id: string; isBelow: boolean }): StepSpec {
  const kind = chance.below(10);
  if (kind === 0) return { id: at.id, phases: [{ name: 'timer', wait: 'timer' }] };
  if (kind === 1 && !at.isBelow) {
    const asked = approval({ sre: 1 }, { expiresMs: 3_000 + chance.below(4_000), remindEveryMs: 400 });
    return { id: at.id, phases: [{ name: 'ask', wait: 'approval', approval: asked }] };
  }
  return randomWork(chance, at);
}

function randomWork(chance: Chance, { id, isBelow }: { id: string; isBelow: boolean }): StepSpec {
  const names = NAMES.slice(0, 1 + chance.below(PHASES_MAX));
  const phases = names.map((name): PhaseSpec => {
    const effect = chance.pick<Effect>(['none', 'reversible', 'reversible', 'costly']);
    const byHand = effect !== 'none' && chance.often(0.07);
    return {
      name,
      effect,
      limits: {
        timeoutMs: PHASE_TIMEOUT_MS,
        heartbeatMs: 1_000,
        tries: 1 + chance.below(3),
        resumable: chance.often(0.3),
      },
      ...(byHand ? { wait: 'person' as const } : {}),
      ...(!byHand && chance.often(0.1) ? { skip: approval({ sre: 1 }, { expiresMs: 1_500 }) } : {}),
    };
  });
  const gate = phases.find(({ effect }) => effect !== 'none');
  if (gate !== undefined && !isBelow && chance.often(0.25)) gate.approval = randomApproval(chance);
  const midRun = chance.often(0.2)
    ? chance.pick<'finish' | 'hold' | 'unwind'>(['finish', 'hold', 'unwind'])
    : undefined;
  if (gate !== undefined && midRun !== undefined) gate.window = 'night';
  if (chance.often(0.1) && phases.length > 1) phases.unshift({ name: 'f', decides: true });
  return {
    id,
    onFail: chance.pick<'unwind' | 'ask'>(['unwind', 'unwind', 'ask']),
    phases,
    ...(gate === undefined || midRun === undefined
      ? {}
      : { midRun: isBelow && midRun === 'unwind' ? ('finish' as const) : midRun }),
  };
}

function randomApproval(chance: Chance) {
  return approval(chance.pick<Record<string, number>>([{ sre: 1 }, { sre: 1, owner: 1 }, { owner: 1 }]), {
    expiresMs: 3_000 + chance.below(5_000),
    remindEveryMs: 300 + chance.below(1_000),
    freshMs: chance.pick([100, 900_000]),
    ...(chance.often(0.3) ? { escalate: [{ afterMs: 200, to: 'owner' }] } : {}),
    ...(chance.often(0.2) ? { breakGlass: true as const } : {}),
  });
}
