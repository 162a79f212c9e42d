/** The journal as TypeScript sees it: rows go in through `countdown.append` and its two siblings, and come out as they are. */
import { type ClientBase, type Pool, DatabaseError } from 'pg';
import type { Json } from '../procedures/plan.ts';
import type { RecordRow } from '../workflows/messages.ts';
import { JournalRefusal } from './refusal.ts';
import { bodyText } from './text.ts';
import type {
  Intent,
  IntentRow,
  JournalRow,
  OutcomeRow,
  RefusedPage,
  Refusal,
  StoredOutcome,
} from './types.ts';

type Appended = {
  seq: number | null;
  /** bigint comes as text. */
  epoch: string | null;
  stored_seq: number | null;
  stored: Omit<StoredOutcome, 'seq'> | null;
  outputs: Outcomes | null;
  refused: Refusal | null;
  detail: string | null;
};

const APPEND = {
  name: 'append',
  text: 'select * from countdown.append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)',
};

/** The end of an attempt before it of which nothing was written goes first, in the same transaction. */
const APPEND_INTENT = {
  name: 'append_intent',
  text: 'select * from countdown.append_intent($1, $2, $3, $4, $5, $6, $7)',
};

/** Raised by `countdown.append_all` where a row of the list is refused. */
const REFUSED_IN_LIST = 'CD001';

type Row = Pick<IntentRow, 'run'> &
  Partial<IntentRow> & { kind: string; key?: string; intent?: number; body?: string };

async function append(pool: Pool, row: Row): Promise<Appended> {
  const { run, kind, phase, direction, attempt, key, intent, body } = row;
  return ask(pool, APPEND, [run, kind, phase, direction, row.try, attempt, key, intent, body ?? '{}', null]);
}

async function ask(
  pool: Pool,
  query: { name: string; text: string },
  values: readonly unknown[],
): Promise<Appended> {
  const { rows } = await pool.query<Appended>({ ...query, values: values.map((value) => value ?? null) });
  const [answer] = rows;
  if (answer === undefined) throw new Error(`countdown.${query.name} gave no answer.`);
  return answer;
}

/** The intent of one attempt, the outcome that its try has already, or why it must not start. */
export async function appendIntent(pool: Pool, row: IntentRow): Promise<Intent> {
  const { run, phase, direction, attempt, until } = row;
  const values = [run, phase, direction, row.try, attempt, '{}', until];
  const answer = await ask(pool, APPEND_INTENT, values);
  if (answer.refused !== null) return { refused: answer.refused, detail: answer.detail ?? '' };
  if (answer.stored !== null) return { stored: storedOutcome(answer.stored, Number(answer.stored_seq)) };
  return { seq: Number(answer.seq), epoch: Number(answer.epoch), outputs: outputsIn(answer.outputs) };
}

/** Outcome bodies by phase. */
export type Outcomes = Record<string, { output?: Record<string, Json> }>;

export function outputsIn(outcomes: Outcomes | null): Record<string, Record<string, Json>> {
  return Object.fromEntries(
    Object.entries(outcomes ?? {}).flatMap(([phase, { output }]) =>
      output === undefined ? [] : [[phase, output]],
    ),
  );
}

function storedOutcome(body: Omit<StoredOutcome, 'seq'>, seq: number): StoredOutcome {
  const { result, verdict, summary, output, binds, answer, leaveOut, print, error } = body;
  return {
    seq,
    result,
    verdict,
    summary,
    ...(output === undefined ? {} : { output }),
    ...(binds === undefined ? {} : { binds }),
    ...(answer === undefined ? {} : { answer }),
    ...(leaveOut === undefined ? {} : { leaveOut }),
    ...(print === undefined ? {} : { print }),
    ...(error === undefined ? {} : { error }),
  };
}

/** Said twice, because the answer was lost, it is the same row again. */
export async function appendOutcome(
  pool: Pool,
  outcome: OutcomeRow,
): Promise<{ seq: number } | { refused: Refusal; detail: string }> {
  const { run, phase, direction, attempt, intent, state, ...said } = outcome;
  const { try: tried, ...rest } = said;
  const body = bodyText({ ...rest, intent, ...(state === null ? {} : { state }) });
  const answer = await append(pool, {
    run,
    kind: 'outcome',
    phase,
    direction,
    try: tried,
    attempt,
    key: `outcome/${intent}`,
    intent,
    body,
  });
  if (answer.refused !== null) return { refused: answer.refused, detail: answer.detail ?? '' };
  return { seq: Number(answer.seq) };
}

