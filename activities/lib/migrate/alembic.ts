/**
 * Alembic: its revisions are a graph, in which branches part and are merged. They are applied one at a time in an order
 * in which each comes after its parents, and the database stands at one revision or, between a branch and its merge, at several.
 */
import type { MigrationsTarget } from '../../../procedures/environment.ts';
import type { Connection } from '../postgres.ts';
import { CUT_MARK, type CommandEnd } from '../run-command.ts';
import { refuse } from './codes.ts';
import { quotedTable } from './judge.ts';
import type { MigrateParams } from './params.ts';
import { BASE, type Program, mustPass } from './program.ts';
import { stateTable } from './program-state.ts';

type AlembicSource = Extract<MigrationsTarget['source'], { is: 'alembic' }>;
type Start = (...args: string[]) => Promise<CommandEnd>;

/** Parents of each revision, the newest first. */
type Graph = ReadonlyMap<string, readonly string[]>;

export function openAlembic(
  alembic: Start,
  params: MigrateParams,
  source: AlembicSource,
  connection: Connection,
): Program {
  /** Its files stay as they are meanwhile, so they are read once. */
  let files: Promise<{ heads: string[]; graph: Graph }> | undefined;
  const read = () => (files ??= readRevisions(alembic, params));
  const parentsOf = async (revision: string): Promise<readonly string[]> =>
    (await read()).graph.get(revision) ?? [];
  const current = () => currentOf(connection, source.state[0] ?? 'alembic_version');
  return {
    async standing() {
      const { heads, graph } = await read();
      const at = await current();
      return {
        revision: at.join(',') || null,
        pending: pendingOf(graph, { at, to: params.to ?? heads[0], name: params.source }),
      };
    },
    where: async () => (await current()).join(',') || null,
    async stateAfter(state, revision) {
      const { graph } = await read();
      const below = ancestorsOf(graph, [revision]);
      return [...(state ?? '').split(',').filter((one) => one !== '' && !below.has(one)), revision]
        .toSorted()
        .join(',');
    },
    ask: () => alembic('current'),
    up: (revision) => alembic('upgrade', revision),
    async down(revision, to) {
      const [parent = BASE] = await parentsOf(revision);
      const at = await current();
      // Beside other heads it must say which of them goes back.
      return await alembic('downgrade', at.length > 1 && to !== null ? `${revision}@${parent}` : parent);
    },
    async sql(direction, revision) {
      const [parent = BASE] = await parentsOf(revision);
      const range = direction === 'upgrade' ? `${parent}:${revision}` : `${revision}:${parent}`;
      const done = await alembic(direction, range, '--sql');
      if (done.end !== 'exit' || done.code !== 0 || done.stdout.startsWith(CUT_MARK)) return undefined;
      return ownPart(done.stdout, direction, revision);
    },
  };
}

/** What stands behind the line that names the revision: before a merge come those of the other branch. */
function ownPart(stdout: string, direction: 'upgrade' | 'downgrade', revision: string): string {
  if (direction === 'downgrade') return stdout;
  const marks = [...stdout.matchAll(/^-- Running upgrade .*?-> (\S+?)\r?$/gm)];
  const own = marks.findLast(([, name]) => name === revision);
  if (own === undefined || marks.length === 1) return stdout;
  const before = stdout.slice(0, own.index);
  const isOpen = before.lastIndexOf('BEGIN;') > before.lastIndexOf('COMMIT;');
  return `${isOpen ? 'BEGIN;\n' : ''}${stdout.slice(own.index)}`;
}

async function readRevisions(alembic: Start, { source, to }: MigrateParams) {
  const heads = linesOf(mustPass(await alembic('heads'), `'${source}' heads`));
  if (heads.length > 1 && to === undefined) {
    refuse(
      'MultipleHeads',
      `'${source}' has ${heads.length} heads (${heads.join(', ')}), expected one; merge them with alembic merge, or name one with to`,
    );
  }
  return { heads, graph: graphOf(mustPass(await alembic('history'), `'${source}' history`)) };
}

/** The first word of each line that a list of revisions has: `ae1027a6acf (head)`. */
function linesOf(stdout: string): string[] {
  return stdout.split('\n').flatMap((line) => /^([\w.-]+)(?:\s|$)/.exec(line)?.[1] ?? []);
}

/** From lines as `1975ea83b712, 0f1e2d3c4b5a -> ae1027a6acf (head) (mergepoint), add genre`. */
function graphOf(stdout: string): Graph {
  const graph = new Map<string, string[]>();
  for (const line of stdout.split('\n')) {
    const [, parents = '', revision] = /^(\S+(?:, \S+)*) -> ([\w.-]+)/.exec(line) ?? [];
    if (revision === undefined) continue;
    graph.set(revision, parents === '<base>' ? [] : parents.split(', '));
  }
  return graph;
}

/** With the revisions themselves. */
function ancestorsOf(graph: Graph, revisions: readonly string[]): Set<string> {
  const found = new Set<string>();
  const left = [...revisions];
  for (let one = left.pop(); one !== undefined; one = left.pop()) {
    if (found.has(one)) continue;
    found.add(one);
    left.push(...(graph.get(one) ?? []));
  }
  return found;
}

/** All below `to` that the database has not, the oldest first. */
function pendingOf(
  graph: Graph,
  { at, to, name }: { at: readonly string[]; to: string | undefined; name: string },
): string[] {
  const wanted = to ?? at.join(',');
  if (at.join(',') === wanted) return [];
  const applied = ancestorsOf(graph, at);
  if (!graph.has(wanted) || applied.has(wanted) || at.some((one) => !graph.has(one))) {
    return refuse(
      'UnknownRevision',
      `'${name}' knows no way from ${at.join(', ') || 'the empty database'} to ${to ?? 'its head'}, expected a revision above the one of the database; correct to, or look at alembic history`,
    );
  }
  const needed = ancestorsOf(graph, [wanted]);
  return [...graph.keys()].filter((one) => needed.has(one) && !applied.has(one)).toReversed();
}

/** The rows of its own table, sorted. None where it is not there yet. */
async function currentOf(connection: Connection, table: string): Promise<string[]> {
  const schema = stateTable(table);
  const [found] = await connection.query('SELECT to_regclass($1) IS NOT NULL', [quotedTable(schema)]);
  if (found?.[0] !== 't') return [];
  const rows = await connection.query(`SELECT version_num FROM ${quotedTable(schema)}`);
  return rows.map(([one]) => one ?? '').toSorted();
}
