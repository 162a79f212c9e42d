import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { type Server, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { getRequestListener } from '@hono/node-server';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { main } from '../../cli/main.ts';
import { type TestApi, makeTestApi } from '../api/support.ts';

let api: TestApi;
let server: Server;
let url: string;
beforeAll(async () => {
  api = await makeTestApi();
  const listener = getRequestListener(api.app.fetch);
  server = createServer((request, response) => void listener(request, response));
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  server.closeAllConnections();
  server.close();
  await api[Symbol.asyncDispose]();
});

async function say(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const said = { out: '', err: '' };
  const code = await main(args, {
    out: { write: (text) => (said.out += text) },
    err: { write: (text) => (said.err += text) },
    ask: undefined,
    variables: { COUNTDOWN_URL: url, COUNTDOWN_TOKEN: api.tokens.get('dana') },
    signal: new AbortController().signal,
  });
  return { code, ...said };
}

test('the sheet is printed by the name of a plan or the number of a run, and saved with the evidence', async () => {
  const body = { runbook: 'hold', environment: 'lab' };
  const { plan } = await api.ok<{ plan: string }>('dana', '/v1/plans', { body });
  const { run } = await api.ok<{ run: number }>('dana', '/v1/runs', { body: { plan } });
  const printed = await say('undo-sheet', plan.slice(0, 12));
  expect(printed).toMatchObject({ code: 0, err: '' });
  expect(printed.out).toMatch(/^UNDO SHEET\n[\s\S]*\n\[ \] 2\. {3}hold\/set [\s\S]*before the run\.\n$/);
  expect(await say('undo-sheet', String(run))).toEqual(printed);
  const asJson = await say('undo-sheet', String(run), '-o', 'json');
  expect(JSON.parse(asJson.out)).toEqual({ plan, undoSheet: printed.out });

  const folder = await mkdtemp(join(tmpdir(), 'countdown-undo-sheet-'));
  expect((await say('evidence', String(run), '-o', folder)).code).toBe(0);
  expect(await readFile(join(folder, 'undo-sheet.txt'), 'utf8')).toBe(printed.out);
  await rm(folder, { recursive: true });
});

test('a name of neither is refused, and one that is not there is unknown', async () => {
  expect(await say('undo-sheet', 'first-launch')).toMatchObject({
    code: 2,
    err: "error Usage  'first-launch' names no plan and no run: give at least 12 digits of a plan, or the number of a run.\n",
  });
  expect((await say('undo-sheet', '999')).code).toBe(1);
  expect((await say('undo-sheet', 'abcdefabcdef')).code).toBe(1);
});
