/**
 * The faults of the chaos driver. A seed picks everything of a case: the fault, the journal row after which it strikes, how
 * long after it, and for how long it lasts.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { makeRandom } from '../../examples/piano-keys/random.ts';
import type { Random } from '../../examples/piano-keys/random.ts';
import { UPDATE_WAIT_MS } from '../../procedures/limits.ts';
import type { Part } from './chaos-parts.ts';
import type { ChaosWorld, Parts, Wires } from './chaos-world.ts';
import type { TcpProxy, Way } from './tcp-proxy.ts';

/** How long a decision may take to its journal row while the worker's answers are held. */
const JOURNALLED_MS = 6_000;
/** After this the API has told the person that no worker answered. */
const GIVEN_UP_MS = UPDATE_WAIT_MS + 1_000;
const LOOK_MS = 20;

/** A launch that goes through, or one whose smoke test fails after its effect, so that it unwinds. */
export type Course = 'launch' | 'rollback';

/** The journal row after which a fault strikes. */
export type Marker = { kind: string; phase?: string; direction?: string; step?: string };

export type ChaosCase = {
  seed: number;
  fault: string;
  course: Course;
  marker: Marker;
  delayMs: number;
  lengthMs: number;
  /** Which of the two workers. */
  slot: 0 | 1;
  way: Way;
  /** What people say while the fault is on, and how long after it began. */
  words: 'abort' | 'approve' | 'pause' | null;
  wordsAfterMs: number;
  /** Between a pause and its resume. */
  pausedMs: number;
  /** Strikes a target or the application: the launch may fail for it, and is taken back then. */
  isOutside: boolean;
};

export type Strike = { world: ChaosWorld; run: number; at: ChaosCase; whenOn: () => void };

type Fault = {
  name: string;
  strike: (strike: Strike) => Promise<void>;
  /** Least and most milliseconds that it lasts; short ones are the frequent ones, unless it is even. */
  length: readonly [number, number];
  isEven?: true;
  isOutside?: true;
  words?: NonNullable<ChaosCase['words']>;
};

const DOWN = [200, 5_000] as const;
const CUT = [1_000, 15_000] as const;
/** Longer than a heartbeat. */
const FROZEN = [3_000, 15_000] as const;
/** Up to twice as long as the API and the workers send again what was on its way. */
const LOST = [200, 10_000] as const;
const ALL_FROZEN = [15_000, 15_000] as const;

const killed =
  (partsOf: (parts: Parts, at: ChaosCase) => readonly Part[]) =>
  async ({ world, at, whenOn }: Strike): Promise<void> => {
    const dying = partsOf(world.parts, at);
    await Promise.all(dying.map((part) => part.kill({ downMs: at.lengthMs, whenDown: whenOn })));
  };

const frozen =
  (partsOf: (parts: Parts, at: ChaosCase) => readonly Part[]) =>
  async ({ world, at, whenOn }: Strike): Promise<void> => {
    const parts = partsOf(world.parts, at);
    try {
      for (const part of parts) await part.signal('SIGSTOP');
      whenOn();
      await pause(at.lengthMs);
    } finally {
      for (const part of parts) await part.signal('SIGCONT');
    }
  };

type WiresOf = (wires: Wires, at: ChaosCase) => readonly TcpProxy[];

const heldWires =
  (wiresOf: WiresOf) =>
  async ({ world, at, whenOn }: Strike): Promise<void> => {
    const wires = wiresOf(world.wires, at);
    for (const wire of wires) wire.hold(at.way);
    whenOn();
    await pause(at.lengthMs);
    for (const wire of wires) wire.flow();
  };

const cutWires =
  (wiresOf: WiresOf) =>
  async ({ world, at, whenOn }: Strike): Promise<void> => {
    const wires = wiresOf(world.wires, at);
    for (const wire of wires) wire.cut();
    whenOn();
    await pause(at.lengthMs);
    for (const wire of wires) wire.mend();
  };

/**
 * The workers do what a workflow task asks, journal a decision too, and Temporal never hears of it: the task is lost, and
 * with it what the workflow knew. The API may be waiting for the answer still, and sends it once more, or has given up.
 */
