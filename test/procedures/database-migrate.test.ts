import { describe, expect, test } from 'vitest';
import { CODES } from '../../activities/lib/migrate/codes.ts';
import { RULES } from '../../activities/lib/migrate/lint.ts';
import { parseEnvironment } from '../../procedures/environment.ts';
import { changed, keep, phase, planSteps, problemOf, shipped } from './support.ts';

const environment = changed((file) => {
  file['targets'] = {
    ...file['targets'],
    files: { kind: 'migrations', folder: '/srv/migrations', worker: 'app-host' },
    alembic: { kind: 'migrations', alembic: ['/srv/venv/bin/alembic'] },
  };
});
const step = (more = '', source = 'files') =>
  `{ id: schema, uses: database.migrate, with: { target: app-postgres, source: ${source}${more} } }`;
const plan = (more = '', source = 'files') => planSteps(step(more, source), { environment });
const filledIn = () =>
  planSteps(step(", canary: 'select $(params.x)'"), {
    environment,
    head: 'params: { x: { type: integer, default: 1 } }\n',
  });
const refused = (more: string, source = 'files') => problemOf(() => plan(more, source)).message;
const target = (entry: string) => () =>
  parseEnvironment(`environment: x\ntargets: { a: { kind: migrations, ${entry} } }`, 'x.yaml').targets['a'];

test('the phases are planned in their order, in the pool that has the files', () => {
  const made = plan();
  expect(made.phases.map(({ id, effect, pool }) => [id, effect, pool])).toEqual([
    ['schema/inspect', 'none', 'app-host'],
    ['schema/apply', 'reversible', 'app-host'],
    ['schema/verify', 'none', 'default'],
  ]);
  expect(phase(made, 'schema/apply').limits).toMatchObject({ resumable: true, tries: 3 });
  expect(made.unverifiable).toEqual([]);
});

test('a way back that may lose something is costly, and below a point of no return there is none', () => {
  expect(phase(plan(', lossyDown: true'), 'schema/apply').effect).toBe('costly');
  const below = planSteps([keep, step()], {
    environment: { ...environment, approvals: { least: { irreversible: { from: { owner: 1 } } } } },
  });
  const apply = phase(below, 'schema/apply');
  expect(apply).toMatchObject({ effect: 'irreversible' });
  expect(apply.undo).toBeUndefined();
  expect(apply.run).toMatchObject({ params: { forGood: true } });
});

test('a backfill is a phase of its own, and nothing is filled into its SQL', () => {
  const made = plan(`, backfill: { table: songs, set: { genre: "'a'" }, where: genre IS NULL, maxLag: 2s }`);
  expect(made.phases.map(({ id }) => id)).toContain('schema/backfill');
  expect(phase(made, 'schema/backfill').run).toMatchObject({
    params: {
      backfill: {
        set: { genre: "'a'" },
        pageRows: 1_000,
        pageTimeMs: 500,
        maxLagMs: 2_000,
        maxBlocked: 5,
      },
    },
  });
  expect(problemOf(filledIn).message).toBe(
    '$( stands in canary, expected a text in which nothing is filled in.',
  );
});

test('the rows of a database in use are not compared, unless another step fills it', () => {
  const call = (made: ReturnType<typeof plan>) =>
    made.fingerprints.find((one) => one.target === 'app-postgres')?.call.params;
  expect(call(plan())).toEqual({ target: 'app-postgres', rows: false });
  const both = planSteps(
    [
      step(),
      '{ id: data, uses: database.import, with: { source: app-sqlite, target: app-postgres, switch: app-database-mode } }',
    ],
    { environment },
  );
  expect(call(both)).toEqual({ target: 'app-postgres' });
});

describe('a step is refused', () => {
  test('where its targets are of other kinds', () => {
    expect(refused('', 'app')).toBe(
      "Target 'app' is of kind http, expected one of kind migrations: app-migrations, files or alembic.",
    );
  });
  test('where a program is given a baseline', () => {
    expect(refused(", baseline: '3'", 'alembic')).toBe(
      "The source 'alembic' is no folder, so it keeps where it stands by itself and takes no baseline.",
    );
  });
  test('where the canary is no select', () => {
    expect(refused(', canary: delete from songs')).toBe(
      'The query is no select, expected one that begins with select, with, values or table.',
    );
  });
});

describe('a source of migrations', () => {
  test('is one of three', () => {
    expect(problemOf(target('worker: here')).message).toBe(
      'The source of migrations has none of folder, alembic and command, expected one.',
    );
    expect(problemOf(target('folder: /srv/a, alembic: [/bin/alembic]')).message).toBe(
      'The source of migrations has folder and alembic of folder, alembic and command, expected one.',
    );
  });
  test('has a probe where it is a command', () => {
    expect(problemOf(target('command: { up: [/bin/up], down: [/bin/down] }')).message).toBe(
      'The command has no probe, expected one that says where the database stands: an exit code alone is no evidence (NoProbe).',
    );
  });
  test('names its programs by their places', () => {
    expect(problemOf(target('alembic: [alembic]')).message).toBe(
      "Program 'alembic' has no absolute path, and the program gets no PATH but that of its own env.",
    );
  });
  test('has its defaults', () => {
    expect(target('alembic: [/srv/venv/bin/alembic, -c, /srv/alembic.ini]')()).toEqual({
      kind: 'migrations',
      source: {
        is: 'alembic',
        argv: ['/srv/venv/bin/alembic', '-c', '/srv/alembic.ini'],
        state: ['alembic_version'],
        env: {},
        urlIn: 'DATABASE_URL',
        urlScheme: 'postgresql',
        timeoutMs: 600_000,
      },
    });
  });
});

const names = (text: string) =>
  [...text.matchAll(/`([A-Z][A-Za-z0-9]+)`/g)].map(([, name = '']) => name).sort();

test('the page names every error and every rule, and no others', () => {
  const page = shipped('docs/procedures/database-migrate.md').split('## Errors')[1] ?? '';
  const [errors = '', rules = ''] = page.split('Findings of level error');
  expect(names(errors)).toEqual([...Object.keys(CODES), 'NoProbe'].sort());
  expect(names(rules)).toEqual(Object.keys(RULES).sort());
});
