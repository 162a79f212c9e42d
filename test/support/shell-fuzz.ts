/**
 * The fuzzer of the shell: random plans, random people and random targets on a real Temporal server, while the way between the
 * workers and the server is held and cut, workers stop, recorder activities are slow, and workflow tasks fail.
 *
 * A cell is one engine with a few runs at a time. In its storm everything goes wrong at random; then all faults end, and every run
 * must come to an end. Everything random comes from the seed of the cell; only the timing does not.
 */
import type { PhaseContext } from '../../activities/phase.ts';
import type { Plan } from '../../procedures/plan.ts';
import type { Recorder } from '../../workflows/messages.ts';
import { workflowBundle } from './bundle.ts';
import { type Engine, type EngineRun, makeEngine } from './engine.ts';
import { type Chance, makeChance } from './hostile-sqlite.ts';
import { type Checked, checkRun, isBroken } from './shell-fuzz-check.ts';
import { FuzzPeople } from './shell-fuzz-people.ts';
import { randomPlan } from './shell-fuzz-plan.ts';
import { FuzzWorld } from './shell-fuzz-world.ts';
import { type TcpProxy, makeTcpProxy } from './tcp-proxy.ts';
import { temporalAddress } from './temporal.ts';

/** Runs of a cell at one time. Without a cache each workflow task replays its whole history. */
const RUNS_AT_ONCE = { cached: 10, uncached: 5 };
/** How long a cell has faults and begins new runs. */
const STORM_MS = 9_000;
/** How long the people of one run talk at most. */
const TALK_MS = 6_000;
/** How long a run may take to end once the faults are over. */
const CALM_MS = 120_000;
/** How often the history of a run is read that does not end. */
const LOOK_MS = 5_000;
/** After the storm answers still come: activities time out, updates are sent again. */
const SETTLE_MS = 20_000;
/** Longer than the workflow task timeout of 1 s. */
const HOLD_MS_MAX = 2_200;

/** What a cell does to its runs. */
export type Weather = {
  seed: number;
  workers: 1 | 2;
  isCached: boolean;
  /** How often a call of the recorder is slow, and for how long at most. */
  slowShare: number;
  slowMs: number;
  /** How often a call of the recorder fails once, before or after it has written. */
  failShare: number;
  /** How often an activation fails its workflow task. */
  failTasks: number;
  /** Whether the connection is disturbed, and workers stop and start. */
  holds: boolean;
  stops: boolean;
};

export type FuzzedRun = Checked & {
  seed: number;
  /** Which run of the cell it is, from 1 on. */
  index: number;
  /** From the end of the storm to the end of the run, in milliseconds; 0 if it ended before. */
  calmMs: number;
};

/** The weather of a seed. Every second seed has no cache, and there is always something that loses workflow tasks. */
export function weatherOf(seed: number): Weather {
  const chance = makeChance(seed);
  const failTasks = chance.pick([0, 0.02, 0.08]);
  return {
    seed,
    workers: chance.often(0.4) ? 2 : 1,
    isCached: seed % 2 === 0,
    slowShare: chance.pick([0, 0.05, 0.15]),
    slowMs: chance.pick([300, 1_500, 2_500]),
    failShare: chance.pick([0, 0, 0.05]),
    failTasks,
    holds: failTasks === 0 || chance.often(0.7),
    stops: chance.often(0.3),
  };
}

/** Runs one cell to its end. */
export async function fuzzCell(seed: number): Promise<FuzzedRun[]> {
  await using cell = new Cell(weatherOf(seed));
  await cell.open();
  return await cell.play();
}

type Started = {
  run: EngineRun;
  plan: Plan;
  world: FuzzWorld;
  people: FuzzPeople;
};

class Cell implements AsyncDisposable {
  private readonly weather: Weather;
  private readonly chance: Chance;
  private readonly worlds = new Map<number, FuzzWorld>();
  private readonly proxies: TcpProxy[] = [];
  private engine: Engine | undefined;
  private stormUntil = 0;
  private runs = 0;

  constructor(weather: Weather) {
    this.weather = weather;
    // Another stream than that of the weather.
    this.chance = makeChance(weather.seed ^ 0x5bd1e995);
  }

  async open(): Promise<void> {
    const { weather } = this;
    const server = await temporalAddress();
    for (let count = 0; count < weather.workers; count += 1) this.proxies.push(await makeTcpProxy(server));
    const [first = server, ...others] = this.proxies.map(({ address }) => address);
    const bundle = await workflowBundle(['shell-fuzz-interceptor.ts']);
    const memo = { failTasks: weather.failTasks, failUntil: 0 };
    this.engine = await makeEngine({
      workersAt: [first, ...others],
      workflowTaskTimeout: '1s',
      bundle,
      worker: {
        stickyQueueScheduleToStartTimeout: '300ms',
        ...(weather.isCached ? {} : { maxCachedWorkflows: 0 }),
      },
      recorder: (recorder) => this.disturbed(recorder),
      perform: (context) => this.perform(context),
      memo,
    });
    this.stormUntil = Date.now() + STORM_MS;
    memo.failUntil = this.stormUntil;
  }

