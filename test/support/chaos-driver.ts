/** Runs one case of chaos from its start to its verdict: a launch, a fault, what people say meanwhile, and all that is checked then. */
import { stat } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import type { RunDetailWire } from '../../cli/wire.ts';
import { DECISIONS_SQL, decisionFindings } from './chaos-decisions.ts';
import type { RawDecision } from './chaos-decisions.ts';
import { strikeOf, untilMarker } from './chaos-faults.ts';
import type { ChaosCase, Course } from './chaos-faults.ts';
import { JOURNAL_SQL, excerpt, journalFindings } from './chaos-journal.ts';
import type { Finding, RawRow } from './chaos-journal.ts';
import { goneFindings, logFindings, lookAt, viewFindings, worldFindings } from './chaos-looks.ts';
import type { Look } from './chaos-looks.ts';
import { makePeople } from './chaos-people.ts';
import type { People } from './chaos-people.ts';
import type { ChaosWorld } from './chaos-world.ts';
import { hasEnded } from './launch-world.ts';

/** The longest fault, what the janitor and the retries take after it, and the launch itself. */
const RUN_MS = 120_000;
const LOOK_MS = 100;
/** How long the API and Countdown's database may take to answer once every fault is gone. */
const READ_MS = 30_000;

export type ChaosResult = {
  run: number;
  state: string;
  /** From the creation of the run to its end, by the database's clock. */
  tookMs: number;
  /** From the first abort that was said to the run's end. */
  abortMs: number | null;
  /** False if the run ended before the fault could strike. */
  struck: boolean;
  findings: Finding[];
  /** The journal, and what people said, in short. */
  story: string;
};

/** A run without a fault, for comparison. */
export function runUndisturbed(world: ChaosWorld, course: Course): Promise<ChaosResult> {
  return runOne(world, course, undefined);
}

export function runCase(world: ChaosWorld, at: ChaosCase): Promise<ChaosResult> {
  return runOne(world, at.course, at);
}

async function runOne(world: ChaosWorld, course: Course, at: ChaosCase | undefined): Promise<ChaosResult> {
  await world.reset();
  const before = await lookAt(world);
  const logs = await logMarks(world);
  const run = await world.start(course === 'rollback' ? 'smoke' : undefined);
  const ending = new AbortController();
  const people = makePeople(world, run, ending.signal);
  const disturbed =
    at === undefined ? Promise.resolve(false) : disturb({ world, run, at, people, ending: ending.signal });
  const last = await untilEnd(world, run, people);
  ending.abort();
  const struck = await disturbed;
  await world.heal();
  await people.quiet();
  const facts = await factsOf(world, run);
  const view = facts.view ?? last;
  const findings = [
    ...(facts.findings ?? []),
    ...(view === undefined ? [] : endFindings(view, at, course, people)),
  ];
  if (view !== undefined) findings.push(...(await check(world, { run, view, before, facts, people })));
  findings.push(...(await logFindings(await since(world, logs))));
  const abort = people.said.find(({ kind }) => kind === 'abort');
  return {
    run,
    state: view?.state ?? 'unknown',
    tookMs: facts.tookMs,
    abortMs: abort === undefined || facts.endedAt === null ? null : facts.endedAt - abort.at,
    struck,
    findings,
    story: storyOf(facts.rows, people, view),
  };
}

/** False if the run ended before the marker came. */
async function disturb(part: {
  world: ChaosWorld;
  run: number;
  at: ChaosCase;
  people: People;
  ending: AbortSignal;
}): Promise<boolean> {
  const { world, run, at, people, ending } = part;
  const on = Promise.withResolvers<void>();
  // Else the run is past the approval before people have spoken.
  if (at.words !== null && at.marker.step !== undefined) people.holdVotes(at.marker.step, on.promise);
  if (!(await untilMarker(world, run, at.marker, ending))) {
    on.resolve();
    return false;
  }
  await pause(at.delayMs);
  let speaking: Promise<unknown> = Promise.resolve();
  let isOn = false;
  const whenOn = (): void => {
    if (isOn) return;
    isOn = true;
    speaking = speak(at, people, on.resolve);
  };
  await strikeOf(at)({ world, run, at, whenOn });
  await world.heal();
  await speaking;
  return true;
}

async function speak(at: ChaosCase, people: People, approve: () => void): Promise<void> {
  if (at.words === null) return approve();
  await pause(at.wordsAfterMs);
  if (at.words === 'abort') await people.abort();
  if (at.words === 'pause') await people.pause();
  approve();
  if (at.words !== 'pause') return;
  await pause(at.pausedMs);
  await people.resumeWhilePaused();
}

/** Undefined if the API never showed the run. */
async function untilEnd(world: ChaosWorld, run: number, people: People): Promise<RunDetailWire | undefined> {
  const deadline = Date.now() + RUN_MS;
  let last: RunDetailWire | undefined;
  while (Date.now() < deadline) {
    last =
      (await world
        .client()
        .run(run)
        .catch(() => undefined)) ?? last;
    if (last !== undefined && hasEnded(last)) return last;
    if (last !== undefined) people.look(last);
    await pause(LOOK_MS);
  }
  return last;
}

type Facts = {
  rows: RawRow[];
  decisions: RawDecision[];
  head: { seq: number; hash: string } | undefined;
  tookMs: number;
  endedAt: number | null;
  view: RunDetailWire | undefined;
  findings?: Finding[];
};

