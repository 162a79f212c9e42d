/** The demo itself: stack, plan, run, approvals, outcome. Everything goes through the HTTP API, as from any other machine. */
import { randomUUID } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { faultOf } from '../../api/routes/runs.ts';
import { makeClient } from '../../cli/client.ts';
import { EXIT } from '../../cli/exit-codes.ts';
import { planLines } from '../../cli/view/plan.ts';
import { duration, span } from '../../cli/view/style.ts';
import type { Style } from '../../cli/view/style.ts';
import { watchRun } from '../../cli/watch.ts';
import type { RunDetailWire } from '../../cli/wire.ts';
import { checkLedger } from '../../examples/piano-keys/ledger.ts';
import type { LedgerCheck } from '../../examples/piano-keys/ledger.ts';
import { compile } from '../../procedures/compile.ts';
import { parseEnvironment } from '../../procedures/environment.ts';
import { parseRunbook } from '../../procedures/runbook.ts';
import { ROOT } from './checks.ts';
import { makeApprover } from './demo-approvals.ts';
import { type DemoSlack, startDemoSlack } from './demo-slack.ts';
import { makeStateFolder } from './state-folder.ts';
import { acknowledged, startStack } from './stack.ts';
import type { Stack } from './stack.ts';

const RUNBOOK = 'first-launch';
const ENVIRONMENT = 'demo';
/** What is typed in this folder; it needs no `npm link`. */
const COMMAND = 'npx countdown';
/** Who asks for the run, so who cannot approve it. */
const REQUESTER = 'dana';
/** Writes before the launch begins, and again after it has ended: the application must take them. */
const WRITES = 20;
const WRITES_MS = 15_000;

export type Demo = {
  yes: boolean;
  keep: boolean;
  ascii: boolean;
  /** Approvals are asked and given in a Slack on this machine. */
  slack: boolean;
  failAt: string | undefined;
  signal: AbortSignal;
};

/**
 * Looks whether the phase may fail, before anything is started. Throws ApiProblem with the API's own words.
 */
export async function checkFailAt(failAt: string): Promise<void> {
  const [runbook, environment] = await Promise.all(
    [`runbooks/${RUNBOOK}.yaml`, `environments/${ENVIRONMENT}.yaml`].map(async (file) => ({
      file,
      text: await readFile(join(ROOT, file), 'utf8'),
    })),
  );
  if (runbook === undefined || environment === undefined) throw new Error('The demo has two files.');
  const inside = parseEnvironment(environment.text, environment.file);
  const plan = compile({
    runbook: parseRunbook(runbook.text, runbook.file),
    environment: inside,
    params: {},
    // Nobody asks for this plan's name.
    digest: () => '',
  });
  faultOf(plan, inside, failAt);
}

/** Resolves with the exit code, everything stopped. Throws what the API refuses. */
export async function runDemo(demo: Demo): Promise<number> {
  const began = Date.now();
  const folder = await makeStateFolder('demo');
  say(`Countdown demo. Logs and evidence: ${shown(folder.path)}`);
  try {
    const slack = demo.slack ? await startDemoSlack(await peopleOfDemo()) : undefined;
    try {
      return await runStack(demo, folder.path, slack, began);
    } finally {
      await slack?.stop();
    }
  } finally {
    await folder.dropData();
  }
}

async function runStack(
  demo: Demo,
  folder: string,
  slack: DemoSlack | undefined,
  began: number,
): Promise<number> {
  const stack = await startStack({
    folder,
    progress: (line) => say(`  ${line}`),
    ...(slack === undefined ? {} : { api: { variables: slack.variables }, environment: slack.environment }),
  });
  try {
    const outcome = await launch(demo, stack, slack);
    if (outcome !== EXIT.left)
      say(`Took        ${duration(Date.now() - began)} with the start of everything`);
    if (demo.keep) await keep(stack, demo.signal);
    return outcome;
  } finally {
    await stack.stop();
  }
}

/** Everybody whom the demo environment names. */
async function peopleOfDemo(): Promise<string[]> {
  const file = `environments/${ENVIRONMENT}.yaml`;
  return Object.keys(parseEnvironment(await readFile(join(ROOT, file), 'utf8'), file).people);
}

