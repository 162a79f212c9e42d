/**
 * What a YAML text must be before the parser may see it. The parser's composer recurses, so a text that nests deeply
 * ends the process; this scan reads the lexer's tokens in one pass, recurses nowhere and stops at a bound.
 *
 *   size → characters → tokens: no aliases, anchors, tags, directives; one document; bounded nesting and number
 */
import { Lexer } from 'yaml';
import { RUNBOOK_SIZE_BYTES_MAX, YAML_DEPTH_MAX } from './limits.ts';

/** Tokens of one text, spaces and line ends included: far more than 100 steps need. */
export const YAML_TOKENS_MAX = 20_000;

export type Refused = {
  tooLarge?: true;
  /** In UTF-16 units from the start of the text. */
  offset: number;
  length: number;
  message: string;
  hint: string;
};

/** Why the text is refused; undefined where the parser may have it. Takes time in proportion to the text. */
export function guardYaml(text: string): Refused | undefined {
  return tooLarge(text) ?? badCharacter(text) ?? badToken(text);
}

function tooLarge(text: string): Refused | undefined {
  const sizeBytes =
    text.length > RUNBOOK_SIZE_BYTES_MAX ? text.length : new TextEncoder().encode(text).length;
  if (sizeBytes <= RUNBOOK_SIZE_BYTES_MAX) return undefined;
  return {
    tooLarge: true,
    offset: 0,
    length: 1,
    message: `The text has more than ${RUNBOOK_SIZE_BYTES_MAX / 1024} KiB, which is the most that is read.`,
    hint: 'make it smaller',
  };
}

/** Controls, lone surrogates and non-characters, and what makes text look different from what it is. */
const BAD_CHARACTER = new RegExp(
  String.raw`[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069\ufffe\uffff\p{Cs}]|\r(?!\n)`,
  'u',
);

/** The place of the first character that no text may hold; -1 for none. */
export function badCharacterAt(text: string): number {
  return text.search(BAD_CHARACTER);
}

/** `U+0000` of the character at a place. */
export function characterName(text: string, at: number): string {
  return `U+${(text.codePointAt(at) ?? 0).toString(16).toUpperCase().padStart(4, '0')}`;
}

function badCharacter(text: string): Refused | undefined {
  const offset = badCharacterAt(text);
  if (offset < 0) return undefined;
  return {
    offset,
    length: 1,
    message: `The character ${characterName(text, offset)} may not stand in the text, expected UTF-8 without control characters.`,
    hint: 'save the file as plain UTF-8 and take the character out',
  };
}

const REFUSED_TOKENS: Record<string, { what: string; hint: string }> = {
  '*': { what: 'an alias', hint: 'write the value out, or in quotes where the text begins with *' },
  '&': { what: 'an anchor', hint: 'write the value out, or in quotes where the text begins with &' },
  '!': { what: 'a tag', hint: 'take the tag away, or write quotes where the text begins with !' },
  '%': { what: 'a directive', hint: 'take the line away' },
};

function badToken(text: string): Refused | undefined {
  const depth = makeDepth();
  let offset = 0;
  let lineStart = 0;
  let tokens = 0;
  let documents = 0;
  let isScalar = false;
  for (const token of new Lexer().lex(text)) {
    tokens += 1;
    if (tokens > YAML_TOKENS_MAX) {
      return refuse(
        offset,
        1,
        `The text has more than ${YAML_TOKENS_MAX} words and signs.`,
        'make it smaller',
      );
    }
    // Marks of the lexer itself take no room in the text.
    if (token === '\u0002' || token === '\u0018') continue;
    if (token === '\u001f') {
      isScalar = true;
      continue;
    }
    const refused = isScalar ? undefined : REFUSED_TOKENS[token[0] ?? ''];
    if (refused !== undefined) {
      return refuse(offset, token.length, `Found ${refused.what}, expected plain values.`, refused.hint);
    }
    if (!isScalar && token === '---' && (documents += 1) > 1) {
      return refuse(offset, 3, 'Found a second document, expected one.', 'write each into a file of its own');
    }
    if (depth.see(token, isScalar, offset - lineStart) > YAML_DEPTH_MAX) {
      return refuse(
        offset,
        1,
        `The text nests deeper than ${YAML_DEPTH_MAX} levels here.`,
        'write it flatter',
      );
    }
    isScalar = false;
    const newline = token.lastIndexOf('\n');
    if (newline >= 0) lineStart = offset + newline + 1;
    offset += token.length;
  }
  return undefined;
}

function refuse(offset: number, length: number, message: string, hint: string): Refused {
  return { offset, length, message, hint };
}

/**
 * How deep a place is nested: open brackets, plus the columns at which block collections have begun. A collection ends
 * where something begins further to the left; a list may stand in the column of the key that it belongs to.
 */
function makeDepth() {
  const blocks: { column: number; kind: 'map' | 'seq' }[] = [];
  let flow = 0;
  /** Where the last node of this line began: the key, if a colon follows. */
  let node: number | undefined;

  const open = (column: number, kind: 'map' | 'seq') => {
    for (let top = blocks.at(-1); top !== undefined; top = blocks.at(-1)) {
      const isBeside = top.column === column && top.kind === 'seq' && kind === 'map';
      if (top.column <= column && !isBeside) break;
      blocks.pop();
    }
    const top = blocks.at(-1);
    if (top?.column !== column || top.kind !== kind) blocks.push({ column, kind });
    node = undefined;
  };

  return {
    see(token: string, isScalar: boolean, column: number): number {
      const first = token[0] ?? '';
      if (isScalar || first === '"' || first === "'") {
        if (flow === 0) node ??= column;
      } else if (token === '[' || token === '{') {
        if (flow === 0) node ??= column;
        flow += 1;
      } else if (token === ']' || token === '}') flow = Math.max(0, flow - 1);
      else if (flow > 0) return blocks.length + flow;
      else if (token === '-') open(column, 'seq');
      else if (token === '?') open(column, 'map');
      else if (token === ':') open(node ?? column, 'map');
      else if (token === '\n' || token === '\r\n') node = undefined;
      return blocks.length + flow;
    },
  };
}
