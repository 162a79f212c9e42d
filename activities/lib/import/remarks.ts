/** What is found wrong or worth saying while a mapping is made, and what the step has to say about it. */
import type { MappingWord } from '../../../procedures/mapping-words.ts';
import { skipLine } from './lines.ts';

/** What the step says about the mapping. */
export type MappingOptions = {
  /** A word for a column, by `TABLE.COLUMN`. */
  mapping: Record<string, MappingWord>;
  /** What is left behind: `view NAME`, `column TABLE.COLUMN`, … */
  skip: readonly string[];
  /** `Z` or `±HH:MM`: what holds for moments that name no offset, where the target wants one. */
  zone?: string;
};

export type Remarks = {
  refused: string[];
  skipped: string[];
  notes: string[];
  /** Lines of `skip` that name something. */
  used: Set<string>;
};

/** Leaves something behind where the step lists it, and refuses it where not. */
export function leave(
  { skip }: Pick<MappingOptions, 'skip'>,
  remarks: Remarks,
  what: { line: string; words: string },
): void {
  remarks.used.add(what.line);
  if (skip.includes(what.line)) remarks.skipped.push(what.words);
  else remarks.refused.push(`${what.words} (to go without it: ${skipLine(what.line)})`);
}
