/**
 * What every kind of step that acts must keep to, whatever it does. A kind brings a world (real servers, files, programs)
 * and the text of a step; everything else comes from its plan: phases in order, their calls, undos and probes.
 *
 * A test that cannot be about a kind is left out with its reason, and the reason is checked.
 */
import { describe, expect, test } from 'vitest';
import { fill } from '../../activities/fill.ts';
import { phaseActivities } from '../../activities/index.ts';
import type { FingerprintResult, PhaseContext, PhaseResult, ProbeResult } from '../../activities/phase.ts';
import { compile } from '../../procedures/compile.ts';
import type { Environment, Target } from '../../procedures/environment.ts';
import { type ProcedureName, procedureOf } from '../../procedures/index.ts';
import type { Call, Json, Phase, Plan } from '../../procedures/plan.ts';
import { parseRunbook } from '../../procedures/runbook.ts';
import { digest } from '../../store/digest.ts';
import { nextSeq } from '../support/phase-context.ts';
import type { TestContext, TestContextOptions } from '../support/phase-context.ts';

/** Where a kind is tried: made anew for every test, and gone after it. */
export type ContractWorld = AsyncDisposable & {
  targets: Record<string, Target>;
  /** The step as a runbook has it, in one line. */
  step: string;
  /** A step that must stand below it, in one line; only the phases of the first step are tried. */
  below?: string;
  context(options: Partial<TestContextOptions>): TestContext;
  /** Everything of the world that the kind could change, as values that can be compared. */
  look(): Promise<unknown>;
};

export type ContractKind = {
  kind: ProcedureName;
  /** What of the kind is tried, where one world cannot be enough. */
  form?: string;
  make: () => Promise<ContractWorld>;
};

type Result = PhaseResult & ProbeResult & FingerprintResult;
type Act = (params: Json, context: PhaseContext) => Promise<Result>;
type Options = Partial<TestContextOptions> & { cancelled?: boolean };

const ACTIVITIES = phaseActivities() as unknown as Record<string, Act>;

/** A world with its plan, and the outputs of its phases as the journal would keep them. */
class Trial {
  readonly world: ContractWorld;
  readonly plan: Plan;
  readonly outputs: Record<string, Record<string, Json>> = {};

  constructor(world: ContractWorld) {
    this.world = world;
    this.plan = planOf(world);
  }

  async run(phase: Phase, options: Options = {}): Promise<PhaseResult> {
    const result = await this.perform(phase.run as Call, phase, { direction: 'run', ...options });
    this.outputs[phase.id] = result.output ?? {};
    return result;
  }

  async runAll(): Promise<void> {
    for (const phase of this.plan.phases) expect(await this.run(phase)).toMatchObject({ verdict: 'pass' });
  }

  async undo(phase: Phase, options: Options = {}): Promise<void> {
    if (phase.undo === undefined) return;
    const result = await this.perform(phase.undo, phase, { direction: 'undo', ...options });
    expect(result, `undo of ${phase.id}`).toMatchObject({ verdict: 'pass' });
    if (result.output === undefined) delete this.outputs[phase.id];
    else this.outputs[phase.id] = result.output;
  }

  async undoAll({ times = 1 } = {}): Promise<void> {
    for (const phase of this.plan.phases.toReversed()) {
      for (let turn = 0; turn < times; turn += 1) await this.undo(phase);
    }
  }

  async probe(phase: Phase): Promise<string> {
    if (phase.probe === undefined) throw new Error(`${phase.id} has no probe.`);
    return (await this.perform(phase.probe, phase, { direction: 'probe' })).answer;
  }

  async prints(): Promise<Record<string, [string, string | null]>> {
    const prints: Record<string, [string, string | null]> = {};
    for (const { target, call } of this.plan.fingerprints) {
      const context = this.world.context({ direction: 'before', outputs: this.outputs });
      const { state, data } = await actOf(call)(call.params, context);
      prints[target] = [state, data];
    }
    return prints;
  }

