-- Tables of the store. Facts (plans, decisions, journal) are written once; the read model (runs, phases, prints,
-- approvals) moves only inside countdown.append() and can be rebuilt from the journal.

create sequence countdown.epochs as bigint;

-- The body is the RFC 8785 text, so the plan's name can be checked by the database itself.
create table countdown.plans (
  hash text collate "C" primary key
    check (hash = encode(sha256(convert_to(body::text, 'UTF8')), 'hex')),
  body json not null,
  person text not null,
  created_at timestamptz not null default clock_timestamp()
);

-- One row: locking it gives runs their numbers, without gaps from refused attempts, and takes leases one run at a time.
create table countdown.counter (
  one boolean primary key default true check (one),
  last_run integer not null
);
insert into countdown.counter (last_run) values (0);

create table countdown.runs (
  run integer primary key,
  plan text collate "C" not null references countdown.plans,
  environment text not null,
  runbook text not null,
  requester text not null,
  groups json not null,
  fail_at text,
  -- Given with the leases; null while the run waits for its time or for a target.
  epoch bigint,
  lease_count integer not null,
  -- Milliseconds in which all of it must be able to be taken back.
  rollback_ms bigint not null,
  -- Not before; null for at once.
  due_at timestamptz,
  -- Until when it waits for targets that others hold; null where it does not wait.
  wait_until timestamptz,
  -- It does not begin later, and no phase with an effect begins that could not end and be taken back until then.
  not_after timestamptz,
  -- The run that this one follows, and as which of its follow-ups.
  follows integer references countdown.runs,
  follow_up text,
  -- Its own follow-ups that have no run yet.
  follow_ups text[] not null default '{}',
  -- It begins only once enough people have said that they are there to approve it.
  ready_check boolean not null default false,
  -- When it was given its leases.
  admitted_at timestamptz,
  created_at timestamptz not null,
  -- Head of the run's chain.
  seq integer not null default 0,
  hash text not null default repeat('0', 64),
  -- Read model.
  state text not null default 'planned' check (state in (
    'planned', 'waiting', 'running', 'paused', 'succeeded', 'stopped', 'unwinding', 'rolled-back', 'stuck')),
  verdict text check (verdict in ('pass', 'warn', 'fail', 'inconclusive', 'error')),
  because text,
  verified boolean,
  not_verified text[] not null default '{}',
  step text,
  started_at timestamptz,
  ended_at timestamptz,
  unwinding_at timestamptz,
  unwound_at timestamptz,
  check (num_nulls(follows, follow_up) <> 1),
  unique (follows, follow_up)
) with (fillfactor = 50);
create index runs_waiting on countdown.runs (environment, run) where state = 'planned' and admitted_at is null;
create index runs_followed on countdown.runs (run) where state = 'succeeded' and follow_ups <> '{}';
create index runs_open on countdown.runs (run) where state not in ('succeeded', 'stopped', 'rolled-back');

create table countdown.phases (
  run integer not null references countdown.runs,
  phase text not null,
  ordinal integer not null,
  -- Phases that must be done or skipped before it starts.
  after text[] not null,
  step text not null,
  title text not null,
  effect text not null,
  -- Milliseconds that it is expected to take, fixed when the run is made; undo_ms is null where it has no undo.
  run_ms bigint not null,
  undo_ms bigint,
  -- Milliseconds in which its step must be able to be taken back, where the step has an objective of its own.
  step_rollback_ms bigint,
  state text not null default 'pending' check (state in (
    'pending', 'waiting', 'running', 'done', 'maybe', 'undoing', 'undone', 'undo-failed', 'skipped')),
  verdict text check (verdict in ('pass', 'warn', 'fail', 'inconclusive', 'error')),
  summary text,
  error json,
  try integer not null default 0,
  waiting_for text,
  -- When the latest intent of any direction was written.
  act_at timestamptz,
  started_at timestamptz,
  ended_at timestamptz,
  -- The first intent row of direction run.
  first_run_seq integer,
  -- The journal rows that hold the phase's output and what an approval binds to.
  output_seq integer,
  binds_seq integer,
  -- The run's head when the phase last did not fit an objective. A refusal writes no row, so this is no read model.
  exceeded_seq integer,
  primary key (run, phase),
  unique (run, ordinal)
) with (fillfactor = 50);

-- What phases took, from the intent to the good outcome: what later runs are expected to take.
create table countdown.durations (
  environment text not null,
  runbook text not null,
  phase text not null,
  direction text not null check (direction in ('run', 'undo')),
  run integer not null references countdown.runs,
  -- The outcome row.
  seq integer not null,
  ms bigint not null,
  primary key (environment, runbook, phase, direction, run, seq)
);

