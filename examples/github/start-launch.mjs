/**
 * Starts a launch from a job of GitHub Actions: plans the runbook, then asks for a run of that plan. It waits for nobody: people
 * approve in Countdown, and the run goes on without the job.
 *
 *   COUNTDOWN_URL=https://… ENVIRONMENT=production KEY=v1.4.0 node start-launch.mjs RUNBOOK [PARAM=VALUE]…
 *
 * Node 20 or later, and nothing else.
 */
import { appendFile } from 'node:fs/promises';

const CALL_MS = 30_000;
const [runbook, ...pairs] = process.argv.slice(2);
const url = setting('COUNTDOWN_URL').replace(/\/$/, '');
const environment = setting('ENVIRONMENT');
const key = setting('KEY');
const params = Object.fromEntries(
  pairs.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]),
);

const token = await signedToken('countdown');
const { plan } = await send('/v1/plans', { runbook, environment, params });
const { run, state } = await send('/v1/runs', { plan }, { 'Idempotency-Key': `"${key}"` });
const text = `run ${run} of ${runbook} in ${environment} is ${state}: plan ${plan.slice(0, 12)}, key ${key}`;
console.log(text);
if (process.env.GITHUB_STEP_SUMMARY) await appendFile(process.env.GITHUB_STEP_SUMMARY, `${text}\n`);

function setting(name) {
  const value = process.env[name];
  if (!value) stop(`${name} is not set.`);
  return value;
}

/** The token that GitHub signs for this job. */
async function signedToken(audience) {
  const from = new URL(setting('ACTIONS_ID_TOKEN_REQUEST_URL'));
  from.searchParams.set('audience', audience);
  const answer = await fetch(from, {
    headers: { Authorization: `Bearer ${setting('ACTIONS_ID_TOKEN_REQUEST_TOKEN')}` },
    signal: AbortSignal.timeout(CALL_MS),
  });
  if (!answer.ok)
    stop(`GitHub gave no token (${answer.status}): has the job the permission id-token: write?`);
  return (await answer.json()).value;
}

async function send(path, body, headers = {}) {
  const answer = await fetch(`${url}${path}`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json', ...headers },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(CALL_MS),
  });
  const said = await answer.json();
  if (!answer.ok) stop(`${said.code ?? answer.status}: ${said.detail ?? 'no reason was given'}`);
  return said;
}

function stop(why) {
  console.error(`The launch was not started. ${why}`);
  process.exit(1);
}
