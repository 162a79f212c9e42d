import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { YAML_TOKENS_MAX } from '../../procedures/yaml-guard.ts';
import { decodeYaml, readYaml } from '../../procedures/yaml.ts';
import { problemOf, problemsOf } from './support.ts';

const SIZE = 256 * 1024;
/** Generous for a busy machine: what recursion or quadratic time would cost is far beyond it. */
const DEADLINE_MS = 2_000;

describe('a text that is plain', () => {
  test('becomes JSON with the types of the core schema', () => {
    const text =
      '---\na: 1\nb: [yes, true, 0x1f, 1.5, ~, "x"]\nc:\n- x\n- y: z\n  q: |\n    two\n    lines\nd: -0\n';
    expect(readYaml(text, 'a.yaml').value).toEqual({
      a: 1,
      b: ['yes', true, 31, 1.5, null, 'x'],
      c: ['x', { y: 'z', q: 'two\nlines\n' }],
      d: 0,
    });
  });

  test('knows the place of each key and value, and of what is missing the part around it', () => {
    const source = readYaml('steps:\n  - id: one\n    with: { a: 1 }\n', 'a.yaml');
    expect(source.place(['steps', 0, 'with', 'a'])).toEqual({
      file: 'a.yaml',
      line: 3,
      column: 16,
      length: 1,
      pointer: '/steps/0/with/a',
    });
    expect(source.place(['steps', 0, 'with'], 'key')).toMatchObject({ line: 3, column: 5, length: 4 });
    expect(source.place(['steps', 0, 'with', 'b'])).toMatchObject({
      line: 3,
      column: 5,
      pointer: '/steps/0/with/b',
    });
  });

  test('may begin with a byte order mark', () => {
    expect(readYaml('\ufeffa: 1', 'a.yaml').value).toEqual({ a: 1 });
  });

  test('may nest 32 levels deep, and no deeper', () => {
    expect(() => readYaml('['.repeat(32) + ']'.repeat(32), 'a.yaml')).not.toThrow();
    expect(problemOf(() => readYaml('['.repeat(33) + ']'.repeat(33), 'a.yaml'))).toMatchObject({
      line: 1,
      column: 33,
    });
  });
});

describe('a text that is refused', () => {
  test.each([
    ['an alias', 'a: &x 1\nb: *x', 'Found an anchor, expected plain values.'],
    ['a lone alias', 'a: *x', 'Found an alias, expected plain values.'],
    ['a tag', 'a: !!js/function "f"', 'Found a tag, expected plain values.'],
    ['a directive', '%YAML 1.1\n---\na: 1', 'Found a directive, expected plain values.'],
    ['a merge key', 'a: { <<: { b: 1 } }', "The key '<<' is not taken, expected another name."],
    ['a second document', 'a: 1\n---\nb: 2', 'Found a second document, expected one.'],
    ['a document after the end of one', 'a: 1\n...\nb: 2', 'Found a second document, expected one.'],
    ['a key twice', 'a: 1\nb: 2\na: 3', "The key 'a' stands here twice, expected once."],
    ['a key twice in two forms', '1: a\n"1": b', "The key '1' stands here twice, expected once."],
    [
      '__proto__',
      '__proto__: { polluted: true }',
      "The key '__proto__' is not taken, expected another name.",
    ],
    ['quoted __proto__', '"__proto__": 1', "The key '__proto__' is not taken, expected another name."],
    ['constructor', 'a: { constructor: 1 }', "The key 'constructor' is not taken, expected another name."],
    [
      'a template as other tools write it',
      'a: {{params.x}}',
      'A key is no plain word here, expected one; {{ }} is not how a param is written.',
    ],
    [
      'NUL',
      'a: x\u0000y',
      'The character U+0000 may not stand in the text, expected UTF-8 without control characters.',
    ],
    [
      'NUL in an escape',
      'a: "x\\0y"',
      'The text holds the character U+0000, expected none that cannot be seen.',
    ],
    [
      'half a surrogate pair',
      'a: \ud800',
      'The character U+D800 may not stand in the text, expected UTF-8 without control characters.',
    ],
    [
      'half a pair in an escape',
      'a: "\\uD800"',
      'The text holds the character U+D800, expected none that cannot be seen.',
    ],
    [
      'text that turns its direction',
      'a: \u202Ex',
      'The character U+202E may not stand in the text, expected UTF-8 without control characters.',
    ],
    [
      'a number that cannot be held',
      'a: 12345678901234567890',
      'The number 12345678901234567890 cannot be held exactly, expected one between -2^53 and 2^53.',
    ],
    ['infinity', 'a: .inf', 'The number .inf cannot be held exactly, expected one between -2^53 and 2^53.'],
    ['a tab as indentation', 'a:\n\tb: 1', 'The line is indented with a tab, expected spaces.'],
    ['a broken flow', 'a: [1, 2', "A bracket is not closed, expected ']' and every line inside it indented."],
  ])('%s', (_, text, message) => {
    expect(problemsOf(() => readYaml(text, 'a.yaml'))[0]?.message).toBe(message);
  });

  test('names the place of the second of two keys', () => {
    expect(problemOf(() => readYaml('a: 1\nb: 2\na: 3', 'a.yaml'))).toMatchObject({
      line: 3,
      column: 1,
      length: 1,
    });
  });

  test('over 256 KiB is TooLarge, counted in bytes', () => {
    expect(problemOf(() => readYaml('a'.repeat(SIZE + 1), 'a.yaml')).code).toBe('TooLarge');
    expect(problemOf(() => readYaml('é'.repeat(SIZE / 2 + 1), 'a.yaml')).code).toBe('TooLarge');
    expect(readYaml(`# ${'é'.repeat(SIZE / 2 - 1)}`, 'a.yaml').value).toBeNull();
  });

  test('in UTF-16 is no UTF-8', () => {
    const bytes = Uint8Array.from([0xff, 0xfe, 0x61, 0, 0x3a, 0, 0x20, 0, 0x31, 0]);
    expect(problemOf(() => decodeYaml(bytes, 'a.yaml')).message).toBe(
      'The file is not UTF-8 text, which is all that is read.',
    );
  });
});

