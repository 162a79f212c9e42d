/** Alembic in a team: branches and merges, a file that somebody edits, a project as `alembic init` leaves it, others who migrate. */
import { execFile } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { REVISIONS, type Revision, makeAlembic } from '../support/alembic.ts';
import { SONGS, makeMigrateWorld } from '../support/migrate-world.ts';
import type { MigrateWorldOptions } from '../support/migrate-world.ts';
import { failureOf, makeTestFolder } from '../support/phase-context.ts';

const TEST_MS = 300_000;
const run = promisify(execFile);

async function makeWorld(revisions: readonly Revision[], options: MigrateWorldOptions = {}) {
  const folder = await makeTestFolder();
  const app = join(folder.path, 'app');
  const source = await makeAlembic(app, revisions);
  const params = { lossyDown: true, ...options.params };
  const world = await makeMigrateWorld({ sql: SONGS, source, ...options, params });
  const url = world.url
    .replace('postgres:', 'postgresql+psycopg:')
    .replace('postgresql:', 'postgresql+psycopg:');
  return Object.assign(world, {
    app,
    source,
    /** As somebody does it by hand. */
    alembic: async (...args: string[]) =>
      (
        await run(source.argv[0]!, [...source.argv.slice(1), ...args], {
          cwd: app,
          env: { DATABASE_URL: url },
        })
      ).stdout,
    heads: async () =>
      (await world.ask('SELECT version_num FROM alembic_version ORDER BY 1')).map(
        (row) => row['version_num'],
      ),
  });
}

const table = (revision: string, down: Revision['down'], more: Partial<Revision> = {}): Revision => ({
  revision,
  down,
  up: [`op.execute("CREATE TABLE t_${revision} (id bigint)")`],
  back: [`op.execute("DROP TABLE t_${revision}")`],
  ...more,
});

/** Two people began at the same revision; one of them is in production, and somebody merged. */
const MERGED = [
  table('base1', null),
  table('mine1', 'base1'),
  table('yours1', 'base1', { label: 'yours' }),
  table('merged', ['mine1', 'yours1']),
  table('last', 'merged'),
];

test(
  'a branch that was merged is applied where the other one stands, and taken back to it',
  async () => {
    await using world = await makeWorld(MERGED);
    await world.alembic('upgrade', 'mine1');
    const before = await world.print();
    expect(await world.run('inspect')).toMatchObject({
      verdict: 'pass',
      output: { pending: ['yours1', 'merged', 'last'], revisionBefore: 'mine1', revision: 'last' },
    });
    expect(await world.print()).toEqual(before);
    expect(await world.run('apply')).toMatchObject({ verdict: 'pass', output: { applied: 3 } });
    expect(await world.heads()).toEqual(['last']);
    expect((await world.probe('apply')).answer).toBe('yes');
    expect(await world.run('verify')).toMatchObject({ verdict: 'pass' });
    await world.undo('apply');
    expect(await world.heads()).toEqual(['mine1']);
    expect(await world.print()).toEqual(before);
  },
  TEST_MS,
);

test(
  'a database that stands at two revisions is brought to their merge, and back to both',
  async () => {
    await using world = await makeWorld(MERGED, { params: { to: 'merged' } });
    await world.alembic('upgrade', 'mine1');
    await world.alembic('upgrade', 'yours1');
    expect(await world.run('inspect')).toMatchObject({
      output: { pending: ['merged'], revisionBefore: 'mine1,yours1' },
    });
    await world.run('apply');
    expect(await world.heads()).toEqual(['merged']);
    await world.undo('apply');
    expect(await world.heads()).toEqual(['mine1', 'yours1']);
  },
  TEST_MS,
);

/** Two branches with roots of their own, as two packages of one application have them; the second needs the first. */
const TWO_ROOTS = [
  table('aa_orders', 'zz_orders'),
  table('mm_bills', 'bb_bills', { needs: ['aa_orders'] }),
  table('bb_bills', null, { label: 'bills', needs: ['shop'] }),
  table('zz_orders', null, { label: 'shop' }),
];

test(
  'branches with roots of their own are applied in the order in which they depend on each other, and taken back to where they were',
  async () => {
    await using world = await makeWorld(TWO_ROOTS);
    await world.alembic('upgrade', 'zz_orders');
    const before = await world.print();
    expect(await world.run('inspect')).toMatchObject({
      verdict: 'pass',
      output: { revisionBefore: 'zz_orders', revision: 'mm_bills' },
    });
    expect(world.outputs['schema/inspect']?.['pending']).toHaveLength(3);
    expect(await world.run('apply')).toMatchObject({ verdict: 'pass', output: { applied: 3 } });
    expect(await world.heads()).toEqual(['mm_bills']);
    expect(await world.run('verify')).toMatchObject({ verdict: 'pass' });
    await world.undo('apply');
    expect(await world.heads()).toEqual(['zz_orders']);
    expect(await world.print()).toEqual(before);
  },
  TEST_MS,
);

