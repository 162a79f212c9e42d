-- Every attempt of a phase has an end in the journal. An outcome with `again` says that the attempt failed and that another
-- one of the same try follows: it ends neither its try nor its phase, and it is not what the phase failed with.

-- Almost no body holds the word, so almost none is parsed.
create function countdown.is_again(body json) returns boolean language sql immutable
  return case
    when strpos(body::text, '"again":true') = 0 then false
    else coalesce((countdown.look(body) ->> 'again')::boolean, false) end;

-- A try has one outcome that ends it.
drop index countdown.journal_outcome;
create unique index journal_outcome on countdown.journal (run, phase, direction, try)
  where kind = 'outcome' and not countdown.is_again(body);

-- Why an intent is refused, or the outcome that its try has already; all null where it may be written.
create or replace function countdown.check_intent(head countdown.runs, j countdown.journal, p_until timestamptz)
returns countdown.appended language plpgsql as $$
declare
  answer countdown.appended;
  latest countdown.journal;
  before text[];
  earlier text;
begin
  select o.seq, o.body into answer.stored_seq, answer.stored from countdown.journal o
  where o.run = j.run and o.phase = j.phase and o.direction = j.direction and o.try = j.try and o.kind = 'outcome'
    and not countdown.is_again(o.body);
  if found then return answer; end if;

  select * into latest from countdown.journal i
  where i.run = j.run and i.phase = j.phase and i.kind = 'intent' order by i.seq desc limit 1;
  if latest.try > j.try or (latest.try = j.try and latest.direction <> j.direction) then
    answer.refused := 'Superseded';
    answer.detail := format('%s/%s of %s came late: %s/%s has begun.',
      j.direction, j.try, j.phase, latest.direction, latest.try);
    return answer;
  end if;
  -- Attempts of one try follow each other: a worker that wakes up late must not take over from the next attempt.
  if latest.try = j.try and latest.attempt > j.attempt then
    answer.refused := 'Superseded';
    answer.detail := format('Attempt %s of %s/%s of %s came late: attempt %s has begun.',
      j.attempt, j.direction, j.try, j.phase, latest.attempt);
    return answer;
  end if;

  if (select count(*) from countdown.leases l where l.run = j.run and l.epoch = head.epoch) <> head.lease_count then
    answer.refused := 'LeaseLost';
    answer.detail := format('Run %s no longer holds all its %s leases with epoch %s.',
      j.run, head.lease_count, head.epoch);
    return answer;
  end if;

  if j.direction <> 'run' then return answer; end if;
  if head.unwinding_at is not null then
    answer.refused := 'OutOfOrder';
    answer.detail := format('Run %s unwinds, so %s cannot start.', j.run, j.phase);
    return answer;
  end if;
  select p.after into before from countdown.phases p where p.run = j.run and p.phase = j.phase;
  select format('%s is %s', e.phase, e.state) into earlier from countdown.phases e
  where e.run = j.run and e.phase = any (before) and e.state not in ('done', 'skipped') order by e.ordinal limit 1;
  if found then
    answer.refused := 'OutOfOrder';
    answer.detail := format('%s cannot start yet: %s, and earlier phases must be done or skipped.', j.phase, earlier);
    return answer;
  end if;
  answer.detail := countdown.check_objective(head, j, p_until);
  if answer.detail is not null then answer.refused := 'ObjectiveExceeded'; end if;
  return answer;
end $$;

-- A new attempt, forwards or back, has no error yet. A probe leaves what the phase failed with.
create or replace function countdown.move_intent(j countdown.journal) returns text language plpgsql as $$
declare
  forwards boolean := j.direction = 'run';
  back boolean := j.direction = 'undo';
  step_of text;
begin
  if j.direction in ('before', 'after') then
    update countdown.prints p set try = j.try where p.run = j.run and p.target = substr(j.phase, 2);
    return null;
  end if;
  update countdown.phases p set
    try = j.try,
    act_at = j.at,
    waiting_for = null,
    state = case when forwards then 'running' when back then 'undoing' else p.state end,
    verdict = case when forwards then null else p.verdict end,
    summary = case when forwards then null else p.summary end,
    error = case when forwards or back then null else p.error end,
    started_at = case when forwards then j.at else p.started_at end,
    ended_at = case when forwards or back then null else p.ended_at end,
    first_run_seq = case when forwards then coalesce(p.first_run_seq, j.seq) else p.first_run_seq end
  where p.run = j.run and p.phase = j.phase
  returning p.step into step_of;
  return step_of;
