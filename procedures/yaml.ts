/** From a YAML text to plain JSON, with the place of every key and value. The text may come from anybody. */
import { LineCounter, type Node, isMap, isScalar, isSeq, parseDocument } from 'yaml';
import type { Json } from './plan.ts';
import { PlanProblem, type Problem, type ProblemCode } from './problem.ts';
import { badCharacterAt, characterName, guardYaml } from './yaml-guard.ts';

export type Path = readonly (string | number)[];
export type Place = { file: string; line: number; column: number; length: number; pointer: string };

export type Source = {
  file: string;
  text: string;
  value: Json;
  /** Where the value of a path stands, or its key; where there is none, the nearest part around it. */
  place(path: Path, part?: 'key' | 'value'): Place;
};

/** Problems that one answer lists. */
const PROBLEMS_MAX = 50;

const UNSAFE_KEYS = ['__proto__', 'constructor', 'prototype'];

/** Throws PlanProblem: TooLarge, or the given code, with every problem of the text. */
export function readYaml(text: string, file: string, code: ProblemCode = 'RunbookInvalid'): Source {
  const lines = new LineCounter();
  const plain = text.startsWith('\ufeff') ? text.slice(1) : text;
  const refused = guardYaml(plain);
  if (refused !== undefined) {
    const { tooLarge, offset, length, message, hint } = refused;
    const before = plain.slice(0, offset);
    const line = before.split('\n').length;
    const place = { file, line, column: offset - before.lastIndexOf('\n'), length, pointer: '' };
    throw new PlanProblem([{ ...place, code: tooLarge === true ? 'TooLarge' : code, message, hint }]);
  }
  const document = parseDocument(plain, {
    lineCounter: lines,
    schema: 'core',
    version: '1.2',
    merge: false,
    // Looked for below: the parser compares each key with every other.
    uniqueKeys: false,
    customTags: [],
    prettyErrors: false,
    logLevel: 'error',
  });
  const reader = new Reader(file, code, lines);
  for (const { code: what, message, pos } of document.errors.slice(0, PROBLEMS_MAX)) {
    reader.add(pos, '', ...syntaxMessage(what, message));
  }
  if (document.errors.length > 0) throw new PlanProblem(reader.problems);
  const value = reader.read(document.contents, [], [0, 1]);
  if (reader.problems.length > 0) throw new PlanProblem(reader.problems);
  return { file, text: plain, value, place: (path, part) => reader.place(path, part) };
}

/** The file's text. Throws PlanProblem where the bytes are not UTF-8, or too many. */
export function decodeYaml(bytes: Uint8Array, file: string, code: ProblemCode = 'RunbookInvalid'): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    const message = 'The file is not UTF-8 text, which is all that is read.';
    const place = { file, line: 1, column: 1, length: 1, pointer: '' };
    throw new PlanProblem([{ ...place, code, message, hint: 'save it as UTF-8' }]);
  }
}

function syntaxMessage(what: string, message: string): [message: string, hint: string] {
  switch (what) {
    case 'TAB_AS_INDENT':
      return ['The line is indented with a tab, expected spaces.', 'write spaces'];
    case 'MULTIPLE_DOCS':
      return ['Found a second document, expected one.', 'write each into a file of its own'];
    case 'BAD_INDENT': {
      const closing = /with an? (.)$/.exec(message)?.[1];
      if (closing !== undefined) {
        const found = `A bracket is not closed, expected '${closing}' and every line inside it indented.`;
        return [found, `close it with ${closing}`];
      }
      return [`The indentation does not fit: ${message}.`, 'line it up with the entries above it'];
    }
    default: {
      const plain = message.replace(/\.$/, '');
      return [`This is not YAML: ${plain}.`, 'correct the text, or write it in quotes'];
    }
  }
}

