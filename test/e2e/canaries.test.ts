/**
 * Twelve secrets are planted in a worker, and commands do their worst with them: they print them plain and written in other
 * ways, succeed with them and fail with them. None of them is found anywhere afterwards, in Slack neither (attack S19 of docs/security.md).
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Client as TemporalClient, Connection } from '@temporalio/client';
import { Client } from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeFolder } from '../../scripts/lib/processes.ts';
import { type FakeSlack, slackVariables, startFakeSlack } from '../support/fake-slack.ts';
import { type LaunchWorld, hasEnded, makeLaunchWorld } from '../support/launch-world.ts';

const TEST_MS = 180_000;
const SLACK_MS = 30_000;
const CHANNEL = 'C0LAUNCH';
const word = (): string => randomBytes(12).toString('hex');
const CANARIES: Record<string, string> = {
  CANARY_PLAIN: word(),
  CANARY_LONG: `${word()}${word()}${word()}${word()}`,
  CANARY_QUOTES: `${word()}"'\\${word()}`,
  CANARY_SPACES: `${word()} and ${word()}`,
  CANARY_LETTERS: `${word()}äß漢😀${word()}`,
  CANARY_URL: `https://user:${word()}@127.0.0.1/path?token=${word()}`,
  CANARY_PERCENT: `${word()}%2F+&=${word()}`,
  CANARY_JSON: JSON.stringify({ token: word(), list: [word()] }),
  CANARY_KEY: `-----BEGIN KEY-----\n${word()}\n${word()}\n-----END KEY-----`,
  CANARY_SLASHES: `${word()}/${word()}//${word()}`,
  CANARY_HTML: `<${word()}&${word()}>`,
  CANARY_MARKS: `$(${word()}) $${word()} %s ${word()}`,
};

/** Prints each of its secrets in each way, then ends with the code that it is told. */
const LEAK = `
const forms = (s) => [s, Buffer.from(s).toString('base64'), encodeURIComponent(s), JSON.stringify(s), Buffer.from('user:' + s).toString('base64')];
for (const [name, value] of Object.entries(process.env)) {
  if (!name.startsWith('CANARY')) continue;
  for (const form of forms(value)) { process.stdout.write(name + form + '\\n'); process.stderr.write('cannot connect with ' + form + '\\n'); }
}
process.exit(Number(process.argv[2]));
`;
const RUNBOOK = `name: leaks
steps:
  - { id: tell, uses: command, with: { run: tells } }
  - { id: fail, uses: command, with: { run: fails } }
`;

let world: LaunchWorld;
let slack: FakeSlack;
let folder: Awaited<ReturnType<typeof makeFolder>>;
beforeAll(async () => {
  folder = await makeFolder('countdown-canaries-');
  const program = join(folder.path, 'leak.mjs');
  await writeFile(program, LEAK);
  const command = (code: number) => ({
    kind: 'command',
    argv: [process.execPath, program, String(code)],
    undo: [process.execPath, program, '0'],
    probe: [process.execPath, program, '0'],
    effect: 'reversible',
    env: Object.fromEntries(Object.keys(CANARIES).map((name) => [name, { env: name }])),
  });
  slack = await startFakeSlack({ channels: [CHANNEL] });
  world = await makeLaunchWorld({
    api: { variables: slackVariables(slack) },
    worker: { variables: { ...CANARIES, COUNTDOWN_LOG_LEVEL: 'debug' } },
    environment: [
      [['slack'], { channel: CHANNEL }],
      [['targets', 'tells'], command(0)],
      [['targets', 'fails'], command(1)],
    ],
  });
}, TEST_MS);
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
  await slack?.[Symbol.asyncDispose]();
  await folder?.discard();
});

/** What Slack was told, once it was told of the end. */
async function slackMessages(run: number): Promise<Record<string, string>> {
  const deadline = Date.now() + SLACK_MS;
  const isTold = () =>
    slack.messages(CHANNEL).some(({ text }) => new RegExp(`run ${run} (rolled-back|stuck)`).test(text));
  while (!isTold() && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 50));
  expect(isTold()).toBe(true);
  return {
    'Slack messages': JSON.stringify(slack.state.messages),
    'Slack calls': JSON.stringify(slack.calls),
  };
}

