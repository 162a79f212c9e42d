/** Durations as people write them: `30s`, `5m`, `4h`, `7d`, `1h30m`, `500ms`. */
import { DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS } from './limits.ts';

/** The longest duration that can be written: 366 days. */
export const DURATION_MS_MAX = 366 * DAY_MS;

/** For error messages. */
export const DURATION_FORM = "a duration such as '30s', '5m', '4h', '7d' or '1h30m'";

const UNITS = [
  ['d', DAY_MS],
  ['h', HOUR_MS],
  ['m', MINUTE_MS],
  ['s', SECOND_MS],
  ['ms', 1],
] as const;

const FORM = /^(?:(\d{1,12})d)?(?:(\d{1,12})h)?(?:(\d{1,12})m)?(?:(\d{1,12})s)?(?:(\d{1,12})ms)?$/;

/** The form as JSON Schema writes it: it takes no empty text. */
export const DURATION_PATTERN = `^(?=.)${FORM.source.slice(1).replaceAll('(?:', '(')}`;

/** Milliseconds; undefined where the text is no duration. Units stand from the greatest to the least, each once. */
export function parseDuration(text: string): number | undefined {
  if (text === '' || text.length > 80) return undefined;
  const match = FORM.exec(text);
  if (match === null) return undefined;
  const ms = UNITS.reduce((sum, [, unitMs], index) => sum + Number(match[index + 1] ?? 0) * unitMs, 0);
  return ms <= DURATION_MS_MAX ? ms : undefined;
}

/** The shortest text that `parseDuration` reads back as the same number. Takes whole milliseconds from 0 on. */
export function writeDuration(ms: number): string {
  let rest = ms;
  let text = '';
  for (const [unit, unitMs] of UNITS) {
    const count = Math.floor(rest / unitMs);
    if (count > 0) text += `${count}${unit}`;
    rest -= count * unitMs;
  }
  return text === '' ? '0s' : text;
}
