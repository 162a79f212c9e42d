/**
 * Change freezes: dates on which no run starts. They stand in the environment file and are looked at when a run is asked
 * for, and nowhere else: a run that is on goes on, and nothing that takes effects back ever asks for a date.
 */
import { z } from 'zod';
import { fromSchema } from './approval-asked.ts';
import { exact, lineSchema } from './schema.ts';

/** Times in milliseconds since 1970; `toMs` is the first moment after it. */
export type ChangeFreeze = {
  name: string;
  fromMs: number;
  toMs: number;
  /** Whom a plan asks at least that is made to start inside it. Missing: nothing starts inside it. */
  emergency?: { from: Record<string, number> };
};

const INSTANT =
  /^(\d{4})-(\d{2})-(\d{2})[Tt](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,3})\d*)?)?([Zz]|[+-]\d{2}:\d{2})$/;
const INSTANT_FORM = "a time such as '2026-12-18T00:00Z' or '2026-12-18T00:00+01:00'";

/** Milliseconds since 1970 of an RFC 3339 time, whose seconds may be left out; undefined for anything else. */
export function parseInstant(text: string): number | undefined {
  const match = INSTANT.exec(text);
  if (match === null) return undefined;
  const [year, month, day, hour, minute, second, milli] = match
    .slice(1, 8)
    .map((part, index) => Number(index === 6 ? (part ?? '0').padEnd(3, '0') : (part ?? 0))) as Parts;
  const zone = offsetMs(match[8] ?? 'Z');
  const at = Date.UTC(year, month - 1, day, hour, minute, second, milli);
  // 30 February would be a day in March.
  const isDate = new Date(at).getUTCMonth() === month - 1 && new Date(at).getUTCDate() === day;
  if (!isDate || hour > 23 || minute > 59 || second > 59 || zone === undefined) return undefined;
  return at - zone;
}

type Parts = [number, number, number, number, number, number, number];

function offsetMs(zone: string): number | undefined {
  if (/^z$/i.test(zone)) return 0;
  const [hours, minutes] = [Number(zone.slice(1, 3)), Number(zone.slice(4, 6))];
  if (hours > 23 || minutes > 59) return undefined;
  return (zone.startsWith('-') ? -1 : 1) * (hours * 60 + minutes) * 60_000;
}

const instantSchema = z
  .string(INSTANT_FORM)
  .transform((text, context) => {
    const at = parseInstant(text);
    if (at !== undefined) return at;
    context.addIssue({ code: 'custom', message: '', params: { expected: INSTANT_FORM } });
    return z.NEVER;
  })
  .meta({ pattern: INSTANT.source.replaceAll('(?:', '(') });

const FREEZES_MAX = 200;

export const changeFreezesSchema = z
  .array(
    exact({
      name: lineSchema(60).describe('What people call it.'),
      from: instantSchema.describe('From this moment on no run starts.'),
      to: instantSchema.describe('From this moment on runs start again.'),
      emergency: exact({ from: fromSchema.describe('Votes that each group must give at least.') })
        .exactOptional()
        .describe('Who must give leave to a plan that starts inside it all the same. Default: nobody can.'),
    })
      .refine(({ from, to }) => from < to, {
        path: ['to'],
        error: 'The change freeze ends before it begins, expected a time after from.',
        params: { hint: 'turn the two around' },
      })
      .transform(({ name, from, to, emergency }): ChangeFreeze => ({
        name,
        fromMs: from,
        toMs: to,
        ...(emergency === undefined ? {} : { emergency }),
      })),
    'a list of change freezes',
  )
  .max(FREEZES_MAX, `at most ${FREEZES_MAX} change freezes`);

/** What holds at this moment: until when no run starts, freezes that follow each other without a gap counted as one. */
export function freezeAt(
  freezes: readonly ChangeFreeze[],
  now: number,
): { names: string[]; untilMs: number } | undefined {
  const names: string[] = [];
  let untilMs = now;
  for (const { name, fromMs, toMs } of [...freezes].sort((a, b) => a.fromMs - b.fromMs)) {
    if (fromMs > untilMs || toMs <= untilMs) continue;
    untilMs = toMs;
    names.push(name);
  }
  return names.length === 0 ? undefined : { names, untilMs };
}

/** The first that begins after this moment. */
export function nextFreeze(freezes: readonly ChangeFreeze[], now: number): ChangeFreeze | undefined {
  return [...freezes].sort((a, b) => a.fromMs - b.fromMs).find(({ fromMs }) => fromMs > now);
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** `4 Jan 2027 00:00 UTC`; seconds where there are any. */
export function writeInstant(ms: number): string {
  const time = new Date(ms);
  const clock = time.toISOString().slice(11, ms % 60_000 === 0 ? 16 : 19);
  return `${time.getUTCDate()} ${MONTHS[time.getUTCMonth()]} ${time.getUTCFullYear()} ${clock} UTC`;
}
