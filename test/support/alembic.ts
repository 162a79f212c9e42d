/** A project as `alembic init` makes it: alembic.ini, env.py that reads the address from DATABASE_URL, and revisions. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { findAlembic } from '../../scripts/lib/alembic.ts';
import type { MigrationsTarget } from '../../procedures/environment.ts';

const INI = `[alembic]
script_location = %(here)s/alembic
[loggers]
keys = root
[handlers]
keys = console
[formatters]
keys = generic
[logger_root]
level = WARNING
handlers = console
[handler_console]
class = StreamHandler
args = (sys.stderr,)
level = NOTSET
formatter = generic
[formatter_generic]
format = %(levelname)s [%(name)s] %(message)s
`;

const ENV = `import os
from alembic import context
from sqlalchemy import create_engine, pool

url = os.environ["DATABASE_URL"]
if context.is_offline_mode():
    context.configure(url=url, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    with create_engine(url, poolclass=pool.NullPool).connect() as connection:
        context.configure(connection=connection, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()
`;

const MAKO = 'unused\n';

/** What a revision does, as lines of Python. */
export type Revision = {
  revision: string;
  /** Several for a merge. */
  down: string | string[] | null;
  label?: string;
  /** Revisions or labels of other branches. */
  needs?: string[];
  up: string[];
  back: string[];
};

const python = ({ revision, down, label, needs = [], up, back }: Revision): string => `"""${revision}"""
from alembic import op
import sqlalchemy as sa

revision = "${revision}"
down_revision = ${down === null ? 'None' : Array.isArray(down) ? `(${down.map((one) => `"${one}"`).join(', ')})` : `"${down}"`}
branch_labels = ${label === undefined ? 'None' : `("${label}",)`}
depends_on = ${needs.length === 0 ? 'None' : `(${needs.map((one) => `"${one}"`).join(', ')},)`}

def upgrade():
${up.map((line) => `    ${line}`).join('\n')}

def downgrade():
${back.map((line) => `    ${line}`).join('\n')}
`;

/** Writes the project into the folder, and gives the entry of the environment file for it. */
export async function makeAlembic(
  folder: string,
  revisions: readonly Revision[],
): Promise<Extract<MigrationsTarget['source'], { is: 'alembic' }>> {
  const program = await findAlembic((line) => process.stderr.write(`${line}\n`));
  const versions = join(folder, 'alembic', 'versions');
  await mkdir(versions, { recursive: true });
  await writeFile(join(folder, 'alembic.ini'), INI);
  await writeFile(join(folder, 'alembic', 'env.py'), ENV);
  await writeFile(join(folder, 'alembic', 'script.py.mako'), MAKO);
  for (const one of revisions) await writeFile(join(versions, `${one.revision}.py`), python(one));
  return {
    is: 'alembic',
    argv: [program, '-c', join(folder, 'alembic.ini')],
    cwd: folder,
    env: { PYTHONDONTWRITEBYTECODE: '1' },
    urlIn: 'DATABASE_URL',
    urlScheme: 'postgresql+psycopg',
    state: ['alembic_version'],
    timeoutMs: 60_000,
  };
}

/** A column, an index without a lock, and a table. */
export const REVISIONS: Revision[] = [
  {
    revision: 'a1b2c3d4e5f6',
    down: null,
    up: [`op.add_column("songs", sa.Column("genre", sa.Text()))`],
    back: [`op.drop_column("songs", "genre")`],
  },
  {
    revision: 'b2c3d4e5f6a1',
    down: 'a1b2c3d4e5f6',
    up: [
      'with op.get_context().autocommit_block():',
      `    op.create_index("songs_title", "songs", ["title"], postgresql_concurrently=True)`,
    ],
    back: [
      'with op.get_context().autocommit_block():',
      `    op.drop_index("songs_title", table_name="songs", postgresql_concurrently=True)`,
    ],
  },
  {
    revision: 'c3d4e5f6a1b2',
    down: 'b2c3d4e5f6a1',
    up: [
      `op.create_table("lists", sa.Column("id", sa.BigInteger(), sa.Identity(), primary_key=True), sa.Column("name", sa.Text()))`,
    ],
    back: [`op.drop_table("lists")`],
  },
];
