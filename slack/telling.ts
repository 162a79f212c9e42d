/** The loop that tells Slack: which runs have something to tell, each channel on its own, until the process ends. */
import { HOUR_MS, MINUTE_MS, SECOND_MS } from '../procedures/limits.ts';
import { ALL, type Pace, type SenderDeps, makePace, quietUntil, tellRun } from './sender.ts';

/** Without a notification runs are looked for this often. */
const LOOK_EVERY_MS = 3 * SECOND_MS;
/** News within a moment is told together. */
const GATHER_MS = 100;
/** Of one environment, before what is new is looked for again. */
const RUNS_A_TURN = 10;
/** Clicks are remembered longer than their signatures hold. */
const SEEN_MS = HOUR_MS;
const FORGET_EVERY_MS = 10 * MINUTE_MS;

type Telling = {
  deps: SenderDeps;
  pace: Pace;
  /** Channels that are being told now. A slow one keeps no other waiting. */
  busy: Map<string, Promise<void>>;
  /** When each run has more to tell; epoch milliseconds. */
  again: Map<number, number>;
  onDone: () => void;
};

/** Tells until the signal aborts; resolves after the messages in hand. Nothing that goes wrong here ends it. */
export async function runSender(deps: SenderDeps, signal: AbortSignal): Promise<void> {
  let wake = nobody;
  let hasNews = false;
  const onNews = () => {
    hasNews = true;
    wake();
  };
  const telling: Telling = { deps, pace: makePace(), busy: new Map(), again: new Map(), onDone: onNews };
  signal.addEventListener('abort', () => {
    telling.pace.quiet.set(ALL, Infinity);
    onNews();
  });
  deps.store
    .listen(onNews, signal)
    .catch((error: unknown) => deps.log.error({ err: error }, 'slack: listening has ended'));
  let forgotAt = 0;
  while (!signal.aborted) {
    hasNews = false;
    try {
      await startTelling(telling);
      if (Date.now() - forgotAt > FORGET_EVERY_MS) {
        await deps.slack.forget(SEEN_MS);
        forgotAt = Date.now();
      }
    } catch (error) {
      deps.log.warn({ err: error }, 'slack: pass failed');
    }
    const waitMs = Math.min(LOOK_EVERY_MS, Math.max(0, nextAt(telling) - Date.now()) + GATHER_MS);
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, hasNews ? GATHER_MS : waitMs);
      wake = () => {
        clearTimeout(timer);
        setTimeout(resolve, signal.aborted ? 0 : GATHER_MS);
      };
    });
  }
  await Promise.all(telling.busy.values());
}

/** When there is more to tell, as far as this process knows; what a busy channel tells is not waited for. */
function nextAt({ again, pace }: Telling): number {
  return Math.max(Math.min(...again.values()), pace.quiet.get(ALL) ?? 0);
}

/** Begins a turn in each channel that has something to tell and is not at it already. */
async function startTelling(telling: Telling): Promise<void> {
  const { deps, pace, busy, again, onDone } = telling;
  const channels = new Map<string, string>();
  for (const [name, { slack }] of await deps.environments.current()) {
    if (slack === undefined || busy.has(slack.channel)) continue;
    if (quietUntil(pace, slack.channel) <= Date.now()) channels.set(name, slack.channel);
  }
  // What is due by now is found below, or another process has told it.
  for (const [run, at] of again) if (at <= Date.now()) again.delete(run);
  if (channels.size === 0) return;
  const runs = new Map<string, number[]>();
  for (const { run, environment } of await deps.slack.due([...channels.keys()], RUNS_A_TURN)) {
    const channel = channels.get(environment) ?? '';
    runs.set(channel, [...(runs.get(channel) ?? []), run]);
  }
  for (const [channel, own] of runs) {
    const turn = tellChannel(telling, channel, own)
      .catch((error: unknown) => deps.log.warn({ err: error, channel }, 'slack: turn failed'))
      .finally(() => {
        busy.delete(channel);
        onDone();
      });
    busy.set(channel, turn);
  }
}

/** One message after the other. */
async function tellChannel({ deps, pace, again }: Telling, channel: string, runs: number[]): Promise<void> {
  for (const run of runs) {
    if (quietUntil(pace, channel) > Date.now()) return;
    const againMs = await tellRun(deps, pace, { run, channel });
    if (againMs === Infinity) again.delete(run);
    else again.set(run, Date.now() + againMs);
  }
}

function nobody(): void {}