test(
  'it goes to what Alembic itself would understand: a label, the beginning of a revision, all heads',
  async () => {
    const revisions = [
      table('base1', null),
      table('mine1', 'base1'),
      table('yours1', 'base1', { label: 'yours' }),
    ];
    await using world = await makeWorld(revisions, { params: { to: 'yours@head' } });
    const pending = async (to: string): Promise<unknown> => {
      world.params.to = to;
      return (await world.run('inspect')).output?.['pending'];
    };
    expect((await failureOf(pending('nobody@head'))).message).toBe(
      "'files' has no revision for nobody@head, expected one; correct to, or look at alembic history (UnknownRevision).",
    );
    expect(await pending('yours@head')).toEqual(['base1', 'yours1']);
    await world.alembic('upgrade', 'mine1');
    expect(await pending('min')).toEqual([]);
    expect(await pending('heads')).toEqual(['yours1']);
    await world.run('apply');
    expect(await world.heads()).toEqual(['mine1', 'yours1']);
    expect(await world.run('verify')).toMatchObject({ verdict: 'pass' });
    await world.undo('apply');
    expect(await world.heads()).toEqual(['mine1']);
  },
  TEST_MS,
);

test(
  'a revision that was edited after it was tried is refused',
  async () => {
    await using world = await makeWorld(REVISIONS.slice(0, 1));
    await world.run('inspect');
    const file = join(world.app, 'alembic', 'versions', 'a1b2c3d4e5f6.py');
    const text = await readFile(file, 'utf8');
    const before = await world.print();
    await writeFile(file, text.replace('sa.Text()', 'sa.Integer()'));
    expect((await failureOf(world.run('apply'))).message).toMatch(
      /^The upgrade of a1b2c3d4e5f6 has sha256 [0-9a-f]{12}, expected [0-9a-f]{12}, with which it was tried and approved; put it back, or plan again \(ScriptsDrift\)\.$/,
    );
    await writeFile(
      file,
      text.replace('op.drop_column("songs", "genre")', 'op.drop_column("songs", "title")'),
    );
    expect((await failureOf(world.run('apply'))).message).toMatch(
      /^The downgrade of a1b2c3d4e5f6 has .*\(ScriptsDrift\)\.$/,
    );
    expect(await world.print()).toEqual(before);
  },
  TEST_MS,
);

test(
  'a project as alembic init leaves it migrates no other database than the one that it is given',
  async () => {
    await using other = await makeMigrateWorld();
    await using world = await makeWorld([]);
    const [program = ''] = world.source.argv;
    const fresh = join(world.app, 'fresh');
    await run(program, ['init', fresh], { cwd: world.app });
    const ini = join(world.app, 'alembic.ini');
    const made = await run(program, ['-c', join(world.app, 'fresh.ini'), 'init', join(world.app, 'fresh2')], {
      cwd: world.app,
    }).then(
      () => join(world.app, 'fresh.ini'),
      () => ini,
    );
    const text = await readFile(made, 'utf8');
    const address = other.url.replace(/^postgres(?:ql)?:/, 'postgresql+psycopg:');
    await writeFile(made, text.replace(/^sqlalchemy\.url = .*$/m, `sqlalchemy.url = ${address}`));
    await run(program, ['-c', made, 'revision', '-m', 'first'], { cwd: world.app });
    const source = { ...world.source, argv: [program, '-c', made] };
    const context = () =>
      world.context({ targets: { ...world.targets, files: { kind: 'migrations', source } } });
    expect((await failureOf(world.run('inspect', context()))).message).toBe(
      `'files' had an answer while the scratch clone took no session, so it asks another database than the one in DATABASE_URL, expected that one; write  url = os.environ["DATABASE_URL"]  in env.py, which by itself reads alembic.ini (OtherDatabase).`,
    );
    expect(await other.ask(`SELECT to_regclass('alembic_version') AS found`)).toEqual([{ found: null }]);
    // Untouched, its address is no address at all.
    await writeFile(made, text);
    expect((await failureOf(world.run('inspect', context()))).message).toMatch(
      /^'files', asked with the address in DATABASE_URL, ended with exit 1, expected exit 0: .*driver.*\(ProgramFails\)\.$/,
    );
  },
  TEST_MS,
);

test(
  'a revision that fails half-way changes nothing, and one that somebody else applied meanwhile is told',
  async () => {
    const half: Revision = {
      revision: 'half1',
      down: null,
      up: [
        `op.execute("CREATE TABLE boxes (id bigint)")`,
        `op.execute("CREATE UNIQUE INDEX once ON songs (seconds)")`,
      ],
      back: [`op.execute("DROP INDEX once")`, `op.execute("DROP TABLE boxes")`],
    };
    const allow = [{ rule: 'IndexNotConcurrent', because: 'it is small' }];
    await using world = await makeWorld([half], { params: { allow } });
    const before = await world.print();
    await world.run('inspect');
    expect((await failureOf(world.run('apply'))).message).toMatch(
      /^'files' to half1 ended with exit 1, and the database stands at its beginning, expected half1: .*could not create unique index.*\(StatementFails\)\.$/,
    );
    await world.undo('apply');
    expect(await world.print()).toEqual(before);

    await using raced = await makeWorld([table('one1', null), table('two2', 'one1')], {
      params: { to: 'one1' },
    });
    await raced.run('inspect');
    await raced.alembic('upgrade', 'head');
    expect((await failureOf(raced.run('apply'))).message).toBe(
      "'db' stands at two2, expected its beginning or a revision of the plan; somebody else migrated it; plan again (StructureDrift).",
    );
    expect(await raced.undo('apply')).toMatchObject({
      verdict: 'pass',
      summary: 'there was no migration to take back',
    });
    expect(await raced.heads()).toEqual(['two2']);
  },
  TEST_MS,
);
