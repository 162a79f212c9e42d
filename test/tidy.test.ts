/**
 * The part of the house style that a machine can hold. Each rule says what to do instead; a finding is `FILE:LINE what`.
 */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { PROCEDURE_NAMES } from '../procedures/index.ts';

const ROOT = fileURLToPath(new URL('../', import.meta.url));
const LEFT_OUT = new Set(['node_modules', '.git', '.countdown', 'coverage']);

type Source = { path: string; text: string };

const files = walk('');
const sources: Source[] = files
  .filter((path) => /\.(m?ts|mjs)$/.test(path) && !path.endsWith('.d.mts'))
  .map((path) => ({ path, text: read(path) }));
const code = sources.filter(({ path }) => !path.startsWith('test/'));

function walk(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true })
    .filter((entry) => !LEFT_OUT.has(entry.name))
    .flatMap((entry) => {
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
      return entry.isDirectory() ? walk(path) : entry.isFile() ? [path] : [];
    });
}

function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

/** Every line that the pattern finds, as `FILE:LINE text`. */
function find(where: readonly Source[], pattern: RegExp, except = (_line: string, _before: string) => false) {
  return where.flatMap(({ path, text }) => {
    const lines = text.split('\n');
    return lines.flatMap((line, index) =>
      pattern.test(line) && !except(line, lines[index - 1] ?? '')
        ? [`${path}:${index + 1} ${line.trim().slice(0, 100)}`]
        : [],
    );
  });
}

function expectNone(found: readonly string[], instead: string): void {
  expect(found, instead).toEqual([]);
}

type Import = { path: string; from: string; isTypeOnly: boolean };

