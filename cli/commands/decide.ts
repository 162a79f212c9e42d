/** `countdown approve`, `reject`, `abort`, `retry`, `skip`, `done`, `resolve`: what people say to a run. */
import { readFile } from 'node:fs/promises';
import { type CommandContext, runNumber } from '../context.ts';
import { ApiError, UsageError } from '../errors.ts';
import { EXIT } from '../exit-codes.ts';
import { duration, plainRunWord, plural } from '../view/style.ts';
import type { DecisionWire, RunDetailWire } from '../wire.ts';
import { type Command, stringOf } from './command.ts';

export const approve: Command = {
  usage: "approve RUN [STEP] [--reason 'text'] [--break-glass]",
  about: 'Approve a step, as it stands now; with --break-glass two people stand for everybody.',
  options: { reason: { type: 'string' }, 'break-glass': { type: 'boolean' } },
  takes: { least: 1, most: 2 },
  async run(context, [number, step], values) {
    const reason = stringOf(values, 'reason');
    const breakGlass = values['break-glass'] === true;
    if (breakGlass && reason === undefined)
      throw new UsageError("--break-glass needs --reason 'text': say why nobody else can approve.");
    return vote(context, runNumber(number), { step, decision: 'approve', reason, breakGlass });
  },
};

export const reject: Command = {
  usage: "reject RUN STEP 'reason'",
  about: 'Reject a step: the run stops, or undoes what it did.',
  takes: { least: 3, most: 3 },
  run: (context, [number, step, reason]) =>
    vote(context, runNumber(number), { step, decision: 'reject', reason, breakGlass: false }),
};

async function vote(
  context: CommandContext,
  number: number,
  said: {
    step: string | undefined;
    decision: 'approve' | 'reject';
    reason: string | undefined;
    breakGlass: boolean;
  },
): Promise<number> {
  const { step, decision, reason, breakGlass } = said;
  const client = context.client();
  const run = await client.run(number);
  checkOpen(run, 'It asks for no approval any more.');
  const name = step ?? onlyOpen(run);
  // The last one of the step, open or not: what is early or late is for the run to say.
  const asked = run.approvals.findLast((approval) => approval.step === name);
  const answer = await client.decide(number, {
    step: name,
    decision,
    plan: run.plan,
    ...(asked === undefined ? {} : { evidence: asked.evidence }),
    ...(reason === undefined ? {} : { reason }),
    ...(breakGlass ? { breakGlass } : {}),
  });
  return tell(context, answer);
}

/** A run that has ended takes no answer, and says so before anything is asked. */
function checkOpen({ run, endedAt, ...state }: RunDetailWire, what: string): void {
  if (endedAt === null) return;
  throw new ApiError({
    status: 409,
    code: 'AlreadyEnded',
    detail: `run ${run} has ended: it is ${plainRunWord(state)}. ${what}`,
    hint: `look at it: countdown show ${run}`,
  });
}

function onlyOpen(run: RunDetailWire): string {
  const open = run.approvals.filter(({ state }) => state === 'open');
  const [first] = open;
  if (first !== undefined && open.length === 1) return first.step;
  const names = open.map(({ step }) => step).join(', ');
  throw new UsageError(
    open.length === 0
      ? `run ${run.run} asks for no approval now: name the step, or look at countdown show ${run.run}.`
      : `run ${run.run} asks for several approvals: name one of ${names}.`,
  );
}

export const abort: Command = {
  usage: "abort RUN ['reason'] [--confirm RUN]",
  about: 'End a run and undo what it did.',
  options: { confirm: { type: 'string' } },
  takes: { least: 1, most: 2 },
  async run(context, [number, reason], values) {
    const client = context.client();
    const run = await client.run(runNumber(number));
    checkOpen(run, 'There is nothing to abort.');
    if (!(await isSure(context, run, stringOf(values, 'confirm')))) {
      context.say(`run ${run.run} was not aborted.`);
      return EXIT.clientError;
    }
    const answer = await client.steer(run.run, 'abort', {
      plan: run.plan,
      ...(reason === undefined ? {} : { reason }),
    });
    return tell(context, answer);
  },
};

async function isSure(
  context: CommandContext,
  run: RunDetailWire,
  confirm: string | undefined,
): Promise<boolean> {
  const number = String(run.run);
  if (confirm !== undefined) {
    if (confirm !== number)
      throw new UsageError(`--confirm says ${confirm}, but the run is ${number}: write --confirm ${number}.`);
    return true;
  }
  const { ask } = context.terminal;
  if (ask === undefined) throw new UsageError(`Without a terminal abort needs --confirm ${number}.`);
  const { undoes, undoMs } = run.abort;
  const what =
    undoes === 0 ? 'undoes nothing' : `undoes ${plural(undoes, 'phase')}, about ${duration(undoMs)}`;
  return (await ask(`Type ${number} to abort (${what}): `)).trim() === number;
}