end $$;

create or replace function countdown.move_outcome(j countdown.journal) returns text language plpgsql as $$
declare
  b jsonb := countdown.look(j.body);
  good boolean := b ->> 'result' = 'ok';
  new_state text := b ->> 'state';
  step_of text;
begin
  if countdown.is_again(j.body) then
    -- What is shown until the next attempt begins.
    update countdown.phases p set summary = b ->> 'summary', error = (b -> 'error')::json
    where p.run = j.run and p.phase = j.phase and j.direction in ('run', 'undo')
    returning p.step into step_of;
    return step_of;
  end if;
  if j.direction in ('before', 'after') then
    update countdown.prints p set
      before_seq = case when good and j.direction = 'before' then j.seq else p.before_seq end,
      after_seq = case when good and j.direction = 'after' then j.seq else p.after_seq end
    where p.run = j.run and p.target = substr(j.phase, 2);
  elsif j.direction = 'probe' then
    -- What the probe found done counts as the phase's own output.
    update countdown.phases p set output_seq = j.seq
    where p.run = j.run and p.phase = j.phase and good and b ->> 'answer' = 'yes' and b ? 'output';
  else
    update countdown.phases p set
      state = coalesce(new_state, p.state),
      verdict = b ->> 'verdict',
      summary = b ->> 'summary',
      error = case when good then null else (b -> 'error')::json end,
      ended_at = case when new_state in ('done', 'undone') then j.at else p.ended_at end,
      output_seq = case
        when not good or j.direction <> 'run' then p.output_seq
        when b ? 'output' then j.seq end,
      binds_seq = case when good and j.direction = 'run' then j.seq else p.binds_seq end
    where p.run = j.run and p.phase = j.phase
    returning p.step into step_of;
    if good then perform countdown.keep_duration(j); end if;
  end if;
  return step_of;
end $$;

-- An attempt that another one follows, and of which neither an outcome nor a row of its phase was written: it was cancelled,
-- it timed out, or its worker or the database was away. Its key leaves room for what it may still have to say in time.
create function countdown.close_lost(
  p_run integer, p_phase text, p_direction text, p_try integer, p_attempt integer
) returns void language plpgsql as $$
declare
  latest countdown.journal;
  message text;
begin
  select * into latest from countdown.journal i
  where i.run = p_run and i.phase = p_phase and i.kind in ('intent', 'phase') order by i.seq desc limit 1;
  -- An attempt that comes late has nothing to say of the one that took over.
  if not found or latest.kind <> 'intent' or latest.try > p_try
    or (latest.try = p_try and (latest.direction <> p_direction or latest.attempt > p_attempt)) then return; end if;
  if exists (
    select from countdown.journal o
    where o.run = p_run and o.key in ('outcome/' || latest.seq, 'lost/' || latest.seq)) then return; end if;
  message := format('Attempt %s of %s/%s ended without an outcome: it was cut off, or its worker was lost.',
    latest.attempt, latest.direction, latest.try);
  perform countdown.append(
    p_run, 'outcome', p_phase, latest.direction, latest.try, latest.attempt, 'lost/' || latest.seq, latest.seq,
    format('{"again":true,"error":{"message":%s,"type":"OutcomeLost"},"intent":%s,"result":"failed","summary":%s,"verdict":"error"}',
      to_json(message), latest.seq, to_json(message)));
end $$;

-- The intent of an attempt, after the end of the attempt before it.
create function countdown.append_intent(
  p_run integer, p_phase text, p_direction text, p_try integer, p_attempt integer, p_body text,
  p_until timestamptz default null
) returns countdown.appended language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform countdown.assert_may_append('intent');
  -- The same lock as in append(): nothing is written between the two rows.
  perform 1 from countdown.runs r where r.run = p_run for no key update;
  perform countdown.close_lost(p_run, p_phase, p_direction, p_try, p_attempt);
  return countdown.append(p_run, 'intent', p_phase, p_direction, p_try, p_attempt, null, null, p_body, p_until);
end $$;

revoke all on function
  countdown.is_again(json), countdown.close_lost(integer, text, text, integer, integer),
  countdown.append_intent(integer, text, text, integer, integer, text, timestamptz) from public;
grant execute on function countdown.append_intent(integer, text, text, integer, integer, text, timestamptz)
  to countdown_worker;
grant execute on function countdown.is_again(json), countdown.look(json) to countdown_api, countdown_worker;
