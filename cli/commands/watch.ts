/** `countdown watch RUN`: follows a run; leaving does not end it. */
import { type CommandContext, readDuration, runNumber } from '../context.ts';
import { EXIT } from '../exit-codes.ts';
import { stateText } from '../view/waits.ts';
import { watchRun } from '../watch.ts';
import { type Command, type Values, stringOf } from './command.ts';

export const watch: Command = {
  usage: 'watch RUN [--timeout 30m]',
  about: 'Follow a run to its end. Ctrl-C leaves; the run goes on.',
  options: { timeout: { type: 'string' } },
  takes: { least: 1, most: 1 },
  async run(context, [run], values) {
    const number = runNumber(run);
    // A view says it by itself.
    if (context.format === 'text' && !context.isLive)
      context.say(stateText(await context.client().run(number)));
    return watchFromCommand(context, number, values);
  },
};

/** Resolves with the exit code of the run's end, 124 or 130. */
export async function watchFromCommand(
  context: CommandContext,
  run: number,
  values: Values,
): Promise<number> {
  const { terminal, style, format } = context;
  const timeout = stringOf(values, 'timeout');
  const watched = await watchRun({
    ...context.access(),
    run,
    out: format === 'json' ? { write: () => true } : terminal.out,
    err: terminal.err,
    style,
    mode: format === 'text' ? (context.isLive ? 'live' : 'lines') : 'jsonl',
    timeoutMs: timeout === undefined ? undefined : readDuration(timeout),
    signal: terminal.signal,
  });
  if (format === 'json' && watched.run !== null) context.answer(() => [], watched.run);
  if (watched.exitCode === EXIT.timeout || watched.exitCode === EXIT.left) {
    context.say(`run ${run} goes on. Come back:  countdown watch ${run}`);
  }
  return watched.exitCode;
}