describe('a hostile text leaves the process alive and is answered at once', () => {
  const fragments = [
    '[',
    '{',
    '- ',
    '? ',
    ': ',
    'a: ',
    '{a: ',
    '[{',
    '- - -\n',
    '? - ',
    'a: - ',
    '"',
    "'",
    '\n',
    ' ',
    '#',
    '|\n',
    '>\n',
    '%',
    '&a ',
    '*a ',
    '! ',
    '---\n',
    '...\n',
    'a:\n',
    'a\n',
    '[],',
    '{},',
    'x,',
    ', ',
    '] ',
    '} ',
    '-\n',
    '? a\n: b\n',
    '"a\n',
    '[]: ',
  ];

  test.each(fragments.map((fragment) => [JSON.stringify(fragment), fragment]))(
    '%s repeated',
    (_, fragment) => {
      for (const start of ['', '[', '{', 'a: [', '- ']) {
        for (const count of [1_000, 6_000, Math.floor((SIZE - 8) / fragment.length)]) {
          const text = start + fragment.repeat(count);
          const startedAt = performance.now();
          tryRead(text);
          expect(performance.now() - startedAt, `${JSON.stringify(start)} and ${count} times`).toBeLessThan(
            DEADLINE_MS,
          );
        }
      }
    },
  );

  test('an indentation that grows with each line is as deep as brackets are', () => {
    const stairs = Array.from({ length: 500 }, (_, depth) => `${' '.repeat(depth)}a:`).join('\n');
    expect(problemOf(() => readYaml(stairs, 'a.yaml')).message).toBe(
      'The text nests deeper than 32 levels here.',
    );
    const list = Array.from({ length: 500 }, (_, depth) => `${' '.repeat(depth)}-`).join('\n');
    expect(problemOf(() => readYaml(list, 'a.yaml')).message).toBe(
      'The text nests deeper than 32 levels here.',
    );
  });

  test('references to references never grow', () => {
    const lines = Array.from(
      { length: 20 },
      (_, level) => `a${level + 1}: &a${level + 1} [${`*a${level},`.repeat(9)}]`,
    );
    expect(problemOf(() => readYaml(['a0: &a0 x', ...lines].join('\n'), 'a.yaml')).message).toBe(
      'Found an anchor, expected plain values.',
    );
  });

  test('ten megabytes are refused unread', () => {
    const startedAt = performance.now();
    expect(problemOf(() => readYaml('a: b\n'.repeat(2_000_000), 'a.yaml')).code).toBe('TooLarge');
    expect(performance.now() - startedAt).toBeLessThan(DEADLINE_MS);
  });

  test('too many words are refused', () => {
    const text = 'a, '.repeat(YAML_TOKENS_MAX);
    expect(problemOf(() => readYaml(`[${text}]`, 'a.yaml')).message).toBe(
      'The text has more than 20000 words and signs.',
    );
  });

  test('no sequence of fragments throws anything but a problem, or gets past the depth', () => {
    const text = fc
      .array(
        fc.tuple(
          fc.constantFrom(...fragments, 'key: value\n', '  ', '\n  - '),
          fc.integer({ min: 1, max: 60 }),
        ),
        { maxLength: 30 },
      )
      .map((parts) => parts.map(([fragment, count]) => fragment.repeat(count)).join(''));
    fc.assert(
      fc.property(text, (one) => {
        const value = tryRead(one);
        expect(depthOf(value)).toBeLessThanOrEqual(33);
        expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
      }),
      { numRuns: 500 },
    );
  });
});

/** The value, or undefined where the text was refused as it should be. */
function tryRead(text: string): unknown {
  try {
    return readYaml(text, 'a.yaml').value;
  } catch (error) {
    expect(error).toMatchObject({ name: 'PlanProblem' });
    return undefined;
  }
}

function depthOf(value: unknown): number {
  if (value === null || typeof value !== 'object') return 0;
  return 1 + Math.max(0, ...Object.values(value).map(depthOf));
}
