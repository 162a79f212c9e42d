import { existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { CancelledFailure } from '@temporalio/common';
import { command } from '../../activities/command.ts';
import { runCommand } from '../../activities/lib/run-command.ts';
import type { CommandTarget } from '../../procedures/environment.ts';
import type { Json } from '../../procedures/plan.ts';
import { failureOf, makePhaseContext, makeTestFolder } from '../support/phase-context.ts';
import type { TestContextOptions } from '../support/phase-context.ts';

/** What every program may use: `args` are what came after it. */
const HEAD = `const args = process.argv.slice(1);
  const say = (line) => process.stdout.write(line + '\\n');
  const warn = (line) => process.stderr.write(line + '\\n');`;

/** A program in JavaScript. */
const program = (text: string): string[] => [process.execPath, '--no-warnings', '-e', `${HEAD} ${text}`];

async function makeWorld(entry: Partial<CommandTarget> & { argv: string[] }) {
  const folder = await makeTestFolder();
  const target: CommandTarget = {
    kind: 'command',
    env: {},
    exits: {},
    effect: 'irreversible',
    timeoutMs: 20_000,
    ...entry,
  };
  return {
    path: (name: string) => join(folder.path, name),
    context: (more: Partial<TestContextOptions> = {}) =>
      makePhaseContext({ targets: { tool: target }, folder: folder.path, ...more }),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

const call = (args: Json[] = [], timeoutMs = 20_000) => ({ run: 'tool', args, timeoutMs });

/** Throws where it is no text. */
function textOf(value: Json | undefined): string {
  if (typeof value !== 'string') throw new Error(`${JSON.stringify(value)} is no text.`);
  return value;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // A dead process that nobody has collected can be signalled too.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  } catch {
    return false;
  }
}

/** The pid that the program wrote into a file, as soon as it is there. */
async function pidOf(path: string): Promise<number> {
  await expect
    .poll(() => existsSync(path) && readFileSync(path, 'utf8') !== '', { timeout: 10_000 })
    .toBe(true);
  return Number(readFileSync(path, 'utf8'));
}

test('a program is given its arguments as they are, without a shell, and nothing but its own environment', async () => {
  await using world = await makeWorld({
    argv: program(`say(JSON.stringify([args, Object.keys(process.env), process.cwd()]))`),
    env: { PATH: '/usr/bin:/bin', GREETING: 'hello $HOME' },
  });
  const args = ['a b', '$(touch x)', '`id`', '; rm -rf .', '*', '', '--flag=1', 7];
  const result = await command.run.run(call(args), world.context());
  expect(result).toMatchObject({
    verdict: 'pass',
    summary: 'tool: exit 0',
    output: { exitCode: 0, stderr: '' },
  });
  expect(JSON.parse(textOf(result.output?.['stdout']))).toEqual([
    ['a b', '$(touch x)', '`id`', '; rm -rf .', '*', '', '--flag=1', '7'],
    ['PATH', 'GREETING'],
    world.path('').replace(/\/$/, ''),
  ]);
  expect(readdirSync(world.path(''))).toEqual([]);
});

test('an exit means what the entry says, else fail with the end of stderr', async () => {
  await using world = await makeWorld({
    argv: program(`warn('first\\nwas ' + args[0]); process.exit(Number(args[0]))`),
    exits: { '3': 'warn', '4': 'inconclusive', '5': 'pass' },
  });
  const run = (code: string) => command.run.run(call([code]), world.context());
  expect(await run('1')).toEqual({
    verdict: 'fail',
    summary: 'tool: exit 1, expected 0: first · was 1',
    output: { exitCode: 1, stdout: '', stderr: 'first\nwas 1\n' },
  });
  expect(await run('3')).toMatchObject({ verdict: 'warn', output: { exitCode: 3 } });
  expect(await run('4')).toMatchObject({ verdict: 'inconclusive' });
  expect(await run('5')).toMatchObject({ verdict: 'pass' });
});

test.each([
  [0, 'yes'],
  [1, 'no'],
  [2, 'partly'],
  [3, 'unknown'],
  [255, 'unknown'],
])('a probe that exits with %i says %s', async (code, answer) => {
  await using world = await makeWorld({ argv: ['/none'], probe: program(`process.exit(Number(args[0]))`) });
  const found = await command.run.probe?.({ ...call([String(code)]), canUndo: true }, world.context());
  expect(found?.answer).toBe(answer);
});

test('partly is unknown where nothing can be taken back, so that it is not run again', async () => {
  await using world = await makeWorld({ argv: ['/none'], probe: program(`process.exit(2)`) });
  const found = await command.run.probe?.({ ...call(), canUndo: false }, world.context());
  expect(found?.answer).toBe('unknown');
});

test('a probe that does not end says unknown', async () => {
  await using world = await makeWorld({ argv: ['/none'], probe: program(`setInterval(() => {}, 1000)`) });
  const found = await command.run.probe?.({ ...call([], 300), canUndo: true }, world.context());
  expect(found).toEqual({
    answer: 'unknown',
    summary: 'the probe of tool was ended, as it took more than 300 ms',
  });
});

test('an undo has to exit with 0', async () => {
  await using world = await makeWorld({
    argv: ['/none'],
    undo: program(`warn('no such thing'); process.exit(Number(args[0]))`),
  });
  expect(await command.run.undo?.(call(['0']), world.context())).toMatchObject({ verdict: 'pass' });
  expect(await failureOf(command.run.undo?.(call(['1']), world.context()) ?? Promise.resolve())).toEqual({
    type: 'UndoFailed',
    message:
      "The undo of 'tool' ended with exit 1, expected 0: no such thing; take it back by hand, or try again.",
  });
});

test('secrets are given to the program and taken out of what it writes', async () => {
  await using world = await makeWorld({
    argv: program(
      `say('token=' + process.env.TOKEN + process.env.TOKEN); warn(process.env.KEY.split('\\n')[1])`,
    ),
    env: { TOKEN: { env: 'TOOL_TOKEN' }, KEY: { env: 'TOOL_KEY' } },
  });
  const secrets = { TOOL_TOKEN: 'hunter2-ü', TOOL_KEY: 'BEGIN\nabcdefgh-second-line\nEND' };
  const { output } = await command.run.run(call(), world.context({ secrets }));
  expect(output).toEqual({ exitCode: 0, stdout: 'token=[secret][secret]\n', stderr: '[secret]\n' });
  const missing = await failureOf(command.run.run(call(), world.context()));
  expect(missing.type).toBe('PreconditionFailed');
});

test('of long output the end is kept, with a mark, and no part of a secret stands at the cut', async () => {
  await using world = await makeWorld({
    argv: program(`process.stdout.write(process.env.TOKEN.repeat(20000) + 'é\\xff the end')`),
    env: { TOKEN: { env: 'TOOL_TOKEN' } },
  });
  const secrets = { TOOL_TOKEN: 'correct-horse-battery' };
  const { output } = await command.run.run(call(), world.context({ secrets }));
  const stdout = textOf(output?.['stdout']);
  expect(stdout.startsWith('[the beginning was cut off]\n')).toBe(true);
  expect(stdout.endsWith(' the end')).toBe(true);
  expect(stdout).not.toMatch(/horse|battery|correct/);
  expect(Buffer.byteLength(JSON.stringify(output))).toBeLessThan(64 * 1024);
});

test('output that is no text is decoded with replacements, and without NUL', async () => {
  await using world = await makeWorld({
    argv: program(`process.stdout.write(Buffer.from([0x61, 0xff, 0x00, 0x62]))`),
  });
  const { output } = await command.run.run(call(), world.context());
  expect(output?.['stdout']).toBe('a\u{fffd}\u{fffd}b');
});

test('a program that is not there, may not be run, is a folder or a text for a shell is not started, and that is said', async () => {
  await using folder = await makeTestFolder();
  const path = (name: string) => join(folder.path, name);
  writeFileSync(path('data'), 'echo ran > ran', { mode: 0o644 });
  writeFileSync(path('text'), 'echo ran > ran', { mode: 0o755 });
  for (const [file, why] of [
    [path('none'), `there is no program '${path('none')}'`],
    ['none', "there is no program 'none'"],
    [path('data'), 'EACCES'],
    [path('text'), `'${path('text')}' is a text without #! in its first line`],
    [folder.path, 'EISDIR'],
  ] as const) {
    await using world = await makeWorld({ argv: [file], env: { PATH: '/usr/bin' } });
    const failure = await failureOf(command.run.run(call(), world.context()));
    expect(failure.type).toBe('PreconditionFailed');
    expect(failure.message).toContain("Command 'tool' could not be started");
    expect(failure.message).toContain(why);
    expect(readdirSync(world.path(''))).toEqual([]);
  }
});

test('a program is found in the PATH of its own entry, and a folder to work in that is not there is said', async () => {
  await using world = await makeWorld({
    argv: ['test', '-e', '/'],
    env: { PATH: 'relative:/none:/usr/bin:/bin' },
  });
  expect(await command.run.run(call(), world.context())).toMatchObject({ verdict: 'pass' });
  await using lost = await makeWorld({ argv: ['/usr/bin/test'], cwd: '/none/such' });
  expect((await failureOf(command.run.run(call(), lost.context()))).message).toContain('ENOENT');
});

test('an argument that an output made of a list is refused', async () => {
  await using world = await makeWorld({ argv: program('') });
  for (const one of [['x'], null, 'a\0b', 'x'.repeat(4_001)]) {
    expect((await failureOf(command.run.run(call([one]), world.context()))).type).toBe('PreconditionFailed');
  }
});

/** Starts a child of its own, writes both pids, and lets neither be ended by SIGTERM where `stubborn`. */
const family = (stubborn: boolean) =>
  program(`
    const { spawn } = require('node:child_process');
    const { writeFileSync } = require('node:fs');
    ${stubborn ? "process.on('SIGTERM', () => {});" : ''}
    const child = spawn(process.execPath, ['-e', "${stubborn ? "process.on('SIGTERM', () => {});" : ''} setInterval(() => {}, 1000)"], { stdio: 'inherit' });
    writeFileSync(args[0] + '/child', String(child.pid));
    writeFileSync(args[0] + '/parent', String(process.pid));
    setInterval(() => {}, 1000);
  `);

const limits = (argv: string[], more: object = {}) => ({
  argv,
  cwd: '/',
  env: {},
  secrets: [],
  timeoutMs: 30_000,
  graceMs: 200,
  signal: new AbortController().signal,
  assertCurrent: () => Promise.resolve(),
  isSuperseded: () => false,
  ...more,
});

test.each([false, true])('a timeout ends the whole group (deaf to SIGTERM: %s)', async (stubborn) => {
  await using folder = await makeTestFolder();
  const ended = await runCommand(limits([...family(stubborn), folder.path], { timeoutMs: 1_000 }));
  expect(ended.end).toBe('timeout');
  expect(isAlive(await pidOf(join(folder.path, 'parent')))).toBe(false);
  expect(isAlive(await pidOf(join(folder.path, 'child')))).toBe(false);
});

test('a timeout is no answer: nobody knows what stands', async () => {
  await using world = await makeWorld({ argv: program(`setInterval(() => {}, 1000)`) });
  const failure = await failureOf(command.run.run(call([], 300), world.context()));
  expect(failure.type).toBe('OutcomeLost');
  expect(failure.message).toContain('took more than 300 ms, so nobody knows how far it came');
});

test.each([
  ['CANCELLED', 'stop'],
  ['TIMED_OUT', 'kill'],
])('a cancellation (%s) ends the whole group', async (reason) => {
  await using folder = await makeTestFolder();
  const controller = new AbortController();
  const running = runCommand(limits([...family(false), folder.path], { signal: controller.signal }));
  const pids = [await pidOf(join(folder.path, 'parent')), await pidOf(join(folder.path, 'child'))];
  controller.abort(new CancelledFailure(reason));
  await expect(running).rejects.toThrow(reason);
  expect(pids.map(isAlive)).toEqual([false, false]);
});

test('a later attempt ends the command of this one', async () => {
  await using folder = await makeTestFolder();
  await using world = await makeWorld({ argv: family(true) });
  let current = true;
  const running = failureOf(
    command.run.run(call([folder.path]), world.context({ isCurrent: () => current })),
  );
  const pid = await pidOf(join(folder.path, 'parent'));
  current = false;
  expect((await running).type).toBe('FenceLost');
  expect(isAlive(pid)).toBe(false);
});

test('a database that is away for a moment does not end the command', async () => {
  let asked = 0;
  const ended = await runCommand(
    limits(program(`setTimeout(() => {}, 1200)`), {
      assertCurrent: () => {
        asked += 1;
        return Promise.reject(new Error('away'));
      },
    }),
  );
  expect(ended).toMatchObject({ end: 'exit', code: 0 });
  expect(asked).toBeGreaterThan(0);
});

test('a worker that is silent for too long loses its command', async () => {
  await using folder = await makeTestFolder();
  // Beats come every 200 ms, so a patience below that is a worker that stands still.
  const ended = await runCommand(limits([...family(true), folder.path], { silenceMs: 100 }));
  expect(ended).toMatchObject({ end: 'lost', why: 'this worker was silent for too long' });
});

test('a worker that is killed takes its command with it', async () => {
  await using folder = await makeTestFolder();
  const script = folder.path + '/worker.ts';
  const source = new URL('../../activities/lib/run-command.ts', import.meta.url).href;
  writeFileSync(
    script,
    `import { runCommand } from ${JSON.stringify(source)};
     const never = new AbortController().signal;
     await runCommand({ argv: ${JSON.stringify([...family(true), folder.path])}, cwd: '/', env: {}, secrets: [], timeoutMs: 60000,
       signal: never, assertCurrent: () => Promise.resolve(), isSuperseded: () => false });`,
  );
  const { spawn } = await import('node:child_process');
  const worker = spawn(process.execPath, ['--no-warnings', script], { stdio: 'ignore' });
  const pids = [await pidOf(join(folder.path, 'parent')), await pidOf(join(folder.path, 'child'))];
  expect(pids.map(isAlive)).toEqual([true, true]);
  worker.kill('SIGKILL');
  await expect.poll(() => pids.map(isAlive), { timeout: 5_000 }).toEqual([false, false]);
});

test('a command whose guard is killed is ended by the worker, and lost', async () => {
  await using folder = await makeTestFolder();
  const running = runCommand(
    limits([
      ...program(`require('node:fs').writeFileSync(args[0] + '/pids', process.ppid + ' ' + process.pid);
        setInterval(() => {}, 1000)`),
      folder.path,
    ]),
  );
  const path = join(folder.path, 'pids');
  await expect.poll(() => existsSync(path) && readFileSync(path, 'utf8'), { timeout: 10_000 }).toMatch(/ /);
  const [guard = 0, own = 0] = readFileSync(path, 'utf8').split(' ').map(Number);
  process.kill(guard, 'SIGKILL');
  expect(await running).toMatchObject({ end: 'lost', why: 'it was ended by the end of its guard' });
  await expect.poll(() => isAlive(own), { timeout: 5_000 }).toBe(false);
});

test('what a command leaves running in its group is ended with it', async () => {
  await using folder = await makeTestFolder();
  const argv = program(`
    const { spawn } = require('node:child_process');
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'inherit' });
    require('node:fs').writeFileSync(args[0] + '/child', String(child.pid));
    say('done');
    process.exit(0);`);
  const ended = await runCommand(limits([...argv, folder.path]));
  expect(ended).toMatchObject({ end: 'exit', code: 0, stdout: 'done\n' });
  expect(isAlive(await pidOf(join(folder.path, 'child')))).toBe(false);
});

test('a command that somebody else ends is lost, and a worker without leave starts none', async () => {
  await using folder = await makeTestFolder();
  const running = runCommand(limits([...family(false), folder.path]));
  process.kill(await pidOf(join(folder.path, 'parent')), 'SIGKILL');
  expect(await running).toMatchObject({ end: 'lost', why: 'it was ended by SIGKILL' });
  await using world = await makeWorld({ argv: program(`require('node:fs').writeFileSync('ran', '')`) });
  const late = failureOf(command.run.run(call(), world.context({ isCurrent: () => false })));
  expect((await late).type).toBe('FenceLost');
  expect(existsSync(world.path('ran'))).toBe(false);
});
