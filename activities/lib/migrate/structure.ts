/**
 * The structure of a database as lines that can be compared between two of them: the catalog without owners and rights,
 * which a clone need not have, and without publications and default rights.
 */
import { OBJECTS } from '../catalog.ts';
import { type Connection, inTransaction } from '../postgres.ts';
import { sha256 } from './sql.ts';

const LEFT_OUT = ['publications', 'default rights'];

/** Owners and rights as NULL, so that rows keep their places. */
const QUERIES = Object.entries(OBJECTS)
  .filter(([sort]) => !LEFT_OUT.includes(sort))
  .map(
    ([sort, sql]) =>
      [
        sort,
        sql.replace(
          /pg_get_userbyid\([\w.]+\)|\(SELECT array_agg\(a ORDER BY a::text\).*?\) AS a\)::text|\b\w+\.attacl::text/g,
          'NULL',
        ),
      ] as const,
  );

/** One line an object, sorted bytewise: `sort ["schema","name",…]`. Names in it are whole, whatever search_path is. */
export async function structureOf(connection: Connection): Promise<string[]> {
  return await inTransaction(
    connection,
    async () => {
      await connection.client.query('SET LOCAL search_path = pg_catalog');
      const lines: string[] = [];
      for (const [sort, sql] of QUERIES) {
        for (const row of await connection.query(sql)) lines.push(`${sort} ${JSON.stringify(row)}`);
      }
      return lines.toSorted();
    },
    'ISOLATION LEVEL REPEATABLE READ READ ONLY',
  );
}

const OURS = `n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'countdown')`;

/** Rights that are not those of every new object, and owners other than this user: kind, schema, name, owner, rights. */
const RIGHTS = [
  [
    'table',
    'pg_class',
    'c.relname',
    'c.relowner',
    'c.relacl',
    `CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char"`,
    'relnamespace',
  ],
  ['function', 'pg_proc', 'c.oid::regprocedure::text', 'c.proowner', 'c.proacl', `'f'`, 'pronamespace'],
  ['type', 'pg_type', 'c.typname', 'c.typowner', 'c.typacl', `'T'`, 'typnamespace'],
].map(
  ([kind, catalog, name, owner, acl, type, namespace]) =>
    `SELECT '${kind}', n.nspname, ${name}, nullif(pg_get_userbyid(${owner}), current_user), nullif(${sortedRights(`coalesce(${acl}, acldefault(${type}, ${owner}))`)}, ${sortedRights(`acldefault(${type}, ${owner})`)})
     FROM ${catalog} c JOIN pg_namespace n ON n.oid = c.${namespace} WHERE ${OURS} AND (${owner} <> current_user::regrole OR ${acl} IS NOT NULL)`,
);

function sortedRights(acl: string): string {
  return `(SELECT array_agg(a ORDER BY a::text) FROM unnest(${acl}) AS a)::text`;
}

const MORE_RIGHTS = [
  `SELECT 'schema', n.nspname, n.nspname, NULL, ${sortedRights(`coalesce(n.nspacl, acldefault('n', n.nspowner))`)} FROM pg_namespace n WHERE ${OURS} AND n.nspacl IS NOT NULL`,
  `SELECT 'column', n.nspname, c.relname || '.' || a.attname, NULL, ${sortedRights('a.attacl')} FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE ${OURS} AND a.attacl IS NOT NULL AND NOT a.attisdropped`,
  `SELECT 'default', coalesce(n.nspname, ''), d.defaclobjtype::text || ' of ' || pg_get_userbyid(d.defaclrole), NULL, ${sortedRights('d.defaclacl')} FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace`,
  `SELECT 'publication', '', p.pubname, NULL, concat_ws(' ', p.puballtables, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate) FROM pg_publication p`,
];

const ROWS = 'rows';

/**
 * All of a clone that a way back must bring back: its structure, the rights that were given since it was made, and the
 * rows that migrations wrote, of which a clone has none by itself.
 */
export async function lookOf(connection: Connection, without: readonly string[] = []): Promise<string[]> {
  await connection.client.query('RESET SESSION AUTHORIZATION; RESET ROLE');
  const structure = await structureOf(connection);
  const more = await inTransaction(
    connection,
    async () => {
      await connection.client.query('SET LOCAL search_path = pg_catalog');
      const lines: string[] = [];
      for (const sql of [...RIGHTS, ...MORE_RIGHTS]) {
        const rows = await connection.query(sql);
        lines.push(
          ...rows
            .filter(([, , , owner, rights]) => owner !== null || rights !== null)
            .map((row) => `rights ${JSON.stringify(row)}`),
        );
      }
      return [...lines, ...(await rowsOf(connection, without))];
    },
    'ISOLATION LEVEL REPEATABLE READ READ ONLY',
  );
  return [...structure, ...more].toSorted();
}

/** Without the rows: keys and times differ each time. */
export function withoutRows(look: readonly string[]): string[] {
  return look.filter((line) => !line.startsWith(`${ROWS} `));
}

async function rowsOf(connection: Connection, without: readonly string[]): Promise<string[]> {
  const tables = await connection.query(
    `SELECT n.nspname, c.relname, quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE ${OURS} AND c.relkind = 'r' AND pg_relation_size(c.oid) > 0`,
  );
  const lines: string[] = [];
  for (const [schema = '', name = '', table = ''] of tables) {
    if (without.includes(`${schema}.${name}`)) continue;
    const [row] = await connection.query(
      `SELECT count(*), sum(('x' || substr(md5(t::text), 1, 15))::bit(60)::bigint::numeric) FROM ${table} AS t`,
    );
    const [count = '0', sum = null] = row ?? [];
    if (count !== '0') lines.push(`${ROWS} ${JSON.stringify([schema, name, count, sum])}`);
  }
  return lines;
}

export function digestOf(lines: readonly string[]): string {
  return sha256(lines.join('\n'));
}

/** What is in one and not in the other: `- line` and `+ line`. */
export function difference(before: readonly string[], after: readonly string[]): string[] {
  const [old, now] = [new Set(before), new Set(after)];
  return [
    ...before.filter((line) => !now.has(line)).map((line) => `- ${readable(line)}`),
    ...after.filter((line) => !old.has(line)).map((line) => `+ ${readable(line)}`),
  ];
}

/** `columns ["public","songs","3","genre","text","f",…]` as `columns public songs 3 genre text f`. */
function readable(line: string): string {
  const at = line.indexOf('[');
  const row = JSON.parse(line.slice(at)) as (string | null)[];
  const said = row.filter((field) => field !== null && field !== '').join(' ');
  const whole = `${line.slice(0, at)}${said}`.replace(/\s+/g, ' ');
  return whole.length > LINE_LENGTH_MAX ? `${whole.slice(0, LINE_LENGTH_MAX)}…` : whole;
}

const LINE_LENGTH_MAX = 300;
