-- What Slack was told, and what it is to be told. Which messages a run has follows from its journal; these rows remember
-- how far that was read and what became of each message, so that a sender that ends anywhere can be followed by another.

create table countdown.slack_runs (
  run integer primary key references countdown.runs,
  channel text not null,
  -- The journal is told up to here.
  seq integer not null default 0,
  -- Something is written below that Slack does not show yet.
  is_behind boolean not null default true,
  -- Not looked at before.
  due_at timestamptz not null default clock_timestamp(),
  -- Passes in a row that broke off, and why the last one did.
  failures integer not null default 0,
  problem text,
  -- Who tells it now, and until when nobody else does.
  claim text,
  claimed_until timestamptz
) with (fillfactor = 50);

create table countdown.slack_messages (
  -- Stands in the message's metadata and in its buttons.
  id uuid primary key default gen_random_uuid(),
  run integer not null references countdown.slack_runs,
  -- What it tells of; one message each.
  key text not null,
  ordinal bigint generated always as identity,
  -- What an answer to it is about; null where it asks nothing.
  about json,
  -- What it is to show, and its digest.
  body json not null,
  digest text not null,
  -- What Slack shows: null for nothing yet, or where it must be painted anew.
  shown text,
  -- Its name in Slack; null until it is known to be there.
  ts text,
  -- When it was sent without an answer so far: it may be there, and is looked up before it is sent again.
  attempted_at timestamptz,
  shown_at timestamptz,
  unique (run, key)
) with (fillfactor = 50);

-- Clicks that were taken: none counts twice.
create table countdown.slack_seen (
  id text primary key,
  at timestamptz not null default clock_timestamp()
);
create index slack_seen_at on countdown.slack_seen (at);

create index runs_told on countdown.runs (environment, ended_at);

grant select, insert, update on countdown.slack_runs, countdown.slack_messages to countdown_api;
grant select, insert, delete on countdown.slack_seen to countdown_api;
