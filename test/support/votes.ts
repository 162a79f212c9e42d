/**
 * Answers to one approval as they come in, the core that takes them, and `Book`: the same rules written down a second time,
 * as a person would say them, with nothing of the code.
 */
import fc from 'fast-check';
import { expect } from 'vitest';
import { type Act, type CoreState, apply, initial, settle, wanted } from '../../workflows/core.ts';
import { decide } from '../../workflows/decide.ts';
import { judge } from '../../workflows/judge.ts';
import type { Decision } from '../../workflows/messages.ts';
import { approval, makePlan } from './plans.ts';

const PLAN_HASH = 'p'.repeat(64);
const START = 1_000_000;
const EXPIRES_MS = 60_000;
const FRESH_MS = 20_000;
/** Dana asks for the run; ops steers it, and sometimes ben does, who may vote; eve is in no group; ana is in all. */
export const VOTERS: Record<string, string[]> = {
  sre: ['ana', 'ben', 'ops', 'dana'],
  owner: ['olu', 'ana'],
  security: ['sam', 'ana'],
};
const PEOPLE = ['ana', 'ben', 'olu', 'sam', 'ops', 'dana', 'eve'];
const DOORS = ['api', 'cli', 'slack', 'console'] as const;
const QUORUMS: Record<string, number>[] = [
  { sre: 1, owner: 1 },
  { sre: 2 },
  { sre: 1, owner: 1, security: 1 },
  { sre: 2, owner: 1 },
];

/** With `old` what was inspected is too old to be approved on, once people are asked. */
export type Asks = { from: Record<string, number>; via: 'any' | 'api'; old: boolean };

export const asks: fc.Arbitrary<Asks> = fc.record({
  from: fc.constantFrom(...QUORUMS),
  via: fc.constantFrom('any', 'any', 'api'),
  old: fc.boolean(),
});

/** What comes in, `laterMs` after what came before it. */
export type Arrival = { laterMs: number } & (
  | {
      what: 'answer';
      kind: 'approve' | 'reject';
      person: string;
      door: Decision['door'];
      seen: 'present' | 'before' | 'never';
    }
  | { what: 'again'; of: number }
  | { what: 'pause' | 'resume'; person: string }
  | { what: 'inspected' }
  | { what: 'asked'; evidence: string }
);

/** Mostly within ten milliseconds; now and then so late that the inspection is old, or that the approval has expired. */
const laterMs = fc.oneof(
  { weight: 60, arbitrary: fc.integer({ min: 0, max: 3 }) },
  { weight: 1, arbitrary: fc.constantFrom(FRESH_MS + 1, EXPIRES_MS) },
);
const answer = fc.record({
  what: fc.constant('answer' as const),
  laterMs,
  kind: fc.oneof(
    { weight: 40, arbitrary: fc.constant('approve' as const) },
    { weight: 1, arbitrary: fc.constant('reject' as const) },
  ),
  person: fc.constantFrom(...PEOPLE),
  door: fc.constantFrom(...DOORS),
  seen: fc.oneof(
    { weight: 4, arbitrary: fc.constant('present' as const) },
    { weight: 1, arbitrary: fc.constantFrom('before' as const, 'before' as const, 'never' as const) },
  ),
});
const arrival: fc.Arbitrary<Arrival> = fc.oneof(
  { weight: 20, arbitrary: answer },
  { weight: 3, arbitrary: fc.record({ what: fc.constant('again' as const), laterMs, of: fc.nat(20) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      what: fc.constantFrom('pause' as const, 'resume' as const, 'resume' as const),
      laterMs,
      person: fc.constantFrom('ops', 'ops', 'ben', 'eve'),
    }),
  },
  { weight: 6, arbitrary: fc.record({ what: fc.constant('inspected' as const), laterMs }) },
  {
    weight: 8,
    arbitrary: fc.record({
      what: fc.constant('asked' as const),
      laterMs,
      evidence: fc.constantFrom('e1', 'e2'),
    }),
  },
);
export const arrivals = fc.array(arrival, { minLength: 4, maxLength: 60, size: 'max' });

