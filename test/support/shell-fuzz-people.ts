/** The people of one run of the fuzzer: in the storm they say anything at any time, afterwards they help the run to its end. */
import { randomUUID } from 'node:crypto';
import { ServiceError, WorkflowNotFoundError, WorkflowUpdateFailedError } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { isTerminal } from '../../procedures/states.ts';
import type { PhaseView, RunDetail } from '../../store/types.ts';
import {
  type Decision,
  type DecisionAnswer,
  type DecisionKind,
  decisionUpdate,
} from '../../workflows/messages.ts';
import { type Engine, type EngineRun, GROUPS } from './engine.ts';
import type { Chance } from './hostile-sqlite.ts';

/** One send of an update; the same update is sent again after that, for as long as `SEND_ALL_MS`. */
const SEND_MS = 20_000;
const SEND_ALL_MS = 60_000;
const SEND_AGAIN_MS = 200;
/** gRPC FAILED_PRECONDITION: the server takes no update while the tasks of the workflow fail. Nothing was sent. */
const NOT_TAKEN = 9;
/** Between two decisions of the storm, at most. */
const TALK_EVERY_MS = 500;
const HELP_EVERY_MS = 200;
/** Temporal takes ten updates of a workflow at once. */
const IN_FLIGHT_MAX = 8;

const PEOPLE = ['ana', 'ben', 'olu', 'dana', 'eve'] as const;

/** What came of a decision. `closed` and `unanswered` say nothing about whether it counted. */
export type Outcome =
  | { end: 'answered'; answer: DecisionAnswer }
  | { end: 'refused'; code: string }
  | { end: 'closed' }
  | { end: 'unanswered'; error: string; isTaken: boolean };

/** `sends` are those that may have reached the workflow. */
export type Said = { decision: Decision; sends: number; outcome: Outcome | undefined };

type Words = { kind: DecisionKind; subject: string | null; person: string; over?: Partial<Decision> };

export class FuzzPeople {
  readonly said: Said[] = [];
  private readonly sending = new Set<Promise<void>>();
  private readonly run: EngineRun;
  private readonly store: Engine['store'];
  private readonly client: Engine['client'];
  private readonly chance: Chance;
  /** Half of the runs are not aborted; `late` waits until something has to be undone. */
  private readonly aborts: 'never' | 'early' | 'late';
  private hasStopped = false;

  constructor(engine: Pick<Engine, 'store' | 'client'>, run: EngineRun, chance: Chance) {
    this.run = run;
    this.store = engine.store;
    this.client = engine.client;
    this.chance = chance;
    this.aborts = chance.pick<'never' | 'early' | 'late'>([
      'never',
      'never',
      'never',
      'early',
      'late',
      'late',
    ]);
  }

  /** Says things at random until the moment comes or the run has ended. The first may reach the very first workflow task. */
  async talk(until: number): Promise<void> {
    if (this.chance.often(0.3)) await this.say(this.early());
    while (Date.now() < until) {
      await sleep(this.chance.below(TALK_EVERY_MS));
      const detail = await this.run.detail();
      if (isTerminal(detail.state)) return;
      if (this.sending.size < IN_FLIGHT_MAX) await this.say(this.random(detail));
    }
  }

  /** Helps the run to its end. False if it has not ended by the deadline. */
  async help(deadline: number): Promise<boolean> {
    for (let turn = 0; Date.now() < deadline; turn += 1) {
      const detail = await this.run.detail();
      if (isTerminal(detail.state)) return true;
      // One answer after the other: people who help do not disturb.
      if (this.sending.size === 0) for (const words of this.helpful(detail, turn)) await this.say(words);
      await sleep(HELP_EVERY_MS);
    }
    return false;
  }

  /** Nothing is sent again from here on. */
  stop(): void {
    this.hasStopped = true;
  }

  /** Waits for the outcome of everything that was said, for as long as `waitMs`. */
  async settled(waitMs: number): Promise<void> {
    const all = Promise.all(this.sending);
    await Promise.race([all, sleep(waitMs)]);
  }

  private early(): Words {
    const kind =
      this.aborts === 'early' ? 'abort' : this.chance.pick<DecisionKind>(['pause', 'resume', 'pause']);
    return { kind, subject: null, person: 'eve' };
  }

  private random(detail: RunDetail): Words {
    const { chance } = this;
    const person = chance.pick(PEOPLE);
    const number = chance.below(100);
    const isOwed = detail.phases.some((one) => one.isOwed && one.state !== 'pending');
    const abortBelow = this.aborts === 'early' ? 4 : this.aborts === 'late' && isOwed ? 20 : 0;
    if (number < abortBelow) return { kind: 'abort', subject: null, person };
    if (number < 25) {
      const kind = detail.state === 'paused' || chance.often(0.2) ? 'resume' : 'pause';
      return { kind, subject: null, person: chance.pick(['eve', 'eve', 'eve', person]) };
    }
    if (detail.state === 'paused' && number < 60) return { kind: 'resume', subject: null, person: 'eve' };
    const open = detail.approvals.find(({ state }) => state === 'open');
    if (open !== undefined && number < 85) return this.vote(open.step, open.evidence, person);
    const held = detail.phases.find(({ waitingFor }) => waitingFor?.startsWith('a person') === true);
    if (held !== undefined) return this.speakFor(held, person);
    const stray = chance.pick([detail.phases[0], ...detail.phases])?.phase ?? null;
    return { kind: chance.pick<DecisionKind>(['approve', 'retry', 'skip', 'done']), subject: stray, person };
  }

