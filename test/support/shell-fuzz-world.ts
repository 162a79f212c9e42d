/**
 * The targets of one run of the fuzzer. Each phase has one effect and one fence, as a real target has. The world knows what was
 * done, so it can tell when something was done twice.
 */
import { ApplicationFailure } from '@temporalio/common';
import type { FingerprintResult, PhaseContext, PhaseResult, ProbeResult } from '../../activities/phase.ts';
import type { Plan } from '../../procedures/plan.ts';
import type { Chance } from './hostile-sqlite.ts';

/** What one attempt takes at most, unless it is lost. */
const WORK_MS_MAX = 50;

type Luck = 'good' | 'fails' | 'half' | 'lost' | 'lost after' | 'red';

export class FuzzWorld {
  readonly effects = new Map<string, 'half' | 'whole'>();
  /** Effects that happened although they were there already. */
  readonly twice: { phase: string; try: number }[] = [];
  /** While false, everything goes well. */
  isStormy = true;
  private readonly fences = new Map<string, number>();
  private readonly plan: Plan;
  private readonly chance: Chance;

  constructor(plan: Plan, chance: Chance) {
    this.plan = plan;
    this.chance = chance;
  }

  async perform(context: PhaseContext): Promise<PhaseResult | ProbeResult | FingerprintResult> {
    this.raise(context);
    await this.work(context);
    switch (context.direction) {
      case 'run':
        return this.run(context);
      case 'undo':
        return this.undo(context);
      case 'probe':
        if (this.isStormy && this.chance.often(0.05)) throw new Error('the target is away for a moment');
        return { answer: this.answer(context.phase), summary: 'looked' };
      case 'before':
      case 'after':
        return { state: this.standing().join(), data: null, summary: 'printed' };
    }
  }

  /** Phases with an effect that stands, half or whole, if it can be undone by an activity. */
  standing(): string[] {
    return this.plan.phases
      .filter(({ id, undo }) => undo !== undefined && this.effects.has(id))
      .map(({ id }) => id);
  }

  private async run(context: PhaseContext): Promise<PhaseResult> {
    const { phase } = context;
    const planned = this.plan.phases.find(({ id }) => id === phase);
    const hasEffect = planned?.effect !== 'none';
    const luck = this.luck();
    if (luck === 'fails') throw refusal('PhaseFailed', 'it failed before it did anything');
    if (luck === 'lost') await this.lost(context);
    if (hasEffect) {
      const isResumable = planned?.limits.resumable === true;
      if (this.effects.has(phase) && !isResumable) this.twice.push({ phase, try: context.try });
      this.change(context, () => this.effects.set(phase, luck === 'half' ? 'half' : 'whole'));
    }
    if (luck === 'half') throw refusal('PhaseFailed', 'it failed half-way');
    if (luck === 'lost after') await this.lost(context);
    const leaveOut = planned?.decides !== undefined && this.chance.often(0.3);
    return {
      verdict: luck === 'red' ? this.chance.pick(['fail', 'inconclusive']) : 'pass',
      summary: 'run done',
      output: { phase },
      binds: { phase, size: this.isStormy ? this.chance.below(4) : 0 },
      ...(leaveOut ? { leaveOut: true as const } : {}),
    };
  }

  private async undo(context: PhaseContext): Promise<PhaseResult> {
    const luck = this.luck();
    if (luck === 'fails' || luck === 'half') throw refusal('UndoFailed', 'it cannot be taken back now');
    if (luck === 'lost') await this.lost(context);
    this.change(context, () => this.effects.delete(context.phase));
    if (luck === 'lost after') await this.lost(context);
    return { verdict: 'pass', summary: 'undo done' };
  }

  private answer(phase: string): 'no' | 'yes' | 'partly' {
    const found = this.effects.get(phase);
    return found === undefined ? 'no' : found === 'half' ? 'partly' : 'yes';
  }

  private luck(): Luck {
    if (!this.isStormy) return 'good';
    const number = this.chance.below(100);
    if (number < 74) return 'good';
    if (number < 79) return 'fails';
    if (number < 83) return 'half';
    if (number < 86) return 'lost';
    if (number < 90) return 'lost after';
    return 'red';
  }

  /** Every attempt raises the fence before it looks or acts. */
  private raise({ phase, fence }: PhaseContext): void {
    if ((this.fences.get(phase) ?? 0) > fence.seq) throw refusal('FenceLost', 'a later attempt was here');
    this.fences.set(phase, fence.seq);
  }

  /** A change happens only under the fence of the attempt that makes it. */
  private change(context: PhaseContext, act: () => void): void {
    if (this.fences.get(context.phase) !== context.fence.seq)
      throw refusal('FenceLost', 'a later attempt was here');
    act();
  }

  private work({ signal }: PhaseContext): Promise<void> {
    return pause(this.chance.below(WORK_MS_MAX), signal);
  }

  /** No answer comes until the attempt has timed out or was cancelled. Then it goes on, too late. */
  private lost({ signal }: PhaseContext): Promise<void> {
    return pause(60_000, signal);
  }
}

function refusal(type: string, message: string): ApplicationFailure {
  return ApplicationFailure.create({ type, message, nonRetryable: true });
}

/** Waits; the signal ends it early. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done(): void {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    }
    if (signal.aborted) done();
    else signal.addEventListener('abort', done);
  });
}
