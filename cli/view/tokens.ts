/** Tokens that can be used. */
import type { TokenWire } from '../wire.ts';
import { type Style, cut, day, pad, widthOf } from './style.ts';

export function tokensLines(tokens: readonly TokenWire[], style: Style): string[] {
  if (tokens.length === 0) return ['No token can be used.'];
  const rows = [
    ['ID', 'PERSON', 'SINCE', 'UNTIL'],
    ...tokens.map(({ id, person, createdAt, expiresAt }) => [
      id,
      cut(style, person, 30),
      dayAndYear(createdAt),
      dayAndYear(expiresAt),
    ]),
  ];
  const widths = [0, 1, 2, 3].map((column) => Math.max(...rows.map((row) => widthOf(row[column] ?? ''))));
  return rows.map((row) =>
    row
      .map((text, column) => pad(text, (widths[column] ?? 0) + 2))
      .join('')
      .trimEnd(),
  );
}

/** `22 Nov 2026`: a token may last into another year. */
function dayAndYear(at: string): string {
  return `${day(at)} ${new Date(at).getUTCFullYear()}`;
}
