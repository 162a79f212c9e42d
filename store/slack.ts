/** What Slack was told and is to be told, for the API's side. Which messages there are is for `slack/` to say. */
import type { Pool } from 'pg';
import type { Json } from '../procedures/plan.ts';
import { digest } from './digest.ts';
import { inTransaction } from './pool.ts';
import { bodyText } from './text.ts';
import type { JournalRow } from './types.ts';

/** How long after its end a run that was never told of is still told, and how long what is missing is tried. */
const TELL_WITHIN = '1 day';
const CATCH_UP_WITHIN = '7 days';

export type SlackBody = {
  text: string;
  blocks: Json[];
  place: 'channel' | 'thread' | 'both';
  /** Account of the person who gets it alone, instead of the channel. */
  to?: string;
};
/** What an answer to a message is about. */
export type SlackAbout = { run: number; step?: string; evidence?: string; plan?: string };

export type WantedMessage = { key: string; about: SlackAbout | null; body: SlackBody };

export type SlackMessage = {
  id: string;
  run: number;
  key: string;
  about: SlackAbout | null;
  body: SlackBody;
  digest: string;
  shown: string | null;
  ts: string | null;
  attemptedAt: Date | null;
  shownAt: Date | null;
};

export type SlackClaim = { run: number; claim: string };

export type SlackStore = {
  /** Runs of which Slack does not show everything, so many of each of these environments; those that wait longest first. */
  due(environments: readonly string[], limit: number): Promise<{ run: number; environment: string }[]>;
  /** Takes the run for so long; undefined where somebody else has it. */
  claim(
    held: SlackClaim,
    row: { channel: string; forMs: number },
  ): Promise<{ channel: string; seq: number; failures: number } | undefined>;
  /** Rows that say who was asked and what became of it, the oldest first: all of the run. */
  asked(run: number): Promise<JournalRow[]>;
  /** Stores what is to be shown and how far the journal was read. False where the claim is lost; then nothing is stored. */
  write(held: SlackClaim, row: { seq: number; messages: readonly WantedMessage[] }): Promise<boolean>;
  /** The run's own message, and those that Slack does not show as they are to be, in the order in which they came. */
  messages(run: number): Promise<SlackMessage[]>;
  message(id: string): Promise<(SlackMessage & { channel: string }) | undefined>;
  /** Holds the run for so long from now. False where the claim is lost. */
  renew(held: SlackClaim, forMs: number): Promise<boolean>;
  /** Committed before a message is sent. False where the claim is lost. */
  attempt(held: SlackClaim, id: string): Promise<boolean>;
  /** It is there under this name, and shows this; null for something that must be painted anew. */
  shown(id: string, row: { ts: string; digest: string | null }): Promise<void>;
  /** It was not sent, or is gone from Slack: it is sent as a new one. */
  gone(id: string): Promise<void>;
  /** Gives the run back. */
  release(
    held: SlackClaim,
    row: { isBehind: boolean; dueInMs: number; failures: number; problem: string | null },
  ): Promise<void>;
  /** Open approvals that were asked in Slack, with the message that asks. */
  open(environments: readonly string[], limit: number): Promise<(SlackMessage & { channel: string })[]>;
  /** False where one of the clicks was taken before; then none is. */
  see(ids: readonly string[]): Promise<boolean>;
  /** Forgets clicks of before. */
  forget(olderMs: number): Promise<void>;
};

const COLUMNS = `m.id, m.run, m.key, m.about, m.body, m.digest, m.shown, m.ts, m.attempted_at as "attemptedAt", m.shown_at as "shownAt"`;
const ASKED_ROWS_MAX = 2_000;
const MESSAGES_MAX = 200;

