/**
 * Refused attempts of which nobody can say whose they are. They stand in the chain of each environment that Slack tells
 * of; since anybody can send a request, a code is written down once a minute, with the number of attempts.
 */
import type { Environments } from '../store/environment-files.ts';
import type { ApiStore } from '../store/types.ts';
import { MINUTE_MS } from '../procedures/limits.ts';

const WRITE_EVERY_MS = MINUTE_MS;

export type Refusals = {
  /** `user`: the account of Slack where the request is signed; null where nothing in it is believed. */
  tell(row: { code: string; detail: string; user: string | null }): Promise<void>;
};

export function makeRefusals(deps: {
  store: Pick<ApiStore, 'refused'>;
  environments: Environments;
  now: () => Date;
}): Refusals {
  const written = new Map<string, { at: number; unwritten: number }>();
  return {
    async tell({ code, detail, user }) {
      const now = deps.now().getTime();
      const before = written.get(code);
      if (before !== undefined && now - before.at < WRITE_EVERY_MS) {
        before.unwritten += 1;
        return;
      }
      const others = before?.unwritten ?? 0;
      written.set(code, { at: now, unwritten: 0 });
      const more = others === 0 ? '' : ` ${others} more since the last row.`;
      const account = user === null ? '' : ` Account ${user.slice(0, 60)}.`;
      for (const [environment, { slack }] of await deps.environments.current()) {
        if (slack === undefined) continue;
        await deps.store.refused({
          environment,
          person: null,
          door: 'slack',
          run: null,
          code,
          detail: `${detail}${account}${more}`,
        });
      }
    },
  };
}
