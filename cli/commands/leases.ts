/** `countdown leases`: which targets are held, by which runs, and for how long still. */
import { EXIT } from '../exit-codes.ts';
import { leasesLines } from '../view/leases.ts';
import { type Command, stringOf } from './command.ts';

export const leases: Command = {
  usage: 'leases [--env ENVIRONMENT]',
  about: 'List the targets that runs hold, and for how long still.',
  options: { env: { type: 'string', short: 'e' } },
  takes: { least: 0, most: 0 },
  async run(context, _args, values) {
    const { items } = await context.client().leases(stringOf(values, 'env'));
    context.answer(() => leasesLines(items, context.style), items);
    return EXIT.succeeded;
  },
};
