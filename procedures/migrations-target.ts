/** What an environment file says of a source of migrations: a folder of SQL files, Alembic, or a program with a probe. */
import { z } from 'zod';
import { ARGUMENT_LENGTH_MAX, argumentsSchema, variablesSchema } from './command-target.ts';
import type { MigrationsTarget } from './environment.ts';
import { DAY_MS, MINUTE_MS, SECOND_MS } from './limits.ts';
import { durationSchema, exact, nameSchema } from './schema.ts';
import { ENV_NAME } from './secret-ref.ts';

const folderSchema = z
  .string()
  .regex(/^\/[^\0]{0,1000}$/, 'an absolute path')
  .refine((path) => path.length <= ARGUMENT_LENGTH_MAX);

/** A table as it is written in SQL, with or without its schema. */
const TABLE = /^[a-z_][a-z0-9_]{0,62}(?:\.[a-z_][a-z0-9_]{0,62})?$/;

const entry = exact({
  kind: z.literal('migrations'),
  folder: folderSchema.exactOptional().describe('A folder of SQL files, NUMBER_NAME.up.sql and .down.sql.'),
  alembic: argumentsSchema.exactOptional().describe('Alembic and its first arguments, -c with its file.'),
  command: exact({
    up: argumentsSchema.describe('Goes up to the revision that comes after its arguments.'),
    down: argumentsSchema.describe('Goes down to the revision that comes after its arguments, or to base.'),
    probe: argumentsSchema
      .exactOptional()
      .describe('Writes { "revision": …, "pending": […] } to standard output.'),
  })
    .exactOptional()
    .describe('A program of your own.'),
  cwd: folderSchema.exactOptional(),
  env: variablesSchema,
  urlIn: z
    .string()
    .regex(ENV_NAME, 'the name of an environment variable')
    .default('DATABASE_URL')
    .describe(
      'The variable in which the program is given the address of the database. Default DATABASE_URL.',
    ),
  urlScheme: z
    .string()
    .regex(/^[a-z][a-z0-9+.-]{0,39}$/, 'how the address begins, as in postgresql+psycopg')
    .default('postgresql')
    .describe('How that address begins. Default postgresql.'),
  state: z
    .array(z.string().regex(TABLE, 'the name of a table, in small letters'))
    .max(10)
    .exactOptional()
    .describe('Tables in which the program keeps where it stands. Default alembic_version for Alembic.'),
  timeout: durationSchema({ ms: SECOND_MS }, { ms: DAY_MS }).default(10 * MINUTE_MS),
  worker: nameSchema.exactOptional(),
});

const SOURCES = ['folder', 'alembic', 'command'] as const;

/** One entry of kind migrations, its defaults filled in. */
export const migrationsTargetSchema = entry
  .superRefine((one, context) => {
    const refuse = (path: (string | number)[], message: string, hint: string) =>
      context.addIssue({ code: 'custom', path, message, params: { hint } });
    const given = SOURCES.filter((key) => one[key] !== undefined);
    if (given.length !== 1) {
      const found = given.length === 0 ? 'none of' : `${given.join(' and ')} of`;
      return refuse(
        [],
        `The source of migrations has ${found} folder, alembic and command, expected one.`,
        'write the one that you have',
      );
    }
    if (one.command !== undefined && one.command.probe === undefined) {
      refuse(
        ['command'],
        'The command has no probe, expected one that says where the database stands: an exit code alone is no evidence (NoProbe).',
        'add  probe: [PROGRAM, …]  that writes {"revision": …, "pending": […]}',
      );
    }
    for (const [path, program] of programsOf(one)) {
      if (program.startsWith('/') || (/^[^/\s]+$/.test(program) && typeof one.env['PATH'] === 'string'))
        continue;
      refuse(
        path,
        `Program '${program.slice(0, 60)}' has no absolute path, and the program gets no PATH but that of its own env.`,
        'write its absolute path, or a bare name with env: { PATH: … }',
      );
    }
  })
  .transform(({ timeout, state, ...one }): MigrationsTarget => {
    const { kind, worker, cwd, env, urlIn, urlScheme, folder, alembic, command } = one;
    const common = { kind, ...(worker === undefined ? {} : { worker }) };
    if (folder !== undefined) return { ...common, source: { is: 'folder', path: folder } };
    const program = { env, urlIn, urlScheme, timeoutMs: timeout, ...(cwd === undefined ? {} : { cwd }) };
    if (alembic !== undefined) {
      return {
        ...common,
        source: { is: 'alembic', argv: alembic, state: state ?? ['alembic_version'], ...program },
      };
    }
    const { up = [], down = [], probe = [] } = command ?? {};
    return { ...common, source: { is: 'command', up, down, probe, state: state ?? [], ...program } };
  });

function programsOf(one: z.output<typeof entry>): [(string | number)[], string][] {
  const lines: [(string | number)[], readonly string[] | undefined][] = [
    [['alembic', 0], one.alembic],
    [['command', 'up', 0], one.command?.up],
    [['command', 'down', 0], one.command?.down],
    [['command', 'probe', 0], one.command?.probe],
  ];
  return lines.flatMap(([path, argv]) => (argv?.[0] === undefined ? [] : [[path, argv[0]]]));
}
