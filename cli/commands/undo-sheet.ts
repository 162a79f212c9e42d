/** `countdown undo-sheet PLAN|RUN`: every undo by hand, in words, to print before the launch. */
import { UsageError } from '../errors.ts';
import { EXIT } from '../exit-codes.ts';
import type { Command } from './command.ts';

export const undoSheet: Command = {
  usage: 'undo-sheet PLAN|RUN',
  about: 'Print how a run of this plan is taken back by hand, when nothing else can do it.',
  takes: { least: 1, most: 1 },
  async run(context, [name = '']) {
    const isPlan = /^[0-9a-f]{12,64}$/.test(name);
    const run = /^(?:run\/)?([1-9]\d{0,8})$/.exec(name)?.[1];
    if (!isPlan && run === undefined) {
      throw new UsageError(
        `'${name}' names no plan and no run: give at least 12 digits of a plan, or the number of a run.`,
      );
    }
    const client = context.client();
    const plan = run === undefined ? name : (await client.run(Number(run))).plan;
    const sheet = await client.undoSheet(plan);
    if (context.format === 'text') context.terminal.out.write(sheet);
    else context.answer(() => [], { plan, undoSheet: sheet });
    return EXIT.succeeded;
  },
};