-- Fingerprints of before and after, by the journal rows that hold them.
create table countdown.prints (
  run integer not null references countdown.runs,
  target text not null,
  try integer not null default 0,
  before_seq integer,
  after_seq integer,
  primary key (run, target)
);

create table countdown.approvals (
  run integer not null references countdown.runs,
  -- What is approved: a step, or a block of parallel steps.
  step text not null,
  state text not null check (state in ('open', 'granted', 'rejected', 'expired', 'voided')),
  evidence text not null,
  round integer not null,
  quorum json not null,
  opened_at timestamptz not null,
  due_at timestamptz not null,
  primary key (run, step)
);

-- As the door wrote it; it counts once the worker has journalled it (seq).
create table countdown.decisions (
  id text primary key check (id = body ->> 'id'),
  run integer not null references countdown.runs check (run::text = body ->> 'run'),
  body json not null,
  kind text not null generated always as (body ->> 'kind') stored,
  subject text generated always as (body ->> 'subject') stored,
  person text not null generated always as (body ->> 'person') stored,
  at timestamptz not null default clock_timestamp(),
  seq integer,
  -- The code with which the workflow refused it.
  refused text
);
create index decisions_run on countdown.decisions (run);
create index decisions_unanswered on countdown.decisions (at) where seq is null and refused is null;

create table countdown.leases (
  environment text not null,
  target text not null,
  run integer not null references countdown.runs,
  mode text not null check (mode in ('exclusive', 'shared')),
  epoch bigint not null,
  primary key (environment, target, run)
);
create index leases_run on countdown.leases (run);

create table countdown.idempotency (
  person text not null,
  key text not null,
  body_hash text not null,
  run integer not null references countdown.runs,
  created_at timestamptz not null default clock_timestamp(),
  primary key (person, key)
);

-- Only the sha256 of a token is kept.
create table countdown.tokens (
  id uuid primary key default gen_random_uuid(),
  hash text not null unique check (hash ~ '^[0-9a-f]{64}$'),
  person text not null,
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  revoked_at timestamptz
);

-- What a phase says of itself while it works. Never journalled.
create table countdown.progress (
  run integer not null,
  phase text not null,
  body json not null,
  at timestamptz not null default clock_timestamp(),
  primary key (run, phase),
  foreign key (run, phase) references countdown.phases
) with (fillfactor = 50);

-- How much each token has asked within the minute. Lost with a crash, on purpose: nothing else depends on it. Its columns
-- are those of the library that counts.
create unlogged table countdown.limits (
  key varchar(255) primary key,
  points integer not null default 0,
  expire bigint
) with (fillfactor = 50);

-- Chains of what belongs to no run, one an environment: refused attempts and tokens. They are run 0 of the journal.
create table countdown.environment_heads (
  environment text primary key,
  seq integer not null,
  hash text not null
);

-- The body is json, not jsonb: its text is what was hashed.
create table countdown.journal (
  run integer not null,
  seq integer not null,
  environment text not null,
  at timestamptz not null,
  kind text not null check (kind in (
    'asked', 'run', 'phase', 'approval', 'decision', 'intent', 'outcome', 'refused', 'token')),
  phase text,
  direction text check (direction in ('run', 'probe', 'undo', 'before', 'after')),
  try integer,
  attempt integer,
  actor text not null,
  key text,
  body json not null,
  prev text not null,
  hash text not null,
  primary key (run, seq, environment),
  check ((phase is not null) = (kind in ('phase', 'intent', 'outcome'))),
  check (kind not in ('intent', 'outcome') or num_nulls(direction, try, attempt) = 0)
);
create unique index journal_key on countdown.journal (run, key) where key is not null;
create index journal_spoken on countdown.journal (run, phase, seq) where kind in ('intent', 'phase');
create index journal_refused on countdown.journal (environment, (body ->> 'run'), seq) where run = 0 and kind = 'refused';
create unique index journal_outcome on countdown.journal (run, phase, direction, try) where kind = 'outcome';

create function countdown.keep_journal() returns trigger language plpgsql as $$
begin
  raise exception 'The journal is append-only: % was refused.', tg_op using errcode = 'restrict_violation';
end $$;
create trigger keep_rows before update or delete on countdown.journal
  for each row execute function countdown.keep_journal();
create trigger keep_table before truncate on countdown.journal
  for each statement execute function countdown.keep_journal();
-- Also where replication or a restore switches ordinary triggers off.
alter table countdown.journal enable always trigger keep_rows;
alter table countdown.journal enable always trigger keep_table;