async function lostTask({ world, run, at, whenOn }: Strike): Promise<void> {
  const since = Date.now();
  const wires = world.wires.workerTemporal;
  const before = (await decisionsJournalled(world, run)) ?? 0;
  for (const wire of wires) wire.hold('up');
  whenOn();
  const deadline = Date.now() + JOURNALLED_MS;
  while (Date.now() < deadline && ((await decisionsJournalled(world, run)) ?? 0) <= before)
    await pause(LOOK_MS);
  if (at.slot === 1) await pause(Math.max(0, since + at.wordsAfterMs + GIVEN_UP_MS - Date.now()));
  await world.parts.temporal.kill({
    downMs: at.lengthMs,
    whenDown: () => {
      for (const wire of wires) wire.flow();
    },
  });
}

async function decisionsJournalled(world: ChaosWorld, run: number): Promise<number | undefined> {
  const rows = await world.ask<{ n: number }>(
    `select count(*)::int as n from countdown.journal where run = $1 and kind = 'decision'`,
    [run],
  );
  return rows?.[0]?.n;
}

const oneWorker = ({ workers }: Parts, { slot }: ChaosCase): readonly Part[] => [workers[slot]];
const allWorkers = ({ workers }: Parts): readonly Part[] => workers;

const WIRES: Record<string, { wiresOf: WiresOf; isOutside?: true }> = {
  'worker and Temporal': { wiresOf: ({ workerTemporal }, { slot }) => [workerTemporal[slot]] },
  'all workers and Temporal': { wiresOf: ({ workerTemporal }) => workerTemporal },
  'API and Temporal': { wiresOf: ({ apiTemporal }) => [apiTemporal] },
  'worker and journal': { wiresOf: ({ workerJournal }, { slot }) => [workerJournal[slot]] },
  'all workers and journal': { wiresOf: ({ workerJournal }) => workerJournal },
  'API and journal': { wiresOf: ({ apiJournal }) => [apiJournal] },
  'workers and target': { wiresOf: ({ target }) => [target], isOutside: true },
  'workers and application': { wiresOf: ({ app }) => [app], isOutside: true },
};

const PLAIN: readonly Fault[] = [
  { name: 'kill a worker', strike: killed(oneWorker), length: DOWN },
  { name: 'kill all workers', strike: killed(allWorkers), length: DOWN },
  { name: 'kill the API', strike: killed(({ api }) => [api]), length: DOWN },
  { name: 'kill Temporal', strike: killed(({ temporal }) => [temporal]), length: DOWN },
  { name: 'kill the journal', strike: killed(({ journal }) => [journal]), length: DOWN },
  { name: 'kill the target', strike: killed(({ target }) => [target]), length: DOWN, isOutside: true },
  { name: 'kill the application', strike: killed(({ app }) => [app]), length: DOWN, isOutside: true },
  { name: 'freeze a worker', strike: frozen(oneWorker), length: FROZEN },
  { name: 'freeze all workers', strike: frozen(allWorkers), length: ALL_FROZEN },
  { name: 'freeze Temporal', strike: frozen(({ temporal }) => [temporal]), length: FROZEN },
  { name: 'freeze the journal', strike: frozen(({ journal }) => [journal]), length: FROZEN },
  { name: 'freeze the target', strike: frozen(({ target }) => [target]), length: FROZEN, isOutside: true },
  ...Object.entries(WIRES).flatMap(([name, { wiresOf, isOutside }]): Fault[] => [
    { name: `cut ${name}`, strike: cutWires(wiresOf), length: CUT, ...(isOutside ? { isOutside } : {}) },
    { name: `hold ${name}`, strike: heldWires(wiresOf), length: CUT, ...(isOutside ? { isOutside } : {}) },
  ]),
];

/** Under which people decide. */
const UNDER = [
  'kill all workers',
  'kill the API',
  'kill Temporal',
  'kill the journal',
  'freeze all workers',
  'hold all workers and Temporal',
  'cut all workers and journal',
  'hold API and Temporal',
];

const DECIDING: readonly Fault[] = (['abort', 'approve', 'pause'] as const).flatMap((words) => [
  { name: `${words}, lose the task`, strike: lostTask, length: LOST, isEven: true as const, words },
  ...UNDER.flatMap((name) => {
    const fault = PLAIN.find((one) => one.name === name);
    return fault === undefined ? [] : [{ ...fault, name: `${words}, ${name}`, words }];
  }),
]);

export const FAULTS: readonly Fault[] = [...PLAIN, ...DECIDING];

