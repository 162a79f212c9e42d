/** Small plans for tests of the core and of the engine: no kinds, no environment, only phases. */
import type { Approval, Effect, Limits, Phase, Plan, Step } from '../../procedures/plan.ts';

export const limits = (over: Partial<Limits> = {}): Limits => ({
  timeoutMs: 10_000,
  heartbeatMs: 2_000,
  tries: 3,
  attempts: 1,
  undoAttempts: 3,
  resumable: false,
  ...over,
});

export const approval = (from: Record<string, number>, over: Partial<Approval> = {}): Approval => ({
  from,
  expiresMs: 60_000,
  via: 'any',
  remindEveryMs: 30_000,
  freshMs: 900_000,
  covers: [],
  leading: [],
  ...over,
});

export type PhaseSpec = {
  name: string;
  effect?: Effect;
  approval?: Approval;
  wait?: 'timer' | 'approval' | 'point-of-no-return' | 'person';
  /** Leave that an operator must be given to skip it. */
  skip?: Approval;
  /** The window that must be open, of `windows`. */
  window?: 'night';
  limits?: Partial<Limits>;
  noProbe?: true;
  /** Its answer may leave the other phases of the step out. */
  decides?: true;
  target?: string;
};
export type StepSpec = {
  id: string;
  onFail?: 'unwind' | 'ask';
  /** Steps that follow each other and name one block are parallel. Their approvals are one: that of the first that asks. */
  block?: string;
  /** What happens to it when its window closes. */
  midRun?: 'finish' | 'hold' | 'unwind';
  phases: PhaseSpec[];
};

/** Activity names are `test/NAME/run|probe|undo`, NAME being the phase's. */
export function makePlan(specs: StepSpec[], over: Partial<Plan> = {}): Plan {
  let below = false;
  const phases = specs.flatMap((step) =>
    step.phases.map((spec) => {
      const phase = makePhase(step, spec, below);
      below ||= spec.wait === 'point-of-no-return';
      return phase;
    }),
  );
  const approvals = placeApprovals(specs, phases);
  placeAfter(specs, phases);
  const targets = [...new Set(phases.flatMap((phase) => phase.targets))];
  return {
    version: 1,
    runbook: { name: 'test', digest: '0'.repeat(64) },
    environment: 'test',
    params: {},
    steps: specs.map((step) => makeStep(step, phases)),
    phases,
    approvals,
    windows: { night: { days: ['Sat'], fromMinute: 0, toMinute: 60, timezone: 'UTC' } },
    targets: Object.fromEntries(
      targets.map((name) => [name, { kind: 'switch', pool: 'default', digest: '0' }]),
    ),
    fingerprints: targets.map((target) => ({
      target,
      pool: 'default',
      call: { activity: 'fingerprint/test', params: { target } },
      limits: limits({ attempts: 3 }),
    })),
    unverifiable: [],
    rollback: { withinMs: 60_000 },
    leases: Object.fromEntries(targets.map((name) => [name, 'exclusive' as const])),
    ...over,
  };
}

function placeAfter(specs: readonly StepSpec[], phases: readonly Phase[]): void {
  let [before, ends]: [string[], string[]] = [[], []];
  for (const [index, spec] of specs.entries()) {
    if (spec.block === undefined || spec.block !== specs[index - 1]?.block) [before, ends] = [ends, []];
    let after = before;
    for (const phase of phases.filter((one) => one.step === spec.id)) {
      phase.after = after;
      after = [phase.id];
    }
    ends.push(...after);
  }
}

/** An approval binds to the phases without effect before its phase; it is that of the block where there is one. */
function placeApprovals(specs: readonly StepSpec[], phases: readonly Phase[]): Record<string, Approval> {
  const approvals: Record<string, Approval> = {};
  for (const { id, block, phases: own } of specs) {
    for (const [index, spec] of own.entries()) {
      if (spec.skip !== undefined)
        approvals[own.length === 1 ? id : `${id}/${spec.name}`] = { ...spec.skip, skip: true };
      if (spec.approval === undefined) continue;
      const subject = block ?? id;
      const ids = own.map(({ name }) => (own.length === 1 ? id : `${id}/${name}`));
      const leading = ids
        .slice(0, index)
        .filter((_, at) => (own[at]?.effect ?? 'none') === 'none' && own[at]?.wait === undefined);
      approvals[subject] = {
        ...spec.approval,
        leading: [...(approvals[subject]?.leading ?? []), ...leading],
      };
      const gate = phases.find((phase) => phase.id === ids[index]);
      if (gate !== undefined) gate.waitsFor = { ...gate.waitsFor, approval: subject };
    }
  }
  return approvals;
}

function makeStep(step: StepSpec, phases: Phase[]): Step {
  const own = phases.filter((phase) => phase.step === step.id);
  const order: Effect[] = ['none', 'reversible', 'costly', 'irreversible'];
  const effect = order[Math.max(...own.map((phase) => order.indexOf(phase.effect)))] ?? 'none';
  return {
    id: step.id,
    kind: 'test',
    effect,
    onFail: step.onFail ?? 'unwind',
    ...(step.block === undefined ? {} : { block: step.block }),
    ...(step.midRun === undefined ? {} : { window: { name: 'night', midRun: step.midRun } }),
    phases: own.map((phase) => phase.id),
  };
}

function makePhase(step: StepSpec, spec: PhaseSpec, below: boolean): Phase {
  const id = step.phases.length === 1 ? step.id : `${step.id}/${spec.name}`;
  const effect =
    spec.wait === 'point-of-no-return' || (below && spec.effect !== undefined && spec.effect !== 'none')
      ? 'irreversible'
      : (spec.effect ?? 'none');
  const call = (direction: string) => ({ activity: `test/${spec.name}/${direction}`, params: { phase: id } });
  const run =
    spec.wait === undefined
      ? call('run')
      : spec.wait === 'timer'
        ? { wait: 'timer' as const, forMs: 50 }
        : spec.wait === 'approval'
          ? { wait: 'approval' as const }
          : spec.wait === 'person'
            ? { wait: 'person' as const, instructions: `do ${id}`, evidence: 'required' as const }
            : { wait: 'point-of-no-return' as const, because: 'a test says so' };
  const changes = effect !== 'none' && (spec.wait === undefined || spec.wait === 'person');
  const isByHand = spec.wait === 'person';
  return {
    id,
    step: step.id,
    title: spec.name,
    effect,
    targets: changes ? [spec.target ?? 'thing'] : [],
    run,
    ...(changes && !isByHand && effect !== 'irreversible' ? { undo: call('undo') } : {}),
    ...(changes && isByHand && effect !== 'irreversible'
      ? {
          undoWait: {
            wait: 'person' as const,
            instructions: `take ${id} back`,
            evidence: 'required' as const,
          },
        }
      : {}),
    ...(changes && !isByHand && spec.noProbe === undefined ? { probe: call('probe') } : {}),
    expected: { runMs: 10, undoMs: 10 },
    limits: limits(spec.limits),
    pool: 'default',
    after: [],
    ...(spec.window === undefined ? {} : { waitsFor: { window: spec.window } }),
    ...(spec.decides === true
      ? { decides: step.phases.filter((one) => one !== spec).map((one) => `${step.id}/${one.name}`) }
      : {}),
  };
}
