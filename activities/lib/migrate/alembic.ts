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
import { BASE, type Program, assertEnded, mustPass } from './program.ts';
import { stateTable } from './program-state.ts';

type AlembicSource = Extract<MigrationsTarget['source'], { is: 'alembic' }>;
type Start = (...args: string[]) => Promise<CommandEnd>;

/** What must be applied before a revision: its parents, and others that it depends on. */
type Below = { parents: string[]; needs: string[] };
/** The newest first. */
type Graph = ReadonlyMap<string, Below>;

/** What Alembic calls all the heads that there are. */
const HEADS = 'heads';

export function openAlembic(
  alembic: Start,
  params: MigrateParams,
  source: AlembicSource,
  connection: Connection,
): Program {
  /** Its files stay as they are meanwhile, so they are read once. */
  let files: ReturnType<typeof readRevisions> | undefined;
  const read = () => (files ??= readRevisions(alembic, params));
  const belowOf = async (revision: string): Promise<Below> =>
    (await read()).graph.get(revision) ?? { parents: [], needs: [] };
  const current = () => currentOf(connection, source.state[0] ?? 'alembic_version');
  return {
    async standing() {
      const { wanted, graph } = await read();
      const at = await current();
      return { revision: at.join(',') || null, pending: pendingOf(graph, { at, wanted, params }) };
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
      const { parents, needs } = await belowOf(revision);
      const [parent = BASE] = parents;
      // Beside other heads, or above another root, it must say which of them goes back.
      const others = needs.length > 0 || (await current()).length > 1;
      return await alembic('downgrade', others && to !== null ? `${revision}@${parent}` : parent);
    },
    async sql(direction, revision) {
      const [parent = BASE] = (await belowOf(revision)).parents;
      const range = direction === 'upgrade' ? `${parent}:${revision}` : `${revision}:${parent}`;
      const done = assertEnded(
        await alembic(direction, range, '--sql'),
        `'${params.source}' ${direction} --sql`,
      );
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

/** The revisions to which it goes, and all that there are. */
async function readRevisions(
  alembic: Start,
  { source, to }: MigrateParams,
): Promise<{ wanted: string[]; graph: Graph }> {
  const graph = graphOf(mustPass(await alembic('history', '--verbose'), `'${source}' history`));
  for (const below of graph.values()) {
    const needs: string[] = [];
    // A revision may depend on the label of a branch.
    for (const name of below.needs)
      needs.push(...(graph.has(name) ? [name] : await resolve(alembic, source, name)));
    below.needs = needs;
  }
  if (to !== undefined && graph.has(to)) return { wanted: [to], graph };
  if (to !== undefined && to !== HEADS) return { wanted: await resolve(alembic, source, to), graph };
  // Those that another one depends on are no heads any more for the database.
  const heads = linesOf(mustPass(await alembic('heads', '--resolve-dependencies'), `'${source}' heads`));
  if (heads.length > 1 && to === undefined) {
    refuse(
      'MultipleHeads',
      `'${source}' has ${heads.length} heads (${heads.join(', ')}), expected one; merge them with alembic merge, or name one with to, or write to: heads`,
    );
  }
  return { wanted: heads, graph };
}

/** A name as Alembic itself reads it: the beginning of a revision, `head`, the label of a branch with `@head`. */
async function resolve(alembic: Start, source: string, to: string): Promise<string[]> {
  const done = assertEnded(await alembic('show', to), `'${source}' show ${to}`);
  const found = done.end === 'exit' && done.code === 0 ? [...graphOf(done.stdout).keys()] : [];
  if (found.length === 1) return found;
  return refuse(
    'UnknownRevision',
    `'${source}' has ${found.length === 0 ? 'no revision' : `${found.length} revisions`} for ${to}, expected one; correct to, or look at alembic history`,
  );
}

/** The first word of each line that a list of revisions has: `ae1027a6acf (head)`. */
function linesOf(stdout: string): string[] {
  return stdout.split('\n').flatMap((line) => /^([\w.-]+)(?:\s|$)/.exec(line)?.[1] ?? []);
}

/** From entries that begin `Rev: ae1027a6acf (head)`, with lines `Parent: 1975ea83b712` and `Also depends on: …` under it. */
function graphOf(stdout: string): Graph {
  const graph = new Map<string, Below>();
  let last: Below | undefined;
  for (const line of stdout.split('\n')) {
    const [, word, names = ''] = /^(Rev|Parent|Merges|Also depends on): (.+?)\r?$/.exec(line) ?? [];
    if (word === 'Rev') {
      last = { parents: [], needs: [] };
      graph.set(names.replace(/ .*/, ''), last);
    } else if (word !== undefined && names !== '<base>')
      last?.[word === 'Also depends on' ? 'needs' : 'parents'].push(...names.split(', '));
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
    const below = graph.get(one);
    left.push(...(below?.parents ?? []), ...(below?.needs ?? []));
  }
  return found;
}

/** All up to the wanted ones that the database has not, the oldest first. */
function pendingOf(
  graph: Graph,
  { at, wanted, params }: { at: readonly string[]; wanted: readonly string[]; params: MigrateParams },
): string[] {
  const applied = ancestorsOf(graph, at);
  const needed = ancestorsOf(graph, wanted);
  const pending = [...graph.keys()].filter((one) => needed.has(one) && !applied.has(one)).toReversed();
  const isThere = wanted.length === 0 || wanted.some((one) => at.includes(one));
  if (at.some((one) => !graph.has(one)) || (pending.length === 0 && !isThere)) {
    return refuse(
      'UnknownRevision',
      `'${params.source}' knows no way from ${at.join(', ') || 'the empty database'} to ${params.to ?? 'its head'}, expected a revision above the one of the database; correct to, or look at alembic history`,
    );
  }
  return pending;
}

/** The rows of its own table, sorted. None where it is not there yet. */
async function currentOf(connection: Connection, table: string): Promise<string[]> {
  const schema = stateTable(table);
  const [found] = await connection.query('SELECT to_regclass($1) IS NOT NULL', [quotedTable(schema)]);
  if (found?.[0] !== 't') return [];
  const rows = await connection.query(`SELECT version_num FROM ${quotedTable(schema)}`);
  return rows.map(([one]) => one ?? '').toSorted();
}
