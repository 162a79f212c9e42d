/**
 * The guard: one small process beside every command that runs. It starts the command in a process group of its own and
 * ends that group when it is told to, when the worker that asked is gone (the pipe closes, however the worker ended), and
 * when the worker is silent for longer than an attempt may be: by then another attempt may look or act.
 *
 * Standard input takes lines: first the order as JSON, then `beat`, `stop` (SIGTERM, after the grace SIGKILL) and `kill`.
 * Descriptor 3 answers with two lines of JSON: the group, and how it ended. By then nothing of the group runs any more.
 */
import { spawn } from 'node:child_process';
import { writeSync } from 'node:fs';
import { createInterface } from 'node:readline';

export type GuardOrder = {
  argv: string[];
  cwd: string;
  env: Record<string, string>;
  /** Milliseconds from SIGTERM to SIGKILL. */
  graceMs: number;
  /** Milliseconds without a beat after which the worker counts as lost. */
  silenceMs: number;
};

/** The first line: whom to end where the guard itself is gone. */
export type GuardGroup = { group: number };

/** The second line. `cut` says why the guard ended the group itself. */
export type GuardAnswer = {
  code?: number;
  signal?: string;
  error?: string;
  cut?: 'stop' | 'kill' | 'silence';
};

const ANSWERS = 3;
const POLL_MS = 20;
/** What a command leaves running in its group has this long to end by itself. */
const LEFTOVER_MS = 500;

guard();

function guard(): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const) process.on(signal, () => {});
  const lines = createInterface({ input: process.stdin });
  let watch: ReturnType<typeof start> | undefined;
  lines.on('line', (line) => {
    if (watch === undefined) watch = start(JSON.parse(line) as GuardOrder);
    else if (line === 'beat') watch.beat();
    else watch.end(line === 'stop' ? 'stop' : 'kill');
  });
  lines.on('close', () => {
    if (watch === undefined) process.exit(1);
    else watch.end('kill');
  });
}

function start({ argv: [program = '', ...args], cwd, env, graceMs, silenceMs }: GuardOrder) {
  let cut: GuardAnswer['cut'];
  let heardAt = performance.now();
  const child = spawn(program, args, { cwd, env, detached: true, stdio: ['ignore', 'inherit', 'inherit'] });
  const group = child.pid;
  if (group !== undefined) write({ group });

  const end = (why: 'stop' | 'kill' | 'silence'): void => {
    if (group === undefined) return;
    cut ??= why;
    if (why !== 'stop') return void tell(group, 'SIGKILL');
    tell(group, 'SIGTERM');
    // A stopped process takes no signal but SIGKILL until it is continued.
    tell(group, 'SIGCONT');
    setTimeout(() => tell(group, 'SIGKILL'), graceMs);
  };
  setInterval(() => {
    if (performance.now() - heardAt > silenceMs) end('silence');
  }, POLL_MS);

  child.on('error', (error) => answer({ error: error.message }));
  child.on('exit', (code, signal) => {
    const ended: GuardAnswer = {
      ...(code === null ? {} : { code }),
      ...(signal === null ? {} : { signal }),
    };
    if (group === undefined) return answer(ended);
    const leftAt = performance.now() + (cut === 'stop' ? graceMs : LEFTOVER_MS);
    tell(group, 'SIGTERM');
    const left = setInterval(() => {
      const isOver = performance.now() > leftAt;
      if (!isOver && tell(group, 0)) return;
      clearInterval(left);
      tell(group, 'SIGKILL');
      answer({ ...ended, ...(cut === undefined ? {} : { cut }) });
    }, POLL_MS);
  });
  return { beat: () => void (heardAt = performance.now()), end };
}

function answer(said: GuardAnswer): void {
  write(said);
  process.exit(0);
}

function write(line: GuardAnswer | GuardGroup): void {
  try {
    writeSync(ANSWERS, `${JSON.stringify(line)}\n`);
  } catch {
    // Nobody is there to hear it; the closed pipe says so too.
  }
}

/** Signals the whole group; false where nobody is left in it. */
function tell(group: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(-group, signal);
    return true;
  } catch {
    return false;
  }
}
