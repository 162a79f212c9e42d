/**
 * command: a program that the environment file names, with arguments of the runbook's.
 *
 *   run   argv and args; exit 0 passes, other exits mean what the entry says, else fail
 *         probe: the entry's own; exit 0 yes, 1 no, 2 partly, anything else unknown
 *         undo: the entry's own; exit 0, also where nothing is left to take back
 */
import type { Json, Verdict } from '../procedures/plan.ts';
import { fail, failureType } from './lib/fail.ts';
import { type CommandEnd, runCommand } from './lib/run-command.ts';
import type { PhaseActivities, PhaseContext } from './phase.ts';

type CommandParams = {
  run: string;
  args: Json[];
  timeoutMs: number;
  /** Of a probe: false where `partly` would be answered by running it again, as nothing could be taken back. */
  canUndo?: boolean;
};

/** Milliseconds that a probe's program may take; the probe as a whole has 30 s. */
const PROBE_MS = 20_000;
/** Characters of each output that the journal keeps, and that a summary shows. */
const OUTPUT_BYTES = 24 * 1024;
const SHOWN_LENGTH = 600;
const ARGUMENT_LENGTH_MAX = 4_000;

const run: PhaseActivities<CommandParams> = {
  async run(params, context) {
    const done = await perform('argv', params, context);
    const code = exitOf(done, params, 'argv');
    const { exits } = context.target(params.run, 'command');
    const verdict: Verdict = code === 0 ? 'pass' : (exits[String(code)] ?? 'fail');
    const output = { exitCode: code, stdout: journalled(done.stdout), stderr: journalled(done.stderr) };
    if (verdict === 'pass') return { verdict, summary: `${params.run}: exit ${code}`, output };
    return { verdict, summary: `${params.run}: exit ${code}, expected 0: ${said(done)}`, output };
  },

  async probe(params, context) {
    const done = await perform(
      'probe',
      { ...params, timeoutMs: Math.min(params.timeoutMs, PROBE_MS) },
      context,
    );
    if (done.end !== 'exit') {
      return { answer: 'unknown', summary: `the probe of ${params.run} ${howItEnded(done, params)}` };
    }
    const found = ({ 0: 'yes', 1: 'no', 2: 'partly' } as const)[done.code] ?? 'unknown';
    const summary = `the probe of ${params.run}: exit ${done.code}, ${found}`;
    return { answer: found === 'partly' && params.canUndo !== true ? 'unknown' : found, summary };
  },

  /** Exit 0 is the whole contract: the entry's undo finds out by itself what there is to take back. */
  async undo(params, context) {
    const done = await perform('undo', params, context);
    if (done.end === 'exit' && done.code === 0)
      return { verdict: 'pass', summary: `the undo of ${params.run}: exit 0` };
    const found = done.end === 'exit' ? `ended with exit ${done.code}, expected 0` : howItEnded(done, params);
    throw fail(
      'UndoFailed',
      `The undo of '${params.run}' ${found}: ${said(done)}; take it back by hand, or try again.`,
    );
  },
};

export const command = { run };

type Part = 'argv' | 'probe' | 'undo';

async function perform(part: Part, params: CommandParams, context: PhaseContext): Promise<CommandEnd> {
  const target = context.target(params.run, 'command');
  const argv = target[part];
  if (argv === undefined)
    throw fail(
      'PreconditionFailed',
      `Command '${params.run}' has no ${part}; add it to the environment file and plan again.`,
    );
  const secrets: string[] = [];
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(target.env)) {
    env[name] = typeof value === 'string' ? value : await context.secret(value);
    if (typeof value !== 'string') secrets.push(env[name]);
  }
  const cwd = target.cwd ?? (await context.folder());
  await context.assertCurrent();
  return await runCommand({
    argv: [...argv, ...params.args.map((one) => argument(one, params.run))],
    cwd,
    env,
    secrets,
    timeoutMs: params.timeoutMs,
    signal: context.signal,
    assertCurrent: () => context.assertCurrent(),
    isSuperseded: (error) => failureType(error) === 'FenceLost',
  });
}

/** An output of a step may be a number; nothing else than one line of a command can be made of a list. */
function argument(one: Json, name: string): string {
  const text = typeof one === 'number' || typeof one === 'boolean' ? String(one) : one;
  if (typeof text === 'string' && text.length <= ARGUMENT_LENGTH_MAX && !text.includes('\0')) return text;
  throw fail(
    'PreconditionFailed',
    `An argument of '${name}' became something other than a text of at most ${ARGUMENT_LENGTH_MAX} characters; refer to another output.`,
  );
}

/** The exit code. Throws where there is none: nobody knows what stands, and the probe is asked. */
function exitOf(done: CommandEnd, params: CommandParams, part: Part): number {
  if (done.end === 'exit') return done.code;
  if (done.end === 'not-started') {
    throw fail(
      'PreconditionFailed',
      `Command '${params.run}' could not be started (${done.why}); correct its ${part} and cwd in the environment file, or install the program on this worker.`,
    );
  }
  throw fail(
    'OutcomeLost',
    `Command '${params.run}' ${howItEnded(done, params)}, so nobody knows how far it came: ${said(done)}`,
  );
}

function howItEnded(done: CommandEnd, params: CommandParams): string {
  switch (done.end) {
    case 'exit':
      return `ended with exit ${done.code}`;
    case 'timeout':
      return `was ended, as it took more than ${params.timeoutMs} ms`;
    case 'lost':
      return `was cut short (${done.why})`;
    case 'not-started':
      return `could not be started (${done.why})`;
  }
}

/** The last lines that it wrote to stderr, on one line. */
function said({ stderr }: CommandEnd): string {
  const lines = stderr.trim().replace(/\s*[\r\n]+\s*/g, ' · ');
  if (lines === '') return 'it wrote nothing to stderr';
  return lines.length > SHOWN_LENGTH ? `…${lines.slice(-SHOWN_LENGTH)}` : lines;
}

/** The end of the text that the journal has room for, as JSON. */
function journalled(text: string): string {
  let kept = text;
  while (Buffer.byteLength(JSON.stringify(kept)) > OUTPUT_BYTES) {
    const tooMany = Buffer.byteLength(JSON.stringify(kept)) - OUTPUT_BYTES;
    kept = kept.slice(Math.max(1, Math.ceil(tooMany / 6)));
  }
  return kept === text ? text : `[the beginning was cut off]\n${kept}`;
}