/** All of one moment: a run that is stuck may still move. */
async function factsOf(world: ChaosWorld, run: number): Promise<Facts> {
  const deadline = Date.now() + READ_MS;
  for (;;) {
    const view = await world
      .client()
      .run(run)
      .catch(() => undefined);
    const rows = await world.ask<RawRow>(JOURNAL_SQL, [run]);
    const decisions = await world.ask<RawDecision>(DECISIONS_SQL, [run]);
    const [own] = (await world.ask<Own>(OWN_SQL, [run])) ?? [];
    const isWhole = view !== undefined && rows !== undefined && decisions !== undefined && own !== undefined;
    if (isWhole && view.head.seq === own.seq && rows.at(-1)?.seq === own.seq)
      return { rows, decisions, view, head: own, tookMs: own.took, endedAt: own.ended };
    if (Date.now() > deadline)
      return {
        rows: rows ?? [],
        decisions: decisions ?? [],
        head: undefined,
        tookMs: 0,
        endedAt: null,
        view,
        findings: [
          {
            code: 'unreadable',
            detail: 'the API and the database did not agree on the head of the run in time',
          },
        ],
      };
    await pause(LOOK_MS);
  }
}

type Own = { seq: number; hash: string; took: number; ended: number | null };
const OWN_SQL = `
  select seq, hash, extract(epoch from coalesce(ended_at, clock_timestamp()) - created_at)::float8 * 1000 as took,
    extract(epoch from ended_at)::float8 * 1000 as ended
  from countdown.runs where run = $1`;

async function check(
  world: ChaosWorld,
  part: { run: number; view: RunDetailWire; before: Look; facts: Facts; people: People },
): Promise<Finding[]> {
  const { run, view, before, facts, people } = part;
  const { rows, decisions, head } = facts;
  const told = [
    ...journalFindings(rows, head),
    ...decisionFindings({ rows, decisions, said: people.said, view }),
    ...viewFindings({ rows, view }),
  ];
  if (!hasEnded(view)) return told;
  const writes = await writeFindings(world, view);
  await world.stopWriter();
  return [
    ...told,
    ...writes,
    ...(await goneFindings(world, { run, view })),
    ...(await worldFindings(world, { run, rows, view, before })),
  ];
}

/** A run that has ended holds no writes; one that is stuck may. */
async function writeFindings(world: ChaosWorld, view: RunDetailWire): Promise<Finding[]> {
  if (view.state === 'stuck') return [];
  return world.written().then(
    () => [],
    (error: unknown) => [{ code: 'writes-held', detail: `the run is ${view.state}: ${String(error)}` }],
  );
}

/** How the run may end. Every outage is far shorter than the share of the objective in which an undo is tried again. */
function endFindings(
  view: RunDetailWire,
  at: ChaosCase | undefined,
  course: Course,
  people: People,
): Finding[] {
  const { state, because } = view;
  const as = `${state}${because === null ? '' : ` (${because})`}`;
  if (!hasEnded(view))
    return [{ code: 'not-ended', detail: `after ${RUN_MS} ms the run is ${as}, step ${view.step}` }];
  if (state === 'stuck') return [{ code: 'stuck', detail: `${as}: ${deskOf(view)}` }];
  const expected = new Set(course === 'launch' ? ['succeeded'] : ['rolled-back']);
  const abort = people.said.filter(({ kind }) => kind === 'abort');
  // An abort without an answer may have been heard or not; one that was refused changes nothing.
  if (abort.some(({ status }) => status < 400 || status >= 500))
    for (const one of ['rolled-back', 'stopped']) expected.add(one);
  if (abort.some(({ status }) => status === 200)) expected.delete('succeeded');
  if (at?.isOutside === true) for (const one of ['rolled-back', 'stopped']) expected.add(one);
  const found: Finding[] = [];
  if (!expected.has(state))
    found.push({ code: 'ended-otherwise', detail: `${as}, expected ${[...expected].join(' or ')}` });
  if (state === 'rolled-back' && (because ?? '') === '')
    found.push({ code: 'because-untrue', detail: 'a run that was rolled back says no reason' });
  // A print that could not be taken because a target was away is truly not verified.
  if (state === 'rolled-back' && view.verified !== true && at?.isOutside !== true)
    found.push({ code: 'not-verified', detail: `not verified: ${view.notVerified.join(', ')}` });
  return found;
}

function deskOf(view: RunDetailWire): string {
  return view.phases
    .filter(({ waitingFor, state }) => waitingFor !== null || state === 'undo-failed')
    .map(({ phase, state, error, summary }) => `${phase} ${state} ${error?.message ?? summary ?? ''}`)
    .join('; ');
}

async function logMarks(world: ChaosWorld): Promise<Map<string, number>> {
  const marks = new Map<string, number>();
  for (const worker of world.parts.workers) {
    const file = worker.logFile();
    marks.set(file, (await stat(file)).size);
  }
  return marks;
}

/** A worker that was started again has a log of its own. */
async function since(
  world: ChaosWorld,
  marks: Map<string, number>,
): Promise<{ file: string; from: number }[]> {
  const files = new Set([...marks.keys(), ...world.parts.workers.map((worker) => worker.logFile())]);
  return [...files].map((file) => ({ file, from: marks.get(file) ?? 0 }));
}

function storyOf(rows: readonly RawRow[], people: People, view: RunDetailWire | undefined): string {
  const said = people.said.map(
    ({ tag, kind, person, subject, at, status, code, result }) =>
      `${new Date(at).toISOString().slice(11, 23)} ${person} ${kind} ${subject ?? ''} (${tag}) → ${status} ${code ?? result ?? ''}`,
  );
  const shown =
    view?.decisions.map(
      ({ kind, person, reason, counted, result }) =>
        `${kind} ${person} (${reason}) counted ${counted} ${result}`,
    ) ?? [];
  return [excerpt(rows), 'said:', ...said, 'shown:', ...shown].join('\n');
}