  private vote(step: string, evidence: string, person: string): Words {
    const { chance } = this;
    const kind = chance.often(0.06) ? 'reject' : 'approve';
    const seen = chance.often(0.05) ? '0'.repeat(64) : evidence;
    const glass = kind === 'approve' && chance.often(0.15) ? { breakGlass: true as const } : {};
    return { kind, subject: step, person, over: { evidence: seen, ...glass } };
  }

  private speakFor({ phase }: PhaseView, person: string): Words {
    const kind = this.chance.pick<DecisionKind>(['retry', 'skip', 'done', 'resolve']);
    const resolution =
      kind === 'resolve' && this.chance.often(0.5)
        ? { retry: true as const }
        : { done: true as const, evidence: 'seen' };
    return { kind, subject: phase, person, over: { resolution } };
  }

  private helpful(detail: RunDetail, turn: number): Words[] {
    if (detail.state === 'paused') return [{ kind: 'resume', subject: null, person: 'eve' }];
    const words: Words[] = [];
    for (const { step, state, evidence } of detail.approvals) {
      // One person a turn; those who have steered are refused, and an approval without votes expires.
      const person = PEOPLE[turn % PEOPLE.length] ?? 'ana';
      if (state === 'open') words.push({ kind: 'approve', subject: step, person, over: { evidence } });
    }
    for (const { phase, waitingFor } of detail.phases) {
      if (waitingFor?.startsWith('a person') !== true) continue;
      words.push(...this.helpWith(detail, phase, turn));
    }
    if (detail.state === 'stuck') {
      for (const { target } of detail.targets) words.push(this.byHand(target));
      for (const { phase, state } of detail.phases)
        if (state === 'undo-failed') words.push(...this.helpWith(detail, phase, turn));
    }
    return words;
  }

  private helpWith(detail: RunDetail, phase: string, turn: number): Words[] {
    if (detail.state === 'stuck') {
      const again = {
        kind: 'resolve' as const,
        subject: phase,
        person: 'eve',
        over: { resolution: { retry: true as const } },
      };
      return [turn % 2 === 0 ? again : this.byHand(phase)];
    }
    const over = { resolution: { done: true as const, evidence: 'seen by hand' } };
    return [{ kind: turn % 2 === 0 ? 'retry' : 'done', subject: phase, person: 'eve', over }];
  }

  private byHand(subject: string): Words {
    return {
      kind: 'resolve',
      subject,
      person: 'eve',
      over: { resolution: { done: true, evidence: 'seen by hand' } },
    };
  }

  /** Writes the decision row as the API does, then sends the update without waiting for the answer. */
  private async say({ kind, subject, person, over = {} }: Words): Promise<void> {
    const id = randomUUID();
    const decision: Decision = {
      id,
      run: this.run.run,
      kind,
      subject,
      person,
      groups: Object.keys(GROUPS).filter((group) => GROUPS[group]?.includes(person)),
      door: 'api',
      plan: this.run.plan,
      evidence: null,
      // Its own text, so that the run's reason names the decision that ended it.
      reason: `because ${id}`,
      resolution: null,
      ...over,
    };
    await this.store.api.insertDecision(decision);
    const said: Said = { decision, sends: 0, outcome: undefined };
    this.said.push(said);
    const sending = this.send(said).finally(() => this.sending.delete(sending));
    this.sending.add(sending);
  }

  private async send(said: Said): Promise<void> {
    const { decision } = said;
    const until = Date.now() + SEND_ALL_MS;
    do {
      const outcome = await this.sendOnce(decision);
      said.outcome = outcome;
      if (outcome.end !== 'unanswered' || outcome.isTaken) said.sends += 1;
      if (outcome.end === 'refused')
        await this.store.api.refuseDecision({ run: decision.run, id: decision.id, code: outcome.code });
      if (outcome.end !== 'unanswered') return;
      if (isTerminal((await this.run.detail()).state)) return;
      await sleep(SEND_AGAIN_MS);
    } while (Date.now() < until && !this.hasStopped);
  }

  private async sendOnce(decision: Decision): Promise<Outcome> {
    try {
      const answer = await this.client.withDeadline(Date.now() + SEND_MS, () =>
        this.client.workflow
          .getHandle(this.run.handle.workflowId)
          .executeUpdate(decisionUpdate, { updateId: `decision/${decision.id}`, args: [decision] }),
      );
      return { end: 'answered', answer };
    } catch (error) {
      if (error instanceof WorkflowUpdateFailedError && error.cause instanceof ApplicationFailure)
        return { end: 'refused', code: error.cause.type ?? 'none' };
      if (error instanceof WorkflowNotFoundError) return { end: 'closed' };
      const cause =
        error instanceof ServiceError ? (error.cause as { code?: number; message?: string }) : undefined;
      return {
        end: 'unanswered',
        error: `${String(error)} ${cause?.message ?? ''}`,
        isTaken: cause?.code !== NOT_TAKEN,
      };
    }
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
