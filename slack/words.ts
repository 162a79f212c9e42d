/** How text looks in Slack: whatever others wrote stays text, and numbers and times have the forms of the terminal. */

/** Letters that would make bold, slanted, struck or set text of what others wrote, and what stands for them. */
const LOOKALIKES: Record<string, string> = { '*': '∗', '~': '∼', '`': 'ˋ' };

/**
 * Text of others for a `mrkdwn` object with `verbatim`: no mention, no link, no form, one line. At most `max` letters
 * of Slack; the cut shows.
 */
export function safe(text: string, max = 600): string {
  const plain = text
    .toWellFormed()
    .replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\s]+/gu, ' ')
    .trim()
    .replaceAll(/[*~`]/g, (letter) => LOOKALIKES[letter] ?? letter)
    // Inside a word it is a letter, at its edge it would slant the words between.
    .replaceAll(/(?<![\p{L}\p{N}])_|_(?![\p{L}\p{N}])/gu, 'ˍ');
  return escapeWithin(plain, max);
}

const ESCAPES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;' };

/** Escaped, and cut so that no escape is cut in two. */
function escapeWithin(text: string, max: number): string {
  let written = '';
  for (const letter of text) {
    const next = ESCAPES[letter] ?? letter;
    if (written.length + next.length > max - 1) return `${written}…`;
    written += next;
  }
  return written;
}

/** The people and groups that can be called in Slack; whoever is missing stands there by name. */
export type Mentions = { people: Readonly<Record<string, string>>; groups: Readonly<Record<string, string>> };

export function atPerson(mentions: Mentions, person: string): string {
  const id = Object.hasOwn(mentions.people, person) ? mentions.people[person] : undefined;
  return id !== undefined && /^[UW][A-Z0-9]{2,20}$/.test(id) ? `<@${id}>` : safe(person, 60);
}

/** A group that Slack keeps is called as such, another one by its members. */
export function atGroup(mentions: Mentions, group: string, members: readonly string[]): string {
  const id = Object.hasOwn(mentions.groups, group) ? mentions.groups[group] : undefined;
  if (id !== undefined && /^S[A-Z0-9]{2,20}$/.test(id)) return `<!subteam^${id}>`;
  return atPeople(mentions, members);
}

const CALLED_MAX = 12;

export function atPeople(mentions: Mentions, people: readonly string[]): string {
  const called = people.slice(0, CALLED_MAX).map((person) => atPerson(mentions, person));
  return people.length > CALLED_MAX
    ? `${called.join(' ')} and ${people.length - CALLED_MAX} more`
    : called.join(' ');
}

/** `4.1s`, `41s`, `1m 09s`, `1h 04m`. */
export function duration(ms: number): string {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1).replace(/\.0$/, '')}s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${two(whole % 60)}s`;
  return `${Math.floor(whole / 3600)}h ${two(Math.floor((whole % 3600) / 60))}m`;
}

/** A time that somebody wrote down: `1h`, `5m`, `1h 30m`. */
export function span(ms: number): string {
  return duration(ms).replace(/ 00[ms]$/, '');
}

/** `01:05`. */
export function clock(at: string | number): string {
  return new Date(at).toISOString().slice(11, 16);
}

export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

function two(value: number): string {
  return String(value).padStart(2, '0');
}
