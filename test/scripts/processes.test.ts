import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { isGroupAlive } from '../../scripts/lib/process-group.ts';
import { makeFolder, startChild, untilReady } from '../../scripts/lib/processes.ts';

const HOLDER = fileURLToPath(new URL('./fixtures/holder.ts', import.meta.url));

async function isListening(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

test('when the parent is killed with SIGKILL, its servers end, also the one that ignores SIGTERM, and its folders go', async () => {
  const holder = spawn(process.execPath, [HOLDER], { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: holder.stdout });
  const [line] = await once(lines, 'line');
  const { folder, pids, port }: { folder: string; pids: number[]; port: number } = JSON.parse(String(line));
  expect(pids.map(isGroupAlive)).toEqual([true, true]);
  expect(await isListening(port)).toBe(true);
  holder.kill('SIGKILL');
  await expect.poll(() => pids.map(isGroupAlive), { timeout: 20_000, interval: 50 }).toEqual([false, false]);
  await expect.poll(() => existsSync(folder), { timeout: 5_000 }).toBe(false);
  expect(await isListening(port)).toBe(false);
});

test('a child that ends before it is ready gives an error with the end of its log', async () => {
  const folder = await makeFolder('countdown-test-');
  const logFile = join(folder.path, 'x.log');
  const child = await startChild({
    name: 'Server',
    command: 'sh',
    args: ['-c', 'echo no licence; exit 3'],
    logFile,
  });
  const ready = untilReady(child, { timeoutMs: 5_000, check: async () => undefined, hint: 'Buy one.' });
  await expect(ready).rejects.toThrow(
    `Server ended with exit code 3 before it was ready. Buy one.\nThe end of ${logFile}:\n  no licence`,
  );
  await folder.discard();
});

test('a child that never gets ready is stopped, with what it had started itself', async () => {
  const folder = await makeFolder('countdown-test-');
  const logFile = join(folder.path, 'x.log');
  const child = await startChild({
    name: 'Server',
    command: 'sh',
    args: ['-c', 'sleep 1000 & wait'],
    logFile,
  });
  const ready = untilReady(child, { timeoutMs: 100, check: async () => undefined });
  await expect(ready).rejects.toThrow('Server was not ready within 0.1 s.');
  expect(child.exit()).toEqual({ code: null, signal: 'SIGTERM' });
  await expect.poll(() => isGroupAlive(child.pid)).toBe(false);
  await folder.discard();
});

test('a child that ignores its signal, or is frozen, is killed after its grace', async () => {
  const folder = await makeFolder('countdown-test-');
  const logFile = join(folder.path, 'x.log');
  const args = ['-c', 'trap "" TERM; echo up; while :; do sleep 1; done'];
  const child = await startChild({ name: 'Server', command: 'sh', args, logFile, graceMs: 100 });
  await untilReady(child, {
    timeoutMs: 5_000,
    check: async () => (await readFile(logFile, 'utf8')).includes('up') || undefined,
  });
  child.signal('SIGSTOP');
  expect(await child.stop()).toEqual({ code: null, signal: 'SIGKILL' });
  expect(await child.stop()).toEqual({ code: null, signal: 'SIGKILL' });
  await folder.discard();
});

test('a command that is not there is an error that names it', async () => {
  const folder = await makeFolder('countdown-test-');
  await mkdir(join(folder.path, 'logs'));
  const logFile = join(folder.path, 'logs', 'x.log');
  await expect(startChild({ name: 'Server', command: '/no/such/server', args: [], logFile })).rejects.toThrow(
    "Server could not be started: '/no/such/server' answered spawn /no/such/server ENOENT.",
  );
  await folder.discard();
});