/** The core and the least of a shell. What needs nobody ends at once; the way back and the work itself never end. */
export class Core {
  readonly plan: ReturnType<typeof makePlan>;
  readonly state: CoreState;
  granted = 0;
  now = START;

  constructor({ from, via }: Asks) {
    const asked = approval(from, { expiresMs: EXPIRES_MS, freshMs: FRESH_MS, via });
    this.plan = makePlan([
      { id: 'first', phases: [{ name: 'a', effect: 'reversible' }] },
      { id: 'move', phases: [{ name: 'b' }, { name: 'c', effect: 'costly', approval: asked }] },
    ]);
    this.state = initial(this.plan);
    const begun = { requester: 'dana', groups: VOTERS, reopened: false, journal: [], prints: {} };
    apply(this.plan, this.state, { kind: 'begun', begun: { ...begun, plan: PLAN_HASH } }, START);
    this.turn();
    this.inspected();
    this.turn();
  }

  get record() {
    return this.state.approvals['move'];
  }

  turn(): void {
    for (let turns = 0; turns < 100; turns += 1) {
      settle(this.plan, this.state, this.now);
      this.cutShort();
      const act = wanted(this.plan, this.state).find(isQuick);
      if (act === undefined) return;
      this.finish(act);
    }
    throw new Error('The core does not come to rest.');
  }

  /** A run that leaves its way cancels the inspection. */
  private cutShort(): void {
    const inspection = this.state.phases['move/b'];
    if (this.state.cause === null || inspection?.act !== 'run') return;
    const outcome = { end: 'maybe' as const, message: 'it was cancelled' };
    this.ended({ phase: 'move/b', try: inspection.try, direction: 'run' }, outcome);
    settle(this.plan, this.state, this.now);
  }

  private finish(act: Act): void {
    const ok = { verdict: 'pass' as const, summary: 'seen', seq: 1, digest: 'd' };
    if (act.kind === 'record') {
      this.granted += act.rows.filter(({ kind, state }) => kind === 'approval' && state === 'granted').length;
      apply(this.plan, this.state, { kind: 'recorded', counted: [] }, this.now);
    } else if (act.kind === 'phase' || act.kind === 'print')
      apply(this.plan, this.state, { ...act, outcome: { end: 'ok', answer: ok } }, this.now);
    else throw new Error(`Not expected here: ${act.kind}`);
  }

  private ended(
    act: { phase: string; try: number; direction: 'run' },
    outcome: { end: 'maybe'; message: string },
  ): void {
    apply(this.plan, this.state, { ...act, kind: 'phase', outcome }, this.now);
  }

  inspected(): void {
    const act = wanted(this.plan, this.state).find((one) => one.kind === 'phase' && one.phase === 'move/b');
    if (act !== undefined) this.finish(act);
  }

  asked(evidence: string): void {
    const event = { kind: 'opened' as const, step: 'move', evidence, openedAt: this.now };
    apply(this.plan, this.state, event, this.now);
  }

  /** The result, or the code of the refusal. What is refused must change nothing. */
  say(decision: Decision): string {
    const frozen = JSON.stringify(this.state);
    const refused = judge(this.plan, this.state, decision, this.now);
    expect(JSON.stringify(this.state), 'to judge changes nothing').toBe(frozen);
    if (refused === undefined) return decide(this.plan, this.state, decision, this.now).result;
    expect(() => decide(this.plan, this.state, decision, this.now)).toThrow(refused.detail);
    expect(JSON.stringify(this.state), 'what is refused changes nothing').toBe(frozen);
    return refused.code;
  }
}

function isQuick(act: Act): boolean {
  if (act.kind === 'phase')
    return act.direction !== 'undo' && act.phase !== 'move/b' && act.phase !== 'move/c';
  return act.kind !== 'open';
}

