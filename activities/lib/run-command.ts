/**
 * One command: no shell, an environment that was given in full, a process group that ends with whoever asked for it, and
 * output that is bounded and holds no secret.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { access, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { CancelledFailure } from '@temporalio/common';
import type { GuardAnswer, GuardGroup, GuardOrder } from './command-guard.ts';

/** Bytes of each of the two outputs that are kept: their end. */
export const CAPTURED_BYTES_MAX = 64 * 1024;
/** Milliseconds from SIGTERM to SIGKILL. */
export const GRACE_MS = 5_000;
/** Milliseconds of silence after which the command is ended: below the heartbeat timeout, so before another attempt begins. */
const SILENCE_MS = 1_200;
const BEAT_MS = 200;
const CURRENT_EVERY_MS = 500;
/** After the end somebody else may hold the outputs open: a process that left the group. */
const DRAIN_MS = 500;

const GUARD = fileURLToPath(new URL('command-guard.ts', import.meta.url));

export type CommandInput = {
  argv: string[];
  cwd: string;
  /** All of it. The program is looked up in its PATH. */
  env: Record<string, string>;
  /** Taken out of the output. */
  secrets: string[];
  timeoutMs: number;
  /** Default `GRACE_MS`. */
  graceMs?: number;
  /** Bytes of the standard output that are kept: its end. Default 64 KiB. */
  capturedBytes?: number;
  /** Default 1.2 s. */
  silenceMs?: number;
  signal: AbortSignal;
  /** Throws where a later attempt has begun; then the command is ended at once. Asked every half second. */
  assertCurrent: () => Promise<void>;
  /** Whether this error of `assertCurrent` says so. Others are trouble of the database, and the command goes on. */
  isSuperseded: (error: unknown) => boolean;
};

/** `lost`: ended by somebody else, or by the guard since this worker was silent; nobody knows how far it came. */
export type CommandEnd = (
  | { end: 'exit'; code: number }
  | { end: 'timeout' }
  | { end: 'lost'; why: string }
  | { end: 'not-started'; why: string }
) & { stdout: string; stderr: string };

/**
 * Runs it to its end. When this returns or throws, nothing of its process group runs any more.
 *
 * @throws the signal's reason where the phase was cancelled, and what `assertCurrent` threw where a later attempt has begun.
 */
export async function runCommand(input: CommandInput): Promise<CommandEnd> {
  input.signal.throwIfAborted();
  const found = await findProgram(input.argv[0] ?? '', input.env['PATH']);
  if ('problem' in found) return { end: 'not-started', why: found.problem, stdout: '', stderr: '' };
  const guard = spawn(process.execPath, ['--no-warnings', GUARD], {
    stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
    env: {},
    cwd: '/',
    detached: true,
  });
  const streams = streamsOf(guard);
  const marginBytes = Math.max(0, ...input.secrets.map((secret) => Buffer.byteLength(secret)));
  const stdout = new Tail(streams.stdout, marginBytes, input.capturedBytes ?? CAPTURED_BYTES_MAX);
  const stderr = new Tail(streams.stderr, marginBytes, CAPTURED_BYTES_MAX);
  const order: GuardOrder = {
    argv: [found.program, ...input.argv.slice(1)],
    cwd: input.cwd,
    env: input.env,
    graceMs: input.graceMs ?? GRACE_MS,
    silenceMs: input.silenceMs ?? SILENCE_MS,
  };
  const say = (line: string): void => void streams.stdin.write(`${line}\n`);
  say(JSON.stringify(order));
  const watch = watchOver(input, say);
  try {
    const answer = await answerOf(guard, streams.answers);
    await Promise.all([stdout.ended(DRAIN_MS), stderr.ended(DRAIN_MS)]);
    if (watch.superseded !== undefined) throw watch.superseded;
    input.signal.throwIfAborted();
    const captured = { stdout: stdout.text(input.secrets), stderr: stderr.text(input.secrets) };
    return { ...endOf(answer, watch.isTimeout), ...captured };
  } finally {
    watch.stop();
    guard.stdin?.destroy();
    streams.stdout.destroy();
    streams.stderr.destroy();
  }
}

/**
 * The program's file. A text without `#!` is refused: the system would hand it to a shell, and its arguments would be read
 * by one.
 */
async function findProgram(name: string, path = ''): Promise<{ program: string } | { problem: string }> {
  const places = name.includes('/')
    ? [name]
    : path.split(':').flatMap((folder) => (folder.startsWith('/') ? [join(folder, name)] : []));
  let problem = `there is no program '${name}'`;
  for (const program of places) {
    try {
      await access(program, constants.X_OK);
      const file = await open(program);
      await using _ = file;
      const { bytesRead, buffer } = await file.read(Buffer.alloc(256), 0, 256, 0);
      const head = buffer.subarray(0, bytesRead);
      if (head.includes(0) || head.toString('latin1').startsWith('#!')) return { program };
      problem = `'${program}' is a text without #! in its first line`;
    } catch (error) {
      if (codeOf(error) !== 'ENOENT')
        problem = `'${program}': ${error instanceof Error ? error.message : String(error)}`;
    }
  }
  return { problem };
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}

function endOf(answer: GuardAnswer, isTimeout: boolean) {
  if (answer.error !== undefined) return { end: 'not-started' as const, why: answer.error };
  if (isTimeout) return { end: 'timeout' as const };
  if (answer.cut !== undefined) return { end: 'lost' as const, why: 'this worker was silent for too long' };
  if (answer.code !== undefined) return { end: 'exit' as const, code: answer.code };
  return { end: 'lost' as const, why: `it was ended by ${answer.signal ?? 'somebody'}` };
}

type Watch = { isTimeout: boolean; superseded: unknown; stop(): void };

