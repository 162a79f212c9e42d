/**
 * sql.check: one select in a read-only transaction, and its answer compared with what is expected.
 *
 *   check   one row of one column, or the number of rows. No row and NULL are inconclusive
 */
import { DatabaseError, type QueryArrayConfig } from 'pg';
import { type Expectation, meets, settleExpectation } from '../procedures/expect.ts';
import type { Json } from '../procedures/plan.ts';
import { fail, messageOf } from './lib/fail.ts';
import { type Connection, inTransaction, sqlState, withPostgres } from './lib/postgres.ts';
import type { PhaseActivities, PhaseResult } from './phase.ts';

type CheckParams = {
  target: string;
  query: string;
  values: Json[];
  of: 'value' | 'rows';
  /** `words` alone are those in which outputs were filled in. */
  expect: Expectation | { words: Json };
  timeoutMs: number;
};

type Found = { value: string | boolean | null; rows: number };

const VALUE_LENGTH_MAX = 1_000;
const SHOWN_LENGTH = 200;
const BOOLEAN = 16;
const INTERVAL = 1186;

const check: PhaseActivities<CheckParams> = {
  async run(params, context) {
    const expectation = expectationOf(params);
    return await withPostgres(params.target, context, async (connection) => {
      try {
        return compared(params, expectation, await look(connection, params));
      } catch (error) {
        return ofServer(params, error);
      }
    });
  },
};

export const sqlCheck = { check };

/** A cursor takes nothing but one select that changes no row, and gives no more rows than are fetched. */
async function look(connection: Connection, params: CheckParams): Promise<Found> {
  const { client } = connection;
  // Names without a schema mean what they mean to this user.
  await client.query('RESET search_path');
  return await inTransaction(
    connection,
    async () => {
      // A statement that reads: from now on nothing can make this transaction a writing one.
      await connection.query(`SELECT set_config('statement_timeout', $1, true)`, [String(params.timeoutMs)]);
      const declare: QueryArrayConfig & { queryMode: 'extended' } = {
        text: `DECLARE countdown_check NO SCROLL CURSOR FOR ${params.query}`,
        values: params.values.map((value) => (typeof value === 'string' ? value : textOf(value))),
        rowMode: 'array',
        // One statement and no more, also without values.
        queryMode: 'extended',
      };
      await client.query(declare);
      if (params.of === 'rows') {
        const moved = await client.query('MOVE FORWARD ALL FROM countdown_check');
        return { value: null, rows: moved.rowCount ?? 0 };
      }
      return await fetchValue(connection, params);
    },
    'READ ONLY',
  );
}

async function fetchValue({ client }: Connection, { target }: CheckParams): Promise<Found> {
  const { rows, fields } = await client.query<(string | null)[]>({
    text: 'FETCH 2 FROM countdown_check',
    rowMode: 'array',
    types: { getTypeParser: () => (value: string) => value },
  });
  if (fields.length !== 1 || rows.length > 1) {
    const found = fields.length === 1 ? 'more than one row' : `${fields.length} columns`;
    throw fail(
      'PreconditionFailed',
      `The query gave ${found} of '${target}', expected one row of one column; correct it, or write expect: { rows: … }.`,
    );
  }
  const value = rows[0]?.[0] ?? null;
  const type = fields[0]?.dataTypeID;
  if (value === null) return { value, rows: rows.length };
  if (type === BOOLEAN) return { value: value === 't', rows: 1 };
  return { value: type === INTERVAL ? (intervalMs(value) ?? value) : value, rows: 1 };
}

function compared(params: CheckParams, expectation: Expectation, found: Found): PhaseResult {
  const value = found.value === null ? null : String(found.value).slice(0, VALUE_LENGTH_MAX);
  const output = { value, rows: found.rows };
  const met = meets(expectation, params.of === 'rows' ? found.rows : found.value);
  const what =
    params.of === 'rows'
      ? `${found.rows} rows`
      : value === null
        ? found.rows === 0
          ? 'no row'
          : 'NULL'
        : `'${value.slice(0, SHOWN_LENGTH)}'`;
  const summary = `${params.target}: found ${what}, expected ${expectation.words}`;
  return { verdict: met === undefined ? 'inconclusive' : met ? 'pass' : 'fail', summary, output };
}

/** A query without an answer in time is no data; what the server refuses is the query's fault, and nothing was changed. */
function ofServer(params: CheckParams, error: unknown): PhaseResult {
  const state = sqlState(error) ?? '';
  if (state === '57014') {
    return {
      verdict: 'inconclusive',
      summary: `${params.target}: no answer within ${params.timeoutMs} ms, expected one; make the query cheaper, or give the step more time with timeout`,
      output: { value: null, rows: 0 },
    };
  }
  // 25P03 and 25P04: the session slept for too long, which says nothing of the query.
  if (!(error instanceof DatabaseError) || !/^(?:0A|22|25(?!P0[34])|34|42)/.test(state)) throw error;
  const advice = state === '42501' ? 'grant the target’s user the right to select' : 'correct the query';
  throw fail(
    'PreconditionFailed',
    `PostgreSQL '${params.target}' refused the query (${messageOf(error)}, ${state}); ${advice}.`,
    error,
  );
}

function expectationOf({ expect }: CheckParams): Expectation {
  try {
    return settleExpectation(expect);
  } catch (error) {
    throw fail('PreconditionFailed', messageOf(error), error);
  }
}

function textOf(value: Json): string | null {
  return value === null ? null : typeof value === 'object' ? JSON.stringify(value) : String(value);
}

/** Milliseconds as text. Undefined for months and years, whose length nobody knows. */
function intervalMs(text: string): string | undefined {
  const match = /^(?:(-?\d{1,9}) days?)? ?(?:(-?)(\d{1,9}):(\d\d):(\d\d(?:\.\d{1,6})?))?$/.exec(text);
  if (match === null) return undefined;
  const [, days = '0', sign = '', hours = '0', minutes = '0', seconds = '0'] = match;
  const ofDayMs = (Number(hours) * 60 + Number(minutes)) * 60_000 + Math.round(Number(seconds) * 1e6) / 1e3;
  return String(Number(days) * 86_400_000 + (sign === '-' ? -ofDayMs : ofDayMs));
}