/** All that a file imports or passes on, static and dynamic; a relative path is resolved from the project's folder. */
function importsOf({ path, text }: Source): Import[] {
  const statics = text.matchAll(/^(?:import|export)\s+(type\s+)?([^'";]*?)\s*from\s+'([^']+)'/gm);
  const bare = text.matchAll(/(?:^import\s+|\bimport\()'([^']+)'/gm);
  return [
    ...[...statics].map(([, type, names = '', from = '']) => ({
      path,
      from: resolved(path, from),
      isTypeOnly: type !== undefined || isAllTypes(names),
    })),
    ...[...bare].map(([, from = '']) => ({ path, from: resolved(path, from), isTypeOnly: false })),
  ];
}

/** The findings of one made-up file. */
function crossing(path: string, text: string): string[] {
  return borderFindings([{ path, text }]);
}

function isAllTypes(names: string): boolean {
  const list = /^\{([\s\S]*)\}$/.exec(names.trim())?.[1];
  if (list === undefined) return false;
  return list
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '')
    .every((name) => name.startsWith('type '));
}

function resolved(path: string, from: string): string {
  return from.startsWith('.') ? new URL(from, `file:///${path}`).pathname.slice(1) : from;
}

/**
 * What a folder may import at run time, besides itself. `types` may be imported as types only. A name that ends in `/` is
 * a folder, another one with a dot is a file, anything else a package.
 */
const BORDERS: Record<string, { values: string[]; types: string[] }> = {
  'procedures/': { values: ['zod', 'yaml'], types: [] },
  'workflows/': {
    values: [
      '@temporalio/workflow',
      'procedures/states.ts',
      'procedures/limits.ts',
      'procedures/errors.ts',
      // Two pure functions without an import: isWait and fingerprintPhase.
      'procedures/plan.ts',
      // How votes are counted, without an import.
      'procedures/votes.ts',
    ],
    types: ['procedures/', 'activities/'],
  },
  'activities/': {
    // The interceptor recounts with the workflow's own function, which is pure.
    values: ['node:', '*', 'procedures/', 'store/', 'workflows/approvals.ts', 'workflows/state.ts'],
    types: ['workflows/'],
  },
  'store/': { values: ['node:', 'pg', 'canonicalize', 'procedures/'], types: ['workflows/', 'zod'] },
  // Composes the process, Slack among its parts.
  'api/server.ts': {
    values: ['node:', '*', 'api/', 'procedures/', 'store/', 'workflows/', 'slack/'],
    types: [],
  },
  'api/config.ts': { values: ['node:', '*', 'api/', 'procedures/', 'store/'], types: ['slack/'] },
  'slack/': { values: ['node:', '*', 'procedures/', 'store/', 'workflows/', 'api/'], types: [] },
  'api/': { values: ['node:', '*', 'procedures/', 'store/', 'workflows/'], types: [] },
  // Checks files without the API, so it reads the language itself (decision 5).
  'cli/commands/lint.ts': { values: ['node:', 'cli/', 'procedures/'], types: [] },
  'cli/': { values: ['node:'], types: ['procedures/'] },
  'examples/': { values: ['node:', '*'], types: [] },
};

function isAllowed(from: string, allowed: readonly string[]): boolean {
  const isPackage = !/\.(m?ts|mjs|js|json)$/.test(from);
  return allowed.some(
    (one) =>
      from === one ||
      (one === '*' && isPackage && !from.startsWith('node:')) ||
      ((one.endsWith('/') || one === 'node:') && from.startsWith(one)),
  );
}

function borderFindings(where: readonly Source[]): string[] {
  return where.flatMap((source) => {
    const folder = Object.keys(BORDERS).find((name) => source.path.startsWith(name));
    const border = folder === undefined ? undefined : BORDERS[folder];
    if (folder === undefined || border === undefined) return [];
    return importsOf(source)
      .filter(
        ({ from, isTypeOnly }) =>
          !from.startsWith(folder) &&
          !isAllowed(from, border.values) &&
          !(isTypeOnly && isAllowed(from, border.types)),
      )
      .map(({ path, from, isTypeOnly }) => `${path} imports ${isTypeOnly ? 'types of ' : ''}${from}`);
  });
}

describe('imports', () => {
  test('run one way', () => {
    expectNone(
      borderFindings(code),
      'Imports run one way (ARCHITECTURE.md). Hand in what is needed as a dependency, import a type only, or move the code to the side that may know it.',
    );
  });

  test('that would cross a border are seen, however they are written', () => {
    expect(crossing('workflows/x.ts', "import { a } from '../activities/x.ts';")).toHaveLength(1);
    expect(crossing('workflows/x.ts', "import { type A, b } from '../activities/x.ts';")).toHaveLength(1);
    expect(
      crossing('workflows/x.ts', "import {\n  type A,\n  type B,\n} from '../activities/x.ts';"),
    ).toEqual([]);
    expect(crossing('workflows/x.ts', "const x = await import('node:fs');")).toHaveLength(1);
    expect(crossing('procedures/x.ts', "export { a } from '../store/x.ts';")).toHaveLength(1);
    expect(crossing('procedures/x.ts', "import 'node:fs';")).toHaveLength(1);
    expect(crossing('cli/x.ts', "import { a } from '../procedures/states.ts';")).toHaveLength(1);
    expect(crossing('cli/commands/lint.ts', "import { a } from '../../procedures/compile.ts';")).toEqual([]);
    expect(crossing('cli/commands/lint.ts', "import { a } from '../../store/digest.ts';")).toHaveLength(1);
  });

  test('of the core know no Temporal, and it knows no clock and no chance', () => {
    const names = ['approvals', 'clocks', 'core', 'decide', 'forward', 'gates', 'judge', 'state', 'unwind'];
    const core = names.map((name) => {
      const path = `workflows/${name}.ts`;
      return { path, text: read(path) };
    });
    expectNone(
      [
        ...core
          .flatMap(importsOf)
          .flatMap(({ path, from }) => (from.startsWith('@temporalio') ? [`${path} imports ${from}`] : [])),
        ...find(core, /Date\.now\(|new Date\(\)|Math\.random\(|performance\.|setTimeout\(/),
      ],
      'The core is pure: it takes `now` as a number and says what it wants; the shell (launch.ts, perform.ts) does it.',
    );
  });
});

describe('workflows/index.ts', () => {
  test('exports workflows and nothing else, since every export is a workflow type', () => {
    const exports = [...read('workflows/index.ts').matchAll(/^export\s+(.*)$/gm)].map(([, what]) => what);
    expect(exports, 'Add a workflow here and to this list; everything else stays in its own file.').toEqual([
      "{ launch } from './launch.ts';",
    ]);
  });
});

/** Kind `database.import` has files `database-import`. */
function fileOf(kind: string): string {
  return kind.replaceAll('.', '-');
}

describe('a kind of step', () => {
  const KINDS_OF_CORE = ['approval', 'wait', 'point-of-no-return', 'manual'];
  const acting = PROCEDURE_NAMES.filter((kind) => !KINDS_OF_CORE.includes(kind));

  test('has one name in four places', () => {
    const wanted = [
      ...PROCEDURE_NAMES.flatMap((kind) => [
        `procedures/${fileOf(kind)}.ts`,
        `docs/procedures/${fileOf(kind)}.md`,
      ]),
      ...acting.flatMap((kind) => [
        `activities/${fileOf(kind)}.ts`,
        `test/activities/${fileOf(kind)}.test.ts`,
      ]),
    ];
    expectNone(
      wanted.filter((path) => !existsSync(join(ROOT, path))),
      'Kind database.import ↔ procedures/, activities/, test/activities/, docs/procedures/ database-import. Write the file that is missing.',
    );
  });

  test('is in the table of the activities where it acts, and not where the core waits', () => {
    const [, rows = ''] = /^const KINDS = \{\n([\s\S]*?)^\}/m.exec(read('activities/index.ts')) ?? [];
    // A kind of one word needs no quotes.
    const table = [...rows.matchAll(/^ {2}'?([a-z]+(?:\.[a-z]+)?)'?[:,]/gm)].map(([, kind]) => kind);
    expect(new Set(table), 'Add the kind to KINDS in activities/index.ts, or to KINDS_OF_CORE here.').toEqual(
      new Set(acting),
    );
  });

  test('has no page without a procedure', () => {
    const folder = join(ROOT, 'docs/procedures');
    const pages = existsSync(folder) ? readdirSync(folder).filter((name) => name !== 'README.md') : [];
    const known = new Set(PROCEDURE_NAMES.map((kind) => `${fileOf(kind)}.md`));
    expectNone(
      pages.filter((page) => !known.has(page)),
      'A page describes a kind that there is. Take it away, or add the kind to procedures/index.ts.',
    );
  });
});

describe('code', () => {
  test('writes to no console where a process has a log', () => {
    expectNone(
      find(
        sources.filter(({ path }) => !/^(cli|scripts|bench|examples)\//.test(path)),
        /\bconsole\.\w+\(/,
      ),
      'Take the log that is handed in (pino); a test asserts instead of printing.',
    );
  });

  test('reads settings in the composition roots alone', () => {
    const roots = /^(worker\.ts|api\/server\.ts|cli\/countdown\.ts|(scripts|bench|examples|test)\/)|^vitest/;
    expectNone(
      find(
        sources.filter(({ path }) => !roots.test(path)),
        /\bprocess\.env\b/,
      ),
      'Read the variable in worker.ts, api/server.ts or cli/countdown.ts and hand the value in.',
    );
  });

  test('leaves no work for later in a comment', () => {
    // Letters in brackets, so that this line does not find itself.
    const words = /\b(TO[D]O|FIX[M]E|XX[X]|HA[C]K)\b/;
    expectNone(
      find([...sources, ...texts(/\.(sql|md|ya?ml)$/)], words),
      'Do it now, or write down what is missing in docs/laws.md or the README.',
    );
  });

  test('switches a rule off only with a reason', () => {
    expectNone(
      find(sources, /(oxlint|eslint)-disable|@ts-(ignore|expect-error|nocheck)/, (line) =>
        / -- \S|@ts-expect-error \S/.test(line),
      ),
      'Write why on the same line:  // oxlint-disable-next-line RULE -- because',
    );
  });
});

describe('tests', () => {
  const tests = sources.filter(({ path }) => path.endsWith('.test.ts') && path !== 'test/tidy.test.ts');

  test('are all run, and one that is left out says why', () => {
    expectNone(
      find(tests, /\b(test|it|describe)\.(only|todo)\b/),
      'Take it away: it would leave the others, or nothing, to be run.',
    );
    expectNone(
      find(
        tests,
        /\b(test|it|describe)\.(skip|skipIf|runIf)\b/,
        (line, before) => line.includes('COUNTDOWN_TEST_DEEP') || before.trim().startsWith('//'),
      ),
      'Write a comment on the line above: why it is left out, and what brings it back (COUNTDOWN_TEST_DEEP says it itself).',
    );
  });

  test('have names that stand once in their file', () => {
    const doubled = tests.flatMap(({ path, text }) => {
      const names = [...text.matchAll(/^\s*(?:test|it)(?:\.\w+)?\(\s*(['"])(.+?)\1/gm)].map(
        ([, , name]) => name,
      );
      return names.filter((name, index) => names.indexOf(name) < index).map((name) => `${path} '${name}'`);
    });
    expectNone(doubled, 'Say in the name what is different about the second one.');
  });
});

describe('files', () => {
  test('have kebab-case names', () => {
    const kebab = /^[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9]+(-[a-z0-9]+)*)+$/;
    const written = new Set([
      'README.md',
      'ARCHITECTURE.md',
      'CONTRIBUTING.md',
      'CHANGELOG.md',
      'Dockerfile',
      '.gitignore',
      '.npmrc',
      '.dockerignore',
      '.oxfmtrc.json',
      '.oxlintrc.json',
    ]);
    expectNone(
      files.filter(
        (path) => !written.has(basename(path)) && !kebab.test(basename(path)) && path !== '.ci/run',
      ),
      'Name it in kebab-case, as its main export: around-phase.ts.',
    );
  });

  test('name no folder of somebody’s machine', () => {
    const found = find(
      [...sources, ...texts(/\.(sql|md|ya?ml|json)$/), ...texts(/^(Dockerfile|\.npmrc|\.ci\/run)$/)],
      /(^|[\s'"`(=])\/(home|root|Users|work)\/\w/,
    );
    expectNone(
      found,
      'Make the path from import.meta.url or a setting; examples use /srv, /var/lib or /run.',
    );
  });

  test('name no registry that packages came from', () => {
    expectNone(
      find(
        texts(/^(package-lock\.json|\.npmrc|package\.json)$/),
        /"resolved"|registry\s*=|https?:\/\/[^"\s]*registry/,
      ),
      'Keep omit-lockfile-registry-resolved=true in .npmrc and make the lock file anew.',
    );
  });
});

function texts(name: RegExp): Source[] {
  return files.filter((path) => name.test(path)).map((path) => ({ path, text: read(path) }));
}
