/** Change freezes, looked at where a run starts and nowhere else. */
import { freezeAt, writeInstant } from '../procedures/calendar.ts';
import type { Environment } from '../procedures/environment.ts';

export type Frozen = { untilMs: number; detail: string };

/** The change freeze in which a run would start at this time; undefined outside one. */
export function frozenAt(environment: Environment, at: Date): Frozen | undefined {
  const freeze = freezeAt(environment.changeFreezes ?? [], at.getTime());
  if (freeze === undefined) return undefined;
  const { untilMs, names } = freeze;
  const detail = `No run starts in ${environment.environment} until ${writeInstant(untilMs)} (${names.join(', ')}). Rollbacks go on.`;
  return { untilMs, detail };
}