/** A marker, and for how long what it begins takes at most: most moments fall inside. */
type Place = readonly [Marker, number];

const runs = (phase: string, ms: number): Place => [{ kind: 'intent', phase, direction: 'run' }, ms];
const undoes = (phase: string, ms: number): Place => [{ kind: 'intent', phase, direction: 'undo' }, ms];
const asks = (step: string): Place => [{ kind: 'approval', step }, 300];

const ABORTABLE: readonly [Place, ...Place[]] = [
  [{ kind: 'asked' }, 500],
  runs('ready', 150),
  runs('database/inspect', 500),
  runs('database/backup', 100),
  asks('database'),
  [{ kind: 'intent', phase: '@app-postgres', direction: 'before' }, 150],
  runs('database/hold-writes', 200),
  runs('database/copy', 700),
  runs('database/verify', 700),
  runs('database/switch', 150),
  runs('database/release-writes', 200),
  runs('smoke', 100),
  runs('watch', 1_000),
  asks('keep'),
];
const FORWARD: readonly [Place, ...Place[]] = [...ABORTABLE, runs('keep/end-capture', 200)];
const BACK: readonly [Place, ...Place[]] = [
  undoes('database/release-writes', 700),
  undoes('database/switch', 150),
  undoes('database/copy', 300),
  undoes('database/hold-writes', 300),
  [{ kind: 'intent', phase: '@app-postgres', direction: 'after' }, 200],
];

/** The case of a seed: consecutive seeds go through all faults. */
export function caseOf(seed: number, lengthMaxMs: number = Infinity): ChaosCase {
  const fault = FAULTS[seed % FAULTS.length] ?? FAULTS[0];
  if (fault === undefined) throw new Error('There are no faults.');
  const random = makeRandom(seed);
  const words = fault.words ?? null;
  const course: Course = words === null && random.chance(0.4) ? 'rollback' : 'launch';
  const [marker, withinMs] = placeOf(random, course, words);
  const [least, most] = fault.length;
  const share = random.next() ** (fault.isEven === true ? 1 : 2);
  const lengthMs = Math.min(Math.round(least + (most - least) * share), lengthMaxMs);
  return {
    seed,
    fault: fault.name,
    course,
    marker,
    delayMs: random.whole(0, withinMs),
    lengthMs,
    slot: random.chance(0.5) ? 0 : 1,
    way: random.pick(['up', 'down', 'both']),
    words,
    wordsAfterMs: random.whole(0, Math.min(1_000, lengthMs)),
    pausedMs: random.whole(200, 3_000),
    isOutside: fault.isOutside === true,
  };
}

function placeOf(random: Random, course: Course, words: ChaosCase['words']): Place {
  if (words === 'approve') return random.pick([asks('database'), asks('keep')]);
  if (words !== null) return random.pick(ABORTABLE);
  return random.pick(course === 'rollback' ? BACK : FORWARD);
}

export function strikeOf(at: ChaosCase): Fault['strike'] {
  const fault = FAULTS.find(({ name }) => name === at.fault);
  if (fault === undefined) throw new Error(`There is no fault '${at.fault}'.`);
  return fault.strike;
}

/** Waits until the run's journal has the row. False if `ending` came first. */
export async function untilMarker(
  world: ChaosWorld,
  run: number,
  { kind, phase, direction, step }: Marker,
  ending: AbortSignal,
): Promise<boolean> {
  while (!ending.aborted) {
    const rows = await world.ask(
      `select from countdown.journal where run = $1 and kind = $2 and ($3::text is null or phase = $3)
         and ($4::text is null or direction = $4) and ($5::text is null or body ->> 'step' = $5) limit 1`,
      [run, kind, phase ?? null, direction ?? null, step ?? null],
    );
    if (rows !== undefined && rows.length > 0) return true;
    await pause(LOOK_MS);
  }
  return false;
}

/** In words: what strikes, where and for how long. */
export function sentenceOf({ fault, course, marker, delayMs, lengthMs, words, seed }: ChaosCase): string {
  const where = [marker.kind, marker.phase ?? marker.step, marker.direction].filter(
    (part) => part !== undefined,
  );
  const then = words === null ? '' : `, ${words} meanwhile`;
  return `seed ${seed}: ${fault} ${delayMs} ms after ${where.join(' ')} of a ${course}, for ${lengthMs} ms${then}`;
}