/** Who has said what so far, and what follows for the next answer. */
export class Book {
  stands: 'not asked' | 'open' | 'inspecting' | 'asking again' | 'granted' | 'rejected' | 'expired' =
    'not asked';
  readonly votes = new Map<string, string>();
  readonly seen: string[] = [];
  private readonly steered = new Set<string>();
  private readonly steering = new Set<string>();
  private inspectedAt = START;
  private isInspected = true;
  private quorumAt: number | null = null;
  private dueAt = START + EXPIRES_MS;
  private pausedAt: number | null = null;
  private readonly asks: Asks;

  constructor(asked: Asks) {
    this.asks = asked;
  }

  /** Time passes; nothing else happens. */
  clock(now: number): void {
    // While the inspection is run again nobody looks at the clock: it is looked at as soon as that has ended.
    const isClosed = ['inspecting', 'granted', 'rejected', 'expired'].includes(this.stands);
    if (!isClosed && this.pausedAt === null && now >= this.dueAt) this.stands = 'expired';
  }

  inspected(now: number): void {
    if (this.stands !== 'inspecting') return;
    if (!this.isInspected) this.inspectedAt = now;
    this.isInspected = true;
    // While the run is paused nothing is begun, not even the question.
    if (this.pausedAt === null) this.askAgain(now);
  }

  private askAgain(now: number): void {
    if (this.stands !== 'inspecting' || !this.isInspected) return;
    this.stands = 'asking again';
    this.clock(now);
  }

  asked(evidence: string, now: number): void {
    if (this.stands !== 'not asked' && this.stands !== 'asking again') return;
    if (this.seen.length > 0 && this.seen.at(-1) !== evidence) {
      this.votes.clear();
      this.quorumAt = null;
    }
    if (this.seen.at(-1) !== evidence) this.seen.push(evidence);
    this.stands = 'open';
    this.count(now);
  }

  steer(kind: 'pause' | 'resume', person: string, id: string, now: number): string {
    if (this.steering.has(id)) return 'AlreadyCounted';
    const isBack = this.stands === 'rejected' || this.stands === 'expired';
    if (kind === 'resume' && this.pausedAt === null) return 'NotPaused';
    if (kind === 'pause' && isBack) return 'AlreadyEnded';
    if (kind === 'pause' && this.pausedAt !== null) return 'AlreadyPaused';
    this.steering.add(id);
    this.steered.add(person);
    this.quorumAt = null;
    if (this.stands === 'open') this.votes.delete(person);
    if (kind === 'pause') this.pausedAt = now;
    else {
      this.dueAt += now - (this.pausedAt ?? now);
      this.pausedAt = null;
      this.askAgain(now);
      this.count(now);
    }
    return 'Accepted';
  }

  /** Answers that counted, by the decision's id: one that is sent again is not looked at again. */
  private readonly heard = new Set<string>();

  answer(decision: Decision, now: number): string {
    if (this.heard.has(decision.id)) return 'AlreadyCounted';
    const result = this.answerNew(decision, now);
    if (result === 'Counted' || result === 'AlreadyCounted') this.heard.add(decision.id);
    return result;
  }

  private answerNew(decision: Decision, now: number): string {
    const { person, kind, evidence, door } = decision;
    if (this.stands === 'not asked' || this.stands === 'asking again') return 'NotAsked';
    if (this.stands === 'granted' || this.stands === 'rejected') return 'AlreadyDecided';
    if (this.stands === 'expired') return 'ApprovalExpired';
    if (door === 'slack' && this.asks.via === 'api') return 'DoorNotAllowed';
    if (person === 'dana') return 'RequesterCannotApprove';
    if (this.steered.has(person)) return 'OperatorCannotApprove';
    if (!Object.keys(this.asks.from).some((group) => VOTERS[group]?.includes(person))) return 'NotInGroup';
    if (evidence !== this.seen.at(-1))
      return evidence !== null && this.seen.includes(evidence) ? 'ApprovalVoided' : 'EvidenceDiffers';
    if (kind === 'reject') {
      this.stands = 'rejected';
      this.votes.clear();
      // A run that leaves its way is not paused any longer.
      this.pausedAt = null;
      return 'Counted';
    }
    if (this.votes.has(person)) return 'AlreadyCounted';
    this.votes.set(person, decision.id);
    this.count(now);
    return 'Counted';
  }