/** JSON pointer of a path (RFC 6901). */
export function pointerOf(path: Path): string {
  return path.map((key) => `/${String(key).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}

type Range = readonly [number, number];

class Reader {
  readonly problems: Problem[] = [];
  private readonly ranges = new Map<string, { key?: Range; value: Range }>();
  private readonly file: string;
  private readonly code: ProblemCode;
  private readonly lines: LineCounter;

  constructor(file: string, code: ProblemCode, lines: LineCounter) {
    this.file = file;
    this.code = code;
    this.lines = lines;
  }

  add([from, to]: Range, pointer: string, message: string, hint: string): void {
    if (this.problems.length >= PROBLEMS_MAX) return;
    this.problems.push({ ...this.at([from, to]), code: this.code, pointer, message, hint });
  }

  place(path: Path, part: 'key' | 'value' = 'value'): Place {
    for (let length = path.length; length >= 0; length -= 1) {
      const found = this.ranges.get(pointerOf(path.slice(0, length)));
      if (found === undefined) continue;
      // What is missing is missed where its owner begins.
      const range = (part === 'key' || length < path.length ? found.key : undefined) ?? found.value;
      return { ...this.at(range), pointer: pointerOf(path) };
    }
    return { file: this.file, line: 1, column: 1, length: 1, pointer: pointerOf(path) };
  }

  /** The depth is bounded by the guard. */
  read(node: unknown, path: Path, around: Range, key?: Range): Json {
    const range = rangeOf(node as Node | null) ?? around;
    this.ranges.set(pointerOf(path), { value: range, ...(key === undefined ? {} : { key }) });
    if (isMap(node)) return this.readMap(node.items, path, range);
    if (isSeq(node)) return node.items.map((item, index) => this.read(item, [...path, index], range));
    if (isScalar(node)) return this.readScalar(node.value, node.source ?? '', range, path);
    return null;
  }

  private readMap(items: readonly { key: unknown; value: unknown }[], path: Path, around: Range): Json {
    const entries = new Map<string, Json>();
    for (const item of items) {
      const range = rangeOf(item.key as Node | null) ?? around;
      const key = this.readKey(item.key, range, path);
      if (key === undefined) continue;
      if (entries.has(key)) {
        const message = `The key '${key}' stands here twice, expected once.`;
        this.add(range, pointerOf([...path, key]), message, 'take one of the two away');
      } else entries.set(key, this.read(item.value, [...path, key], range, range));
    }
    return Object.fromEntries(entries);
  }

  private readKey(node: unknown, range: Range, path: Path): string | undefined {
    const pointer = pointerOf(path);
    if (!isScalar(node) || node.value === null) {
      const message = 'A key is no plain word here, expected one; {{ }} is not how a param is written.';
      this.add(range, pointer, message, 'write  $(params.NAME)  for a param, and quotes around other text');
      return undefined;
    }
    const key = node.source ?? (typeof node.value === 'string' ? node.value : JSON.stringify(node.value));
    if (UNSAFE_KEYS.includes(key) || key === '<<') {
      this.add(range, pointer, `The key '${key}' is not taken, expected another name.`, 'use another name');
      return undefined;
    }
    return this.readScalar(key, key, range, path) as string;
  }

  private readScalar(value: unknown, source: string, range: Range, path: Path): Json {
    if (typeof value === 'string') {
      const bad = badCharacterAt(value);
      if (bad >= 0) {
        const message = `The text holds the character ${characterName(value, bad)}, expected none that cannot be seen.`;
        this.add(range, pointerOf(path), message, 'take it out');
      }
      return value;
    }
    if (typeof value === 'boolean' || value === null) return value;
    const isExact =
      typeof value === 'number' &&
      Number.isFinite(value) &&
      (!Number.isInteger(value) || Number.isSafeInteger(value));
    if (isExact) return value === 0 ? 0 : value;
    const message = `The number ${source.slice(0, 40)} cannot be held exactly, expected one between -2^53 and 2^53.`;
    this.add(range, pointerOf(path), message, 'write it in quotes, where it is meant as text');
    return 0;
  }

  private at([from, to]: Range): Place {
    const { line, col } = this.lines.linePos(from);
    const end = this.lines.lineStarts[line] ?? Number.POSITIVE_INFINITY;
    const length = Math.max(1, Math.min(to, end - 1) - from);
    return { file: this.file, line: Math.max(1, line), column: Math.max(1, col), length, pointer: '' };
  }
}

function rangeOf(node: Node | null): Range | undefined {
  const range = node?.range;
  return range === null || range === undefined ? undefined : [range[0], range[1]];
}