export const retry: Command = {
  usage: "retry RUN PHASE ['reason']",
  about: 'Try a phase that waits for a person again.',
  takes: { least: 2, most: 3 },
  async run(context, [number, phase, reason]) {
    const body = { phase, ...(reason === undefined ? {} : { reason }) };
    return tell(context, await context.client().steer(runNumber(number), 'retry', body));
  },
};

export const skip: Command = {
  usage: "skip RUN PHASE ['reason'] [--output FILE]",
  about: 'Leave out a phase that waits for a person; the verdict is warn at best.',
  options: { output: { type: 'string' } },
  takes: { least: 2, most: 3 },
  async run(context, [number, phase, reason], values) {
    const file = stringOf(values, 'output');
    const body = {
      phase,
      ...(reason === undefined ? {} : { reason }),
      ...(file === undefined ? {} : { output: await jsonFile(file) }),
    };
    return tell(context, await context.client().steer(runNumber(number), 'skip', body));
  },
};

export const done: Command = {
  usage: "done RUN PHASE [--evidence 'text']",
  about: 'Say that what a phase asks of a person is done.',
  options: { evidence: { type: 'string' } },
  takes: { least: 2, most: 2 },
  async run(context, [number, phase], values) {
    const evidence = stringOf(values, 'evidence');
    const body = { phase, ...(evidence === undefined ? {} : { evidence }) };
    return tell(context, await context.client().steer(runNumber(number), 'done', body));
  },
};

/** Entries of a JSON file. Throws UsageError where there is none, or something else is in it. */
async function jsonFile(file: string): Promise<Record<string, unknown>> {
  const text = await readFile(file, 'utf8').catch(() => {
    throw new UsageError(`${file} cannot be read, expected a JSON file.`);
  });
  try {
    const value: unknown = JSON.parse(text);
    if (value !== null && typeof value === 'object' && !Array.isArray(value))
      return value as Record<string, unknown>;
  } catch {
    // Said below, as for any other value.
  }
  throw new UsageError(`${file} holds no JSON object, expected entries of key and value.`);
}

function holding(verb: 'pause' | 'resume', about: string): Command {
  return {
    usage: `${verb} RUN ['reason']`,
    about,
    takes: { least: 1, most: 2 },
    async run(context, [number, reason]) {
      const body = reason === undefined ? {} : { reason };
      return tell(context, await context.client().steer(runNumber(number), verb, body));
    },
  };
}

export const pause = holding(
  'pause',
  'Let what runs end and begin nothing new; approval clocks stand still.',
);
export const resume = holding('resume', 'Let a paused run go on.');

export const resolve: Command = {
  usage: "resolve RUN [PHASE] --retry [--params FILE] | resolve RUN PHASE --done --evidence 'text'",
  about:
    'Take an undo off the desk: try it again, or say how it was done by hand. Without PHASE, retry the whole desk.',
  options: {
    retry: { type: 'boolean' },
    params: { type: 'string' },
    done: { type: 'boolean' },
    evidence: { type: 'string' },
  },
  takes: { least: 1, most: 2 },
  async run(context, [number, phase], values) {
    const file = stringOf(values, 'params');
    // Other params mean another try.
    const isRetry = values['retry'] === true || file !== undefined;
    const evidence = stringOf(values, 'evidence');
    if (isRetry === (values['done'] === true) || (isRetry && evidence !== undefined)) {
      throw new UsageError("resolve takes either --retry, or --done with --evidence 'text'.");
    }
    if (!isRetry && evidence === undefined)
      throw new UsageError("--done needs --evidence 'text': say what was done.");
    if (phase === undefined && (!isRetry || file !== undefined))
      throw new UsageError('Name the phase: only --retry without --params takes the whole desk.');
    const params = file === undefined ? {} : { params: await jsonFile(file) };
    const how = isRetry ? { retry: true, ...params } : { done: true, evidence };
    return tell(
      context,
      await context.client().steer(runNumber(number), 'resolve', {
        ...(phase === undefined ? {} : { phase }),
        ...how,
      }),
    );
  },
};

function tell(context: CommandContext, answer: DecisionWire): number {
  context.answer(() => [answer.detail], answer);
  return EXIT.succeeded;
}