/** All rows or none, in order; those whose key exists are left alone. Throws JournalRefusal. */
export async function appendRows(pool: Pool, run: number, rows: readonly RecordRow[]): Promise<void> {
  const bodies = rows.map(({ body, state, verdict }) =>
    bodyText({ ...body, state, ...(verdict === undefined ? {} : { verdict }) }),
  );
  try {
    await pool.query({
      name: 'append_all',
      text: 'select countdown.append_all($1, $2, $3, $4, $5)',
      values: [
        run,
        rows.map(({ key }) => key),
        rows.map(({ kind }) => kind),
        rows.map(({ phase }) => phase ?? null),
        bodies,
      ],
    });
  } catch (error) {
    if (error instanceof DatabaseError && error.code === REFUSED_IN_LIST) {
      throw new JournalRefusal(error.hint ?? '', error.message);
    }
    throw error;
  }
}

/** Journals what an interface wrote, once, and gives its row. Throws JournalRefusal if none wrote it, or the run is closed. */
export async function appendDecision(pool: Pool, run: number, id: string): Promise<number> {
  const { seq, refused, detail } = await append(pool, { run, kind: 'decision', key: `decision/${id}` });
  if (refused !== null) throw new JournalRefusal(refused, detail ?? '');
  return Number(seq);
}

/** A refused attempt, in its environment's own chain. */
export async function appendRefused(
  pool: Pool,
  row: {
    environment: string;
    person: string | null;
    door: string;
    run: number | null;
    code: string;
    detail: string;
  },
): Promise<void> {
  await appendBeside(pool, 'refused', {
    environment: row.environment,
    actor: row.person ?? 'unknown',
    body: bodyText(row),
  });
}

/** A row that belongs to no run, in its environment's own chain. */
export async function appendBeside(
  client: Pool | ClientBase,
  kind: 'refused' | 'token',
  { environment, actor, body }: { environment: string; actor: string; body: string },
): Promise<void> {
  await client.query({
    name: 'append_beside',
    text: 'select countdown.append_beside($1, $2, $3, $4)',
    values: [environment, kind, actor, body],
  });
}

const COLUMNS = `run, seq, to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at,
  kind, phase, direction, try, attempt, actor, body, prev, hash`;

/** Rows of a run after `after`, oldest first. */
export async function journalRows(
  pool: Pool,
  run: number,
  page: { after: number; limit: number },
): Promise<JournalRow[]> {
  const { rows } = await pool.query<JournalRow>({
    name: 'journal_rows',
    text: `select ${COLUMNS} from countdown.journal where run = $1 and run > 0 and seq > $2 order by seq limit $3`,
    values: [run, page.after, page.limit],
  });
  return rows;
}

/** Refused attempts and tokens of an environment (its own chain, run 0) after `after`, oldest first. */
export async function refusedRows(
  pool: Pool,
  environment: string,
  page: { after: number; limit: number },
): Promise<JournalRow[]> {
  const { rows } = await pool.query<JournalRow>(
    `select ${COLUMNS} from countdown.journal where run = 0 and environment = $1 and seq > $2 order by seq limit $3`,
    [environment, page.after, page.limit],
  );
  return rows;
}

/** Refused attempts of an environment alone, newest first; with `run` those that name it. */
export async function readRefused(
  pool: Pool,
  { environment, run, before, limit }: RefusedPage,
): Promise<JournalRow[]> {
  const { rows } = await pool.query<JournalRow>(
    `select ${COLUMNS} from countdown.journal
    where run = 0 and kind = 'refused' and environment = $1 and ($2::text is null or body ->> 'run' = $2)
      and ($3::integer is null or seq < $3)
    order by seq desc limit $4`,
    [environment, run?.toString() ?? null, before ?? null, limit],
  );
  return rows;
}

/** Whether the run is open and nothing was said of the phase since this intent. */
export async function isCurrent(
  pool: Pool,
  row: { run: number; phase: string; seq: number },
): Promise<boolean> {
  const { rows } = await pool.query<{ current: boolean }>({
    name: 'is_current',
    text: `
      select r.state not in ('succeeded', 'stopped', 'rolled-back') and not exists (
        select from countdown.journal j
        where j.run = r.run and j.phase = $2 and j.seq > $3 and j.kind in ('intent', 'phase')) as current
      from countdown.runs r where r.run = $1`,
    values: [row.run, row.phase, row.seq],
  });
  return rows[0]?.current ?? false;
}

/** Whether somebody holds the run: nothing new begins, and what can give way between two of its parts does so. */
export async function isPaused(pool: Pool, run: number): Promise<boolean> {
  const { rows } = await pool.query<{ paused: boolean }>({
    name: 'is_paused',
    text: `select state = 'paused' as paused from countdown.runs where run = $1`,
    values: [run],
  });
  return rows[0]?.paused ?? false;
}