  async play(): Promise<FuzzedRun[]> {
    const storms = this.proxies.map((proxy, which) => this.storm(proxy, which));
    const length = this.weather.isCached ? RUNS_AT_ONCE.cached : RUNS_AT_ONCE.uncached;
    const slots = Array.from({ length }, () => this.slot());
    await Promise.all(storms);
    return (await Promise.all(slots)).flat();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const proxy of this.proxies) {
      proxy.mend();
      proxy.flow();
    }
    await this.engine?.[Symbol.asyncDispose]();
    for (const proxy of this.proxies) await proxy[Symbol.asyncDispose]();
  }

  private get isStorm(): boolean {
    return Date.now() < this.stormUntil;
  }

  /** One run after the other while the storm lasts. */
  private async slot(): Promise<FuzzedRun[]> {
    const done: FuzzedRun[] = [];
    do {
      done.push(await this.one());
    } while (this.isStorm);
    return done;
  }

  private async one(): Promise<FuzzedRun> {
    const { engine } = this;
    if (engine === undefined) throw new Error('The cell is not open.');
    this.runs += 1;
    const index = this.runs;
    const started = await this.start(engine, index);
    const { people, world, run } = started;
    await people.talk(Math.min(this.stormUntil, Date.now() + TALK_MS));
    await people.help(this.stormUntil);
    world.isStormy = false;
    const until = Date.now() + CALM_MS;
    while (!(await people.help(Math.min(until, Date.now() + LOOK_MS)))) {
      if (Date.now() < until && !(await isBroken({ engine, run }))) continue;
      people.stop();
      break;
    }
    const calmMs = Math.max(0, Date.now() - this.stormUntil);
    await people.settled(SETTLE_MS);
    const checked = await checkRun({ ...started, engine, said: people.said });
    // A run that cannot end must not disturb the others.
    if (checked.faults.length > 0)
      await run.handle.terminate('the fuzzer has seen it').catch(() => undefined);
    return { ...checked, seed: this.weather.seed, index, calmMs };
  }

  private async start(engine: Engine, index: number): Promise<Started> {
    const chance = makeChance(this.weather.seed * 1_000 + index);
    const plan = randomPlan(chance);
    const world = new FuzzWorld(plan, chance);
    const over = chance.often(0.3) ? { historyEventsMax: 15 + chance.below(40) } : {};
    const run = await engine.start(plan, over);
    this.worlds.set(run.run, world);
    return { run, plan, world, people: new FuzzPeople(engine, run, chance) };
  }

  /** The world of the run; its first activity may come before `start` has returned. */
  private async perform(context: PhaseContext): Promise<unknown> {
    const deadline = Date.now() + CALM_MS;
    for (;;) {
      const world = this.worlds.get(context.run);
      if (world !== undefined) return world.perform(context);
      if (Date.now() > deadline) throw new Error(`Run ${context.run} has no world.`);
      await sleep(5);
    }
  }

  /** Disturbs the way of one worker until the storm is over, then mends everything. */
  private async storm(proxy: TcpProxy, which: number): Promise<void> {
    const { chance, weather, engine } = this;
    while (this.isStorm) {
      const number = chance.below(100);
      if (weather.holds && number < 35) {
        proxy.hold(chance.pick(['up', 'down', 'both']));
        await sleep(300 + chance.below(HOLD_MS_MAX - 300));
        proxy.flow();
      } else if (weather.holds && number < 45) {
        proxy.cut();
        await sleep(chance.below(800));
        proxy.mend();
      } else if (weather.stops && number < 60) {
        await engine?.stopWorker(which);
        await sleep(chance.below(1_200));
        await engine?.startWorker(which);
      }
      await sleep(50 + chance.below(500));
    }
  }

  /** The recorder, slow and failing at random. A window is open for a moment only. */
  private disturbed(recorder: Recorder): Recorder {
    const calls = { ...recorder, lookAtWindow: () => this.lookAtWindow() };
    const around = Object.entries(calls).map(([name, call]) => [
      name,
      async (input: never): Promise<unknown> => {
        await this.delay();
        this.failOnce('before it was written');
        const answer = await call(input);
        this.failOnce('after it was written');
        await this.delay();
        return answer;
      },
    ]);
    return Object.fromEntries(around) as Recorder;
  }

  private async lookAtWindow(): ReturnType<Recorder['lookAtWindow']> {
    const opensAt = Date.now() + this.chance.below(300);
    return { opensAt, closesAt: this.chance.often(0.3) ? null : opensAt + 300 + this.chance.below(3_000) };
  }

  private async delay(): Promise<void> {
    const { slowShare, slowMs } = this.weather;
    if (this.isStorm && this.chance.often(slowShare / 2)) await sleep(this.chance.below(slowMs));
  }

  private failOnce(moment: string): void {
    if (this.isStorm && this.chance.often(this.weather.failShare / 2))
      throw new Error(`The recorder failed ${moment}.`);
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