/** Each part of a canary that says something, in the ways in which somebody could read it. */
function needles(): string[] {
  const parts = Object.values(CANARIES).flatMap((canary) => [
    canary,
    ...(canary.match(/[0-9a-f]{24}/g) ?? []),
  ]);
  return parts.flatMap((part) => [
    part,
    encodeURIComponent(part),
    JSON.stringify(part).slice(1, -1),
    Buffer.from(part).toString('base64').replace(/=+$/, ''),
  ]);
}

async function tables(): Promise<Record<string, string>> {
  const client = new Client({ connectionString: world.stack.databaseUrl });
  await client.connect();
  try {
    const { rows } = await client.query<{ name: string }>(
      `select relname as name from pg_class where relnamespace = 'countdown'::regnamespace and relkind = 'r'`,
    );
    const found: Record<string, string> = {};
    for (const { name } of rows) {
      const { rows: lines } = await client.query<{ line: string }>(
        `select t::text as line from countdown.${name} t`,
      );
      found[`table ${name}`] = lines.map(({ line }) => line).join('\n');
    }
    return found;
  } finally {
    await client.end();
  }
}

/** Every event of every workflow, with what its payloads hold. */
async function histories(): Promise<string> {
  const connection = await Connection.connect({ address: world.stack.temporalAddress });
  try {
    const client = new TemporalClient({ connection, namespace: world.namespace });
    const texts: string[] = [];
    for await (const { workflowId } of client.workflow.list()) {
      const { events } = await client.workflow.getHandle(workflowId).fetchHistory();
      texts.push(
        JSON.stringify(events, (_, value: unknown) =>
          value instanceof Uint8Array
            ? Buffer.from(value).toString('latin1') + Buffer.from(value).toString()
            : value,
        ),
      );
    }
    expect(texts.join('').length).toBeGreaterThan(1_000);
    return texts.join('\n');
  } finally {
    await connection.close();
  }
}

async function files(): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const entry of await readdir(world.stack.folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    found[`file ${path.slice(world.stack.folder.length)}`] = await readFile(path, 'utf8');
  }
  return found;
}

async function answers(run: number): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  const signal = AbortSignal.timeout(5_000);
  for (const path of ['', '/evidence', '/events']) {
    const answer = await fetch(`${world.stack.url}/v1/runs/${run}${path}`, {
      headers: { Authorization: `Bearer ${world.stack.tokens['dana']}` },
      ...(path === '/events' ? { signal } : {}),
    });
    expect(answer.status).toBe(200);
    found[`GET ${path}`] = await answer.text();
  }
  return found;
}

test(
  'no secret of a target is found in logs, histories, tables, files, events or evidence',
  { timeout: TEST_MS },
  async () => {
    const { plan } = await world
      .client()
      .makePlan({ runbook: { text: RUNBOOK }, environment: 'demo', params: {} });
    const { run } = await world.client().start({ plan }, randomUUID());
    const ended = await world.until(run, hasEnded, { steps: ['tell', 'fail'] });
    expect(ended.state).toMatch(/^(rolled-back|stuck)$/);
    const places: Record<string, string> = {
      ...(await tables()),
      ...(await files()),
      ...(await answers(run)),
      ...(await slackMessages(run)),
      histories: await histories(),
    };
    // It was said, and it was taken out: the proof that something could have been found.
    expect(places['table journal']).toContain('[secret]');
    expect(Object.keys(places).filter((place) => place.includes('worker'))).not.toEqual([]);
    expect(places['Slack messages']).toContain('[secret]');
    const hits = Object.entries(places).flatMap(([place, text]) =>
      needles()
        .filter((needle) => text.includes(needle))
        .map((needle) => `${place}: ${needle}`),
    );
    expect(hits).toEqual([]);
    // Nor are the API's own: the tokens of Slack.
    const own = [slack.botToken, slack.appToken].flatMap((token) =>
      Object.keys(places).filter((place) => places[place]?.includes(token)),
    );
    expect(own).toEqual([]);
  },
);
