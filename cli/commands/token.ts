/** `countdown token create|list|revoke`: an admin gives tokens out and takes them back. */
import { type CommandContext, readDuration } from '../context.ts';
import { UsageError } from '../errors.ts';
import { EXIT } from '../exit-codes.ts';
import { tokensLines } from '../view/tokens.ts';
import { day, safe } from '../view/style.ts';
import type { TokenWire } from '../wire.ts';
import { type Command, stringOf } from './command.ts';

/** Pages of a hundred tokens each. */
const PAGES_MAX = 100;

export const token: Command = {
  usage: 'token create PERSON [--expires 30d] | list | revoke ID',
  about: 'Give a person a token, list those that can be used, take one back. For admins.',
  options: { expires: { type: 'string' } },
  takes: { least: 1, most: 2 },
  async run(context, [verb, subject], values) {
    const expires = stringOf(values, 'expires');
    if (verb !== 'create' && expires !== undefined) {
      throw new UsageError('--expires is for token create: leave it out.');
    }
    if (verb === 'create' && subject !== undefined) return create(context, subject, expires);
    if (verb === 'revoke' && subject !== undefined) return revoke(context, subject);
    if (verb === 'list' && subject === undefined) return list(context);
    throw new UsageError('token takes create PERSON, list, or revoke ID.');
  },
};

/** The secret alone goes to stdout, so that it can be put where it belongs without being read. */
async function create(context: CommandContext, person: string, expires: string | undefined): Promise<number> {
  const made = await context
    .client()
    .makeToken({ person, ...(expires === undefined ? {} : { expiresMs: readDuration(expires) }) });
  context.answer(() => [made.token], made);
  context.say(
    `Token ${made.id} of ${safe(made.person)}, good until ${day(made.expiresAt)}. It is not shown again.`,
  );
  return EXIT.succeeded;
}

async function list(context: CommandContext): Promise<number> {
  const client = context.client();
  const items: TokenWire[] = [];
  let cursor: string | undefined;
  for (let page = 0; page < PAGES_MAX; page += 1) {
    const { items: some, next } = await client.tokens(cursor === undefined ? {} : { cursor });
    items.push(...some);
    if (next === null) break;
    cursor = next;
  }
  context.answer(() => tokensLines(items, context.style), items);
  return EXIT.succeeded;
}

async function revoke(context: CommandContext, id: string): Promise<number> {
  await context.client().revokeToken(id);
  context.answer(() => [`Token ${id} is revoked.`], { id });
  return EXIT.succeeded;
}