  private count(now: number): void {
    if (this.stands !== 'open' || this.pausedAt !== null || !this.isQuorum([...this.votes.keys()])) return;
    // What was inspected after the quorum stood is not inspected again for it, however long that took.
    this.quorumAt ??= now;
    this.isInspected = this.quorumAt - this.inspectedAt <= FRESH_MS;
    this.stands = this.isInspected ? 'granted' : 'inspecting';
  }

  /** Everybody sits on one seat of a group of his: tried in every order. */
  isQuorum(voters: readonly string[]): boolean {
    const fill = (seats: readonly string[], left: readonly string[]): boolean => {
      const [group, ...others] = seats;
      if (group === undefined) return true;
      const fits = left.filter((one) => VOTERS[group]?.includes(one) === true);
      return fits.some((one) =>
        fill(
          others,
          left.filter((other) => other !== one),
        ),
      );
    };
    const seats = Object.entries(this.asks.from).flatMap(([group, needed]) =>
      Array.from({ length: needed }, () => group),
    );
    return fill(seats, voters);
  }
}

/** How often the shell has its turn: after each answer, or once for all that came in the same millisecond. */
export type Turns = 'each' | 'together';

/** Gives everything to the core and to the book; afterwards both have spoken of each answer. */
export function replay(
  asked: Asks,
  all: readonly Arrival[],
  turns: Turns = 'each',
): { core: Core; book: Book; results: string[]; expected: string[]; said: Decision[] } {
  const [core, book] = [new Core(asked), new Book(asked)];
  const [results, expected, said]: [string[], string[], Decision[]] = [[], [], []];
  if (asked.old) core.now += FRESH_MS + 1;
  for (const one of all) {
    core.now += one.laterMs;
    if (turns === 'each' || one.laterMs > 0) core.turn();
    book.clock(core.now);
    if (one.what === 'inspected') {
      core.inspected();
      book.inspected(core.now);
    } else if (one.what === 'asked') {
      core.asked(one.evidence);
      book.asked(one.evidence, core.now);
    } else {
      const decision = one.what === 'again' ? said[one.of % said.length] : decisionOf(one, said, book.seen);
      if (decision === undefined) continue;
      said.push(decision);
      results.push(core.say(decision));
      const { kind, person, id } = decision;
      const isSteering = kind === 'pause' || kind === 'resume';
      expected.push(isSteering ? book.steer(kind, person, id, core.now) : book.answer(decision, core.now));
    }
    if (turns === 'each') core.turn();
  }
  core.turn();
  return { core, book, results, expected, said };
}

function decisionOf(
  one: Extract<Arrival, { what: 'answer' | 'pause' | 'resume' }>,
  said: readonly Decision[],
  seen: readonly string[],
): Decision {
  const isAnswer = one.what === 'answer';
  const known = { present: seen.at(-1), before: seen.at(-2) ?? 'e0', never: 'e0' };
  return {
    id: `d${said.length}`,
    run: 1,
    kind: isAnswer ? one.kind : one.what,
    subject: isAnswer ? 'move' : null,
    person: one.person,
    groups: Object.keys(VOTERS).filter((group) => VOTERS[group]?.includes(one.person)),
    door: isAnswer ? one.door : 'api',
    plan: PLAN_HASH,
    evidence: isAnswer ? (known[one.seen] ?? null) : null,
    reason: 'because',
    resolution: null,
  };
}
