/** `/countdown`: what runs, how a run stands, and what waits for whoever asks. It reads alone; decisions are clicks. */
import type { ApiDeps } from '../api/context.ts';
import { rolesIn } from '../api/permissions.ts';
import type { Environment } from '../procedures/environment.ts';
import { isTerminal } from '../procedures/states.ts';
import type { SlackStore } from '../store/slack.ts';
import type { RunView } from '../store/types.ts';
import { type SlackClient, SlackTrouble } from './client.ts';
import type { Directory } from './directory.ts';
import type { Deed } from './payload.ts';
import { stateWords } from './scene.ts';
import { clock, safe } from './words.ts';

export type CommandDeps = Pick<ApiDeps, 'store' | 'environments' | 'log'> & {
  slack: SlackStore;
  client: SlackClient;
  directory: Directory;
};

const RUNS_MAX = 10;
const RUNS_READ = 50;
const PHASES_MAX = 25;
const OPEN_MAX = 10;
/** Slack shows no answer that comes after three seconds; a name without a link is better than none. */
const LINK_MS = 1_500;

const USAGE = [
  '`/countdown` or `/countdown status`: runs that are open, and approvals that wait, each with a link to its message',
  '`/countdown runs`: the last runs',
  '`/countdown show 41`: one run, phase by phase',
].join('\n');

/** The answer, in Slack's markup; only whoever asks sees it. */
export async function answerCommand(
  deps: CommandDeps,
  { user, text }: Extract<Deed, { what: 'command' }>,
): Promise<string> {
  const readable = new Map<string, Environment>();
  try {
    for (const [name, environment] of await deps.environments.current()) {
      const person = await deps.directory.personOf(environment, user);
      if (person !== undefined && rolesIn(environment, person).length > 0) readable.set(name, environment);
    }
  } catch (error) {
    if (!(error instanceof SlackTrouble)) throw error;
    deps.log.warn({ err: error, user }, 'slack: nobody can tell who asks');
    return 'Slack does not say who you are: try again.';
  }
  if (readable.size === 0)
    return 'Your account of Slack is no person of an environment: ask its owner to add it.';
  const [verb = '', number = ''] = text.split(/\s+/);
  if (verb === '' || verb === 'status') return status(deps, readable);
  if (verb === 'runs') return runs(deps, readable);
  if (verb === 'show' && /^[1-9]\d{0,8}$/.test(number)) return show(deps, readable, Number(number));
  return USAGE;
}

const runLine = (run: RunView): string =>
  `run ${run.run} · ${safe(run.runbook, 60)} → ${safe(run.environment, 60)} · ${safe(stateWords(run), 60)}${
    run.step === null || isTerminal(run.state) ? '' : ` · ${safe(run.step, 60)}`
  } · ${safe(run.requester, 60)}`;

async function readRuns(deps: CommandDeps, readable: Map<string, Environment>): Promise<RunView[]> {
  const all = await deps.store.runs({ limit: RUNS_READ });
  return all.filter(({ environment }) => readable.has(environment));
}

async function runs(deps: CommandDeps, readable: Map<string, Environment>): Promise<string> {
  const found = (await readRuns(deps, readable)).slice(0, RUNS_MAX);
  return found.length === 0 ? 'There is no run yet.' : found.map(runLine).join('\n');
}

async function status(deps: CommandDeps, readable: Map<string, Environment>): Promise<string> {
  const open = (await readRuns(deps, readable)).filter(({ state }) => !isTerminal(state)).slice(0, RUNS_MAX);
  const asked = await deps.slack.open([...readable.keys()], OPEN_MAX);
  const waiting = await Promise.all(
    asked.map(async ({ run, about, channel, ts }) => {
      const link = ts === null ? undefined : await linkTo(deps, { channel, ts });
      const what = `run ${run}, ${safe(about?.step ?? '', 100)}`;
      const detail = await deps.store.run(run);
      const due = detail?.approvals.find(({ step }) => step === about?.step)?.dueAt;
      const expires = due === undefined ? '' : `, expires ${clock(due)} UTC`;
      return `${link === undefined ? what : `<${link}|${what}>`} waits for an approval${expires}`;
    }),
  );
  if (open.length === 0) return 'No run is open.';
  return [...open.map(runLine), ...waiting].join('\n');
}

async function linkTo(
  deps: CommandDeps,
  where: { channel: string; ts: string },
): Promise<string | undefined> {
  const link = await Promise.race([
    deps.client.permalink(where).catch(() => undefined),
    new Promise<undefined>((resolve) => setTimeout(resolve, LINK_MS, undefined)),
  ]);
  return link !== undefined && /^https:\/\/[^|<>\s]+$/.test(link) ? link : undefined;
}

async function show(deps: CommandDeps, readable: Map<string, Environment>, number: number): Promise<string> {
  const run = await deps.store.run(number);
  if (run === undefined || !readable.has(run.environment)) return `There is no run ${number}.`;
  const phases = run.phases
    .slice(0, PHASES_MAX)
    .map(({ phase, state, verdict, summary }) =>
      [safe(phase, 80), state, verdict ?? '', summary === null ? '' : safe(summary, 120)]
        .filter((part) => part !== '')
        .join('  '),
    );
  const left = run.phases.length - phases.length;
  return [
    runLine(run),
    ...(run.because === null ? [] : [`Because ${safe(run.because)}`]),
    ...phases,
    ...(left > 0 ? [`and ${left} more: countdown show ${number}`] : []),
  ].join('\n');
}