  private async perform(call: Call, phase: Phase, { cancelled, ...options }: Options): Promise<Result> {
    const context = this.world.context({ phase: phase.id, outputs: this.outputs, ...options });
    if (cancelled === true) context.abort();
    return await actOf(call)(fill(call.params, this.outputs), context);
  }
}

function actOf(call: Call): Act {
  const act = ACTIVITIES[call.activity];
  if (act === undefined) throw new Error(`No activity is called ${call.activity}.`);
  return act;
}

function planOf({ step, below, targets }: ContractWorld): Plan {
  const environment: Environment = {
    environment: 'test',
    protected: false,
    targets,
    people: { ana: {}, ben: {} },
    roles: { operator: [], admin: [], auditor: [] },
    groups: { sre: ['ana', 'ben'] },
    approvals: { least: {} },
  };
  const steps = [step, ...(below === undefined ? [] : [below])].map((one) => `  - ${one}\n`);
  const runbook = parseRunbook(`name: test\nsteps:\n${steps.join('')}`, 'test.yaml');
  const plan = compile({ runbook, environment: deepFrozen(environment), params: {}, digest });
  return { ...plan, phases: plan.phases.filter((phase) => phase.step === plan.steps[0]?.id) };
}

function deepFrozen<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    Object.freeze(value);
    Object.values(value).forEach(deepFrozen);
  }
  return value;
}

const changes = ({ effect }: Phase): boolean => effect !== 'none';