/** Beats while this process lives; ends the command at its timeout, at a cancellation, and when a later attempt has begun. */
function watchOver(input: CommandInput, say: (line: string) => void): Watch {
  const watch: Watch = { isTimeout: false, superseded: undefined, stop: () => undefined };
  const beating = setInterval(() => say('beat'), BEAT_MS);
  const timer = setTimeout(() => {
    watch.isTimeout = true;
    say('stop');
  }, input.timeoutMs);
  const cancelled = (): void => say(isAttemptOver(input.signal.reason) ? 'kill' : 'stop');
  let asking = false;
  const looking = setInterval(() => {
    if (asking) return;
    asking = true;
    input
      .assertCurrent()
      .catch((error: unknown) => {
        if (!input.isSuperseded(error)) return;
        watch.superseded = error;
        say('kill');
      })
      .finally(() => {
        asking = false;
      });
  }, CURRENT_EVERY_MS);
  input.signal.addEventListener('abort', cancelled, { once: true });
  watch.stop = () => {
    clearInterval(beating);
    clearInterval(looking);
    clearTimeout(timer);
    input.signal.removeEventListener('abort', cancelled);
  };
  return watch;
}

/** The server has given this attempt up already, so another one may begin at any moment: no time for a grace. */
function isAttemptOver(reason: unknown): boolean {
  return reason instanceof CancelledFailure && /TIMED_OUT|NOT_FOUND/.test(reason.message);
}

type Streams = { stdin: Writable; stdout: Readable; stderr: Readable; answers: Readable };

function streamsOf(guard: ChildProcess): Streams {
  const { stdin, stdout, stderr } = guard;
  const answers = guard.stdio[3];
  if (
    stdin === null ||
    stdout === null ||
    stderr === null ||
    !(answers instanceof Object) ||
    !('read' in answers)
  )
    throw new Error('The guard of a command was started without its pipes.');
  // It may be gone before the last beat.
  stdin.on('error', () => undefined);
  return { stdin, stdout, stderr, answers };
}

async function answerOf(guard: ChildProcess, answers: Readable): Promise<GuardAnswer> {
  const failed = new Promise<never>((_, reject) => guard.once('error', reject));
  const said = await Promise.race([text(answers), failed]);
  const [group = '', answer = ''] = said.trim().split('\n');
  if (answer !== '') return JSON.parse(answer) as GuardAnswer;
  const only = group === '' ? {} : (JSON.parse(group) as GuardGroup | GuardAnswer);
  if (!('group' in only)) return group === '' ? { signal: 'the end of its guard' } : only;
  // The guard was ended by somebody else; what it watched over may not go on alone.
  endGroup(only.group);
  return { signal: 'the end of its guard' };
}

function endGroup(group: number): void {
  try {
    process.kill(-group, 'SIGKILL');
  } catch {
    // Nobody is left in it.
  }
}

/** The end of a stream, and a little more before it, so that a secret that the cut goes through can be found out. */
class Tail {
  private readonly stream: Readable;
  private readonly marginBytes: number;
  private readonly keptBytes: number;
  private readonly whole: Promise<void>;
  private parts: Buffer[] = [];
  private sizeBytes = 0;
  private isCut = false;

  constructor(stream: Readable, marginBytes: number, keptBytes: number) {
    this.keptBytes = keptBytes;
    this.stream = stream;
    this.marginBytes = marginBytes;
    this.whole = new Promise((resolve) => stream.once('close', resolve));
    stream.on('error', () => undefined);
    stream.on('data', (part: Buffer) => this.take(part));
  }

  private take(part: Buffer): void {
    this.parts.push(part);
    this.sizeBytes += part.byteLength;
    const first = this.parts[0]?.byteLength ?? 0;
    if (this.sizeBytes - first < this.keptBytes + this.marginBytes) return;
    this.parts.shift();
    this.sizeBytes -= first;
    this.isCut = true;
  }

  async ended(patienceMs: number): Promise<void> {
    const timer = setTimeout(() => this.stream.destroy(), patienceMs);
    await this.whole;
    clearTimeout(timer);
  }

  text(secrets: readonly string[]): string {
    const bytes = scrub(Buffer.concat(this.parts), secrets);
    const fromBytes = Math.max(bytes.byteLength - this.keptBytes, this.isCut ? this.marginBytes : 0);
    return textOf(bytes, fromBytes, this.isCut);
  }
}

export const CUT_MARK = '[the beginning was cut off]\n';
const SCRUBBED = '[secret]';

function textOf(bytes: Buffer, fromBytes: number, isCut: boolean): string {
  if (fromBytes === 0 && !isCut) return plain(bytes.toString('utf8'));
  let from = fromBytes;
  // Not from the middle of a character.
  while (from < bytes.byteLength && ((bytes[from] ?? 0) & 0xc0) === 0x80) from += 1;
  return CUT_MARK + plain(bytes.subarray(from).toString('utf8'));
}

/** The journal takes no NUL. */
function plain(decoded: string): string {
  return decoded.replaceAll('\0', '\u{fffd}');
}

/** Takes every secret out, and every line of one that has several. Works on bytes, whatever they decode to. */
function scrub(bytes: Buffer, secrets: readonly string[]): Buffer {
  const lines = secrets.flatMap((secret) => [
    secret,
    ...secret.split(/\r?\n/).filter((line) => line.length >= 8),
  ]);
  const words = [...new Set(lines)].filter((word) => word !== '').sort((a, b) => b.length - a.length);
  let found = bytes.toString('latin1');
  for (const word of words) found = found.replaceAll(Buffer.from(word).toString('latin1'), SCRUBBED);
  return Buffer.from(found, 'latin1');
}