/** On a pool whose role is a member of `countdown_api`. */
export function makeSlackStore(pool: Pool): SlackStore {
  const one = async (text: string, values: unknown[]): Promise<boolean> =>
    ((await pool.query(text, values)).rowCount ?? 0) > 0;
  return {
    async due(environments, limit) {
      const { rows } = await pool.query<{ run: number; environment: string }>({
        name: 'slack_due',
        text: `
          select run, environment from (
            select r.run, r.environment, s.due_at,
              row_number() over (partition by r.environment order by s.due_at nulls first, r.run) as place
            from countdown.runs r left join countdown.slack_runs s using (run)
            where r.environment = any ($1)
              and (r.ended_at is null or r.ended_at > clock_timestamp() - case
                when s.run is null then interval '${TELL_WITHIN}' else interval '${CATCH_UP_WITHIN}' end)
              and (s.run is null or ((s.is_behind or s.seq < r.seq) and s.due_at <= clock_timestamp()
                and coalesce(s.claimed_until <= clock_timestamp(), true)))) due
          where place <= $2 order by due_at nulls first, run`,
        values: [environments, limit],
      });
      return rows;
    },

    async claim({ run, claim }, { channel, forMs }) {
      const { rows } = await pool.query<{ channel: string; seq: number; failures: number }>(
        `insert into countdown.slack_runs as s (run, channel, claim, claimed_until)
        values ($1, $2, $3, clock_timestamp() + $4 * interval '1 millisecond')
        on conflict (run) do update set claim = excluded.claim, claimed_until = excluded.claimed_until
        where coalesce(s.claimed_until <= clock_timestamp(), true)
        returning channel, seq, failures`,
        [run, channel, claim, forMs],
      );
      return rows[0];
    },

    async asked(run) {
      const { rows } = await pool.query<JournalRow>({
        name: 'slack_asked',
        text: `
          select run, seq, to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at,
            kind, phase, direction, try, attempt, actor, body, prev, hash
          from countdown.journal where run = $1 and kind in ('approval', 'decision') order by seq limit $2`,
        values: [run, ASKED_ROWS_MAX],
      });
      return rows;
    },

    write: ({ run, claim }, { seq, messages }) =>
      inTransaction(pool, async (client) => {
        const { rowCount } = await client.query(
          `update countdown.slack_runs set seq = greatest(seq, $3), is_behind = true
          where run = $1 and claim = $2 and claimed_until > clock_timestamp()`,
          [run, claim, seq],
        );
        if (rowCount === 0) return false;
        for (const { key, about, body } of messages) {
          await client.query(
            `insert into countdown.slack_messages as m (run, key, about, body, digest) values ($1, $2, $3, $4, $5)
            on conflict (run, key) do update set about = excluded.about, body = excluded.body, digest = excluded.digest
            where m.digest <> excluded.digest`,
            [
              run,
              key,
              about === null ? null : bodyText(about),
              bodyText(body),
              digest(JSON.parse(bodyText(body))),
            ],
          );
        }
        return true;
      }),

    async messages(run) {
      const { rows } = await pool.query<SlackMessage>(
        `select ${COLUMNS} from countdown.slack_messages m
        where m.run = $1 and (m.key = 'run' or m.shown is distinct from m.digest) order by m.ordinal limit $2`,
        [run, MESSAGES_MAX],
      );
      return rows;
    },

    async message(id) {
      const { rows } = await pool.query<SlackMessage & { channel: string }>(
        `select ${COLUMNS}, s.channel from countdown.slack_messages m join countdown.slack_runs s using (run)
        where m.id::text = $1`,
        [id],
      );
      return rows[0];
    },

    renew: ({ run, claim }, forMs) =>
      one(
        `update countdown.slack_runs set claimed_until = clock_timestamp() + $3 * interval '1 millisecond'
        where run = $1 and claim = $2 and claimed_until > clock_timestamp()`,
        [run, claim, forMs],
      ),

    attempt: ({ run, claim }, id) =>
      one(
        `update countdown.slack_messages m set attempted_at = clock_timestamp() from countdown.slack_runs s
        where m.id = $3 and s.run = m.run and s.run = $1 and s.claim = $2 and s.claimed_until > clock_timestamp()`,
        [run, claim, id],
      ),

    async shown(id, { ts, digest: what }) {
      await pool.query(
        `update countdown.slack_messages set ts = $2, shown = $3, attempted_at = null, shown_at = clock_timestamp()
        where id = $1`,
        [id, ts, what],
      );
    },

    async gone(id) {
      await pool.query(
        'update countdown.slack_messages set ts = null, shown = null, attempted_at = null where id = $1',
        [id],
      );
    },

    async release({ run, claim }, { isBehind, dueInMs, failures, problem }) {
      await pool.query(
        `update countdown.slack_runs set claim = null, claimed_until = null, is_behind = $3, failures = $5, problem = $6,
          due_at = clock_timestamp() + $4 * interval '1 millisecond'
        where run = $1 and claim = $2`,
        [run, claim, isBehind, dueInMs, failures, problem],
      );
    },

    async open(environments, limit) {
      const { rows } = await pool.query<SlackMessage & { channel: string }>(
        `select ${COLUMNS}, s.channel from countdown.slack_messages m join countdown.slack_runs s using (run)
        join countdown.runs r using (run)
        join countdown.approvals a on a.run = m.run and a.step = m.about ->> 'step' and a.evidence = m.about ->> 'evidence'
        where a.state = 'open' and r.environment = any ($1) order by a.due_at limit $2`,
        [environments, limit],
      );
      return rows;
    },

    async see(ids) {
      return inTransaction(pool, async (client) => {
        // In one order, so that two deliveries of one click wait for each other and do not lock each other out.
        const { rowCount } = await client.query(
          'insert into countdown.slack_seen (id) select unnest($1::text[]) order by 1 on conflict do nothing',
          [[...new Set(ids)].toSorted()],
        );
        return rowCount === new Set(ids).size;
      });
    },

    async forget(olderMs) {
      await pool.query(
        `delete from countdown.slack_seen where at < clock_timestamp() - $1 * interval '1 millisecond'`,
        [olderMs],
      );
    },
  };
}