/** The whole contract, for one kind. */
export function describeProcedure({ kind, form, make }: ContractKind): void {
  const trial = async (): Promise<AsyncDisposable & Trial> => {
    const world = await make();
    return Object.assign(new Trial(world), {
      [Symbol.asyncDispose]: async () => world[Symbol.asyncDispose](),
    });
  };

  /** Skips, with the reason, where no phase of the kind changes anything; and makes sure that this is so. */
  const changing = (name: string, body: (tried: Trial) => Promise<void>) => {
    test(name, async ({ skip }) => {
      await using tried = await trial();
      const [first] = tried.plan.phases.filter(changes);
      if (first === undefined) {
        expect(
          tried.plan.phases.filter((phase) => phase.undo !== undefined || phase.probe !== undefined),
        ).toEqual([]);
        skip(`${kind} changes nothing, so there is nothing to undo or to probe.`);
      }
      await body(tried);
    });
  };

  describe(form === undefined ? kind : `${kind}, ${form}`, () => {
    test('plans without touching anything, and twice the same', async () => {
      await using tried = await trial();
      const before = await tried.world.look();
      expect(planOf(tried.world)).toEqual(tried.plan);
      expect(digest(planOf(tried.world) as unknown as Json)).toBe(digest(tried.plan as unknown as Json));
      expect(await tried.world.look()).toEqual(before);
    });

    test('has an activity for every call of its plan, and a bound for every phase', async () => {
      await using tried = await trial();
      for (const phase of tried.plan.phases) {
        for (const call of [phase.run as Call, phase.undo, phase.probe]) if (call !== undefined) actOf(call);
        expect(phase.limits.timeoutMs).toBeGreaterThan(0);
        expect(phase.expected.runMs).toBeLessThanOrEqual(phase.limits.timeoutMs);
      }
    });

    test('has for every effect an undo in words and a probe, and one attempt where it cannot go on by itself', async () => {
      await using tried = await trial();
      for (const phase of tried.plan.phases.filter(changes)) {
        expect(phase.undo, phase.id).toBeDefined();
        expect(phase.probe, phase.id).toBeDefined();
        expect(phase.undoTitle, phase.id).toBeTruthy();
        expect(phase.byHand?.how, `${phase.id} on the undo sheet`).toMatch(/^[A-Z].*\.$/);
        expect(phase.byHand?.seen, `${phase.id} on the undo sheet`).toMatch(/^when .*\.$/);
        if (!phase.limits.resumable) expect(phase.limits.attempts, phase.id).toBe(1);
      }
    });

    test('changes nothing in phases that say so', async () => {
      await using tried = await trial();
      for (const phase of tried.plan.phases) {
        const before = await tried.world.look();
        expect(await tried.run(phase), phase.id).toMatchObject({ verdict: 'pass' });
        if (!changes(phase)) expect(await tried.world.look(), phase.id).toEqual(before);
      }
    });

    test('gives the outputs that its schema names, and a summary of one line', async () => {
      await using tried = await trial();
      const schema = procedureOf(kind).output.partial().strict();
      for (const phase of tried.plan.phases) {
        const { summary, output } = await tried.run(phase);
        expect(schema.safeParse(output ?? {}), phase.id).toMatchObject({ success: true });
        expect(summary, phase.id).toMatch(/^[^\n]{1,1024}$/);
      }
      const given = Object.values(tried.outputs).flatMap((output) => Object.keys(output));
      expect([...new Set(given)].toSorted()).toEqual(Object.keys(procedureOf(kind).output.shape).toSorted());
    });

    test('run twice is run once', async () => {
      await using tried = await trial();
      for (const phase of tried.plan.phases) {
        await tried.run(phase);
        const once = await tried.world.look();
        expect(await tried.run(phase), phase.id).toMatchObject({ verdict: 'pass' });
        expect(await tried.world.look(), phase.id).toEqual(once);
      }
    });

    test('starts nothing once it is cancelled', async () => {
      await using tried = await trial();
      for (const phase of tried.plan.phases) {
        const before = await tried.world.look();
        await expect(tried.run(phase, { cancelled: true }), phase.id).rejects.toThrow();
        expect(await tried.world.look(), phase.id).toEqual(before);
        await tried.run(phase);
      }
    });

    changing('run and undo leave the world as found', async (tried) => {
      const [before, prints] = [await tried.world.look(), await tried.prints()];
      await tried.runAll();
      expect(await tried.world.look()).not.toEqual(before);
      await tried.undoAll();
      expect(await tried.world.look()).toEqual(before);
      expect(await tried.prints()).toEqual(prints);
    });

    changing('undo twice is undo once', async (tried) => {
      const [before, prints] = [await tried.world.look(), await tried.prints()];
      await tried.runAll();
      await tried.undoAll({ times: 2 });
      expect(await tried.world.look()).toEqual(before);
      expect(await tried.prints()).toEqual(prints);
    });

    changing('undo without run is harmless', async (tried) => {
      for (const phase of tried.plan.phases) {
        const before = await tried.world.look();
        if (changes(phase)) {
          await tried.undo(phase);
          expect(await tried.world.look(), phase.id).toEqual(before);
        }
        await tried.run(phase);
      }
    });

    changing('run, undo and run again verify', async (tried) => {
      await tried.runAll();
      const once = await tried.world.look();
      await tried.undoAll();
      await tried.runAll();
      expect(await tried.world.look()).toEqual(once);
    });

    changing('a probe tells before, after and undone apart, and changes nothing', async (tried) => {
      for (const phase of tried.plan.phases) {
        if (!changes(phase)) {
          await tried.run(phase);
          continue;
        }
        const answers: string[] = [];
        const ask = async () => {
          const before = await tried.world.look();
          answers.push(await tried.probe(phase));
          expect(await tried.world.look(), phase.id).toEqual(before);
        };
        await ask();
        await tried.run(phase);
        await ask();
        await tried.undo(phase);
        await ask();
        expect(answers, phase.id).toEqual(['no', 'yes', 'no']);
        await tried.run(phase);
      }
    });

    changing('an attempt that is late does nothing after its undo', async (tried) => {
      for (const phase of tried.plan.phases) {
        if (changes(phase)) {
          const fence = { epoch: 1, seq: nextSeq() };
          await tried.undo(phase);
          const before = await tried.world.look();
          await expect(tried.run(phase, { fence, isCurrent: () => false }), phase.id).rejects.toMatchObject({
            type: 'FenceLost',
          });
          expect(await tried.world.look(), phase.id).toEqual(before);
        }
        await tried.run(phase);
      }
    });
  });
}