async function launch(demo: Demo, stack: Stack, slack: DemoSlack | undefined): Promise<number> {
  const style: Style = {
    ascii: demo.ascii,
    colour: process.stdout.isTTY && (process.env['NO_COLOR'] ?? '') === '',
    isWhole: !process.stdout.isTTY,
    command: COMMAND,
  };
  const access = { url: stack.url, token: tokenOf(stack, REQUESTER) };
  const client = makeClient(access);
  await untilWritten(stack, WRITES);
  const plan = await client.makePlan({ runbook: RUNBOOK, environment: ENVIRONMENT, params: {} });
  say(`\n${planLines(plan, style).slice(0, -1).join('\n')}\n`);
  const { run } = await client.start(
    { plan: plan.plan, ...(demo.failAt === undefined ? {} : { failAt: demo.failAt }) },
    randomUUID(),
  );
  const part = { tokens: stack.tokens, yes: demo.yes, signal: demo.signal };
  const click = slack?.makeClicker(part);
  const approve = makeApprover({ url: stack.url, ...part });
  const watched = await watchRun({
    ...access,
    run,
    out: process.stdout,
    err: process.stderr,
    style,
    mode: process.stdout.isTTY ? 'live' : 'lines',
    signal: demo.signal,
    // Nothing of the stack outlives the demo, so there is no other terminal to type in.
    hasHints: demo.keep,
    onReading: async (reading, speaks) => {
      if (click === undefined) return approve(reading, speaks);
      speaks();
      return click(reading);
    },
  });
  if (watched.run === null || watched.exitCode === EXIT.left) return EXIT.left;
  await slack?.showEnd(run, demo.signal);
  await untilWritten(stack, (await acknowledged(stack.app.ledger)) + WRITES, watched.run.state);
  await stack.stopWriter();
  const check = await checkLedger({ ledger: stack.app.ledger, url: stack.app.url });
  say(outcomeLines(watched.run, check, await saveEvidence(stack, client, run)).join('\n'));
  if (check.missing.length === 0) return watched.exitCode;
  await writeFile(join(stack.folder, 'missing.json'), JSON.stringify(check.missing, null, 2));
  return EXIT.clientError;
}

/** Waits until the writer has this many acknowledged writes. A stuck run may hold writes, so then it is not asked for. */
async function untilWritten(stack: Stack, count: number, state?: RunDetailWire['state']): Promise<void> {
  const deadline = Date.now() + WRITES_MS;
  while ((await acknowledged(stack.app.ledger)) < count) {
    if (Date.now() > deadline) {
      if (state === 'stuck') return;
      throw new Error(
        `The application acknowledged too few writes within ${WRITES_MS / 1000} s, expected ${count} in all; look at ${shown(join(stack.folder, 'logs'))}.`,
      );
    }
    await sleep(50);
  }
}

async function saveEvidence(
  stack: Stack,
  client: ReturnType<typeof makeClient>,
  run: number,
): Promise<string> {
  const file = join(stack.folder, `evidence-run-${run}.json`);
  await writeFile(file, `${JSON.stringify(await client.evidence(run), null, 2)}\n`);
  return file;
}

function outcomeLines(run: RunDetailWire, check: LedgerCheck, evidence: string): string[] {
  const { acknowledged: all, present, refused, unknown, missing } = check;
  const unsure = unknown === 0 ? '' : `, ${unknown} without an answer`;
  const lines = [
    `Writes      ${present} of ${all} acknowledged writes are present; ${refused} were refused while writes were held${unsure}`,
  ];
  if (missing.length > 0) {
    const named = missing.slice(0, 5).map(({ table, id }) => `${table} id=${id}`);
    lines.push(
      `Missing     ${named.join(', ')}${missing.length > 5 ? ` and ${missing.length - 5} more` : ''}: see missing.json`,
    );
  }
  if (run.unwindingAt !== null && run.unwoundAt !== null) {
    const tookMs = Date.parse(run.unwoundAt) - Date.parse(run.unwindingAt);
    lines.push(`Rollback    ${duration(tookMs)}, objective ${span(run.rollback.withinMs)}`);
  }
  return [...lines, `Saved       ${shown(evidence)}`];
}

/** The addresses and a token for each person, until Ctrl-C. */
async function keep(stack: Stack, signal: AbortSignal): Promise<void> {
  say(addressLines(stack).join('\n'));
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve));
}

export function addressLines(stack: Stack): string[] {
  return [
    '',
    'Everything runs until Ctrl-C.',
    `api         ${stack.url}`,
    `app         ${stack.app.url}`,
    `temporal    ${stack.temporalAddress}`,
    `postgres    ${stack.databaseUrl}`,
    `app's       ${stack.app.postgresUrl}`,
    `logs        ${shown(join(stack.folder, 'logs'))}`,
    'In another terminal, in this folder, as one of these people:',
    `  export COUNTDOWN_URL=${stack.url}`,
    ...Object.entries(stack.tokens).map(
      ([person, token]) => `  export COUNTDOWN_TOKEN=${token}   # ${person}`,
    ),
    `  ${COMMAND} plan ${RUNBOOK} --env ${ENVIRONMENT}`,
  ];
}

function tokenOf(stack: Stack, person: string): string {
  const token = stack.tokens[person];
  if (token !== undefined) return token;
  throw new Error(
    `environments/demo.yaml names ${Object.keys(stack.tokens).join(', ')}, expected '${person}' among them.`,
  );
}

/** Short where it lies below the folder that the caller is in. */
function shown(path: string): string {
  const short = relative(process.cwd(), path);
  return short.startsWith('..') ? path : short;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
