-- countdown.append(): the only way in which a journal row is written. One call is one row, one round trip, one transaction.

create type countdown.appended as (
  seq integer,
  epoch bigint,
  -- The outcome that this try has already.
  stored_seq integer,
  stored json,
  -- With an accepted intent: outcomes that hold the outputs of done phases, by phase; null for none.
  outputs json,
  -- Why the row was not written: RunClosed, LeaseLost, Superseded, OutOfOrder, ObjectiveExceeded, PlanUnknown,
  -- DecisionUnknown.
  refused text,
  detail text
);

-- A time as people and the hash read it.
create function countdown.iso(at timestamptz) returns text language sql stable
  return to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');

-- Each field as `LENGTH:VALUE,` with the length in bytes, so that no two lists of fields give one text; `-,` for null.
create function countdown.row_hash(j countdown.journal) returns text language plpgsql stable as $$
declare
  value text;
  said text := '';
begin
  foreach value in array array[
    j.run::text, j.seq::text, countdown.iso(j.at), j.kind, j.phase, j.direction, j.try::text, j.attempt::text,
    j.actor, j.body::text, j.prev
  ] loop
    said := said || coalesce(octet_length(value) || ':' || value || ',', '-,');
  end loop;
  return encode(sha256(convert_to(said, 'UTF8')), 'hex');
end $$;

-- Which role may say what. Whoever migrates may say everything.
create function countdown.assert_may_append(p_kind text) returns void language plpgsql as $$
declare
  speaker text := case when p_kind in ('asked', 'refused') then 'countdown_api' else 'countdown_worker' end;
begin
  if not pg_has_role(session_user, speaker, 'member') then
    raise exception 'Role % may not append % rows to the journal: only members of % do.', session_user, p_kind, speaker
      using errcode = 'insufficient_privilege';
  end if;
end $$;

-- Whole outcome bodies: PostgreSQL cannot look into a body whose output holds NUL.
create function countdown.outputs_of(p_run integer) returns json language plpgsql stable as $$
begin
  return (
    select json_object_agg(
      p.phase, (select o.body from countdown.journal o where o.run = p_run and o.seq = p.output_seq))
    from countdown.phases p
    where p.run = p_run and p.output_seq is not null and p.state <> 'undone');
end $$;

create function countdown.plural(n bigint, noun text) returns text language sql immutable
  return format('%s %s%s', n, noun, case when n = 1 then '' else 's' end);

-- `0.4s`, `41s`, `1m 09s`, `1h 04m`.
create function countdown.in_words(ms bigint) returns text language sql immutable
  return case
    when ms < 9950 then trim(trailing '.' from trim(trailing '0' from round(ms / 1000.0, 1)::text)) || 's'
    when ms < 59500 then round(ms / 1000.0)::bigint || 's'
    when ms < 3599500 then
      format('%sm %ss', round(ms / 1000.0)::bigint / 60, to_char(round(ms / 1000.0)::bigint % 60, 'FM00'))
    else
      format('%sh %sm', round(ms / 1000.0)::bigint / 3600, to_char(round(ms / 1000.0)::bigint % 3600 / 60, 'FM00'))
  end;

-- Whether an abort now would take the phase back. What a person does by hand has no intent.
create function countdown.is_owed(p countdown.phases) returns boolean language sql immutable
  return p.undo_ms is not null and p.state <> 'undone'
    and (p.first_run_seq is not null or p.state in ('running', 'done', 'maybe', 'undoing', 'undo-failed'));

-- Law 7: before a phase has an effect, taking back everything so far and the phase itself must fit the objectives, and
-- the phase with that undo the time that is left. A phase that has no undo stands below the point of no return.
create function countdown.check_objective(head countdown.runs, j countdown.journal, p_until timestamptz)
returns text language plpgsql as $$
declare
  mine countdown.phases;
  owed record;
  detail text;
begin
  select * into mine from countdown.phases p where p.run = j.run and p.phase = j.phase;
  if mine.effect = 'none' or mine.undo_ms is null then return null; end if;
  select mine.undo_ms + coalesce(sum(p.undo_ms), 0) as ms, 1 + count(*) as phases,
    mine.undo_ms + coalesce(sum(p.undo_ms) filter (where p.step = mine.step), 0) as step_ms
  into owed from countdown.phases p
  where p.run = j.run and p.phase <> j.phase and countdown.is_owed(p);
  p_until := least(p_until, head.not_after);
  detail := case
    when owed.ms > head.rollback_ms then format(
      '%s was not started: with it a rollback takes back %s in about %s, expected within %s.',
      j.phase, countdown.plural(owed.phases, 'phase'), countdown.in_words(owed.ms::bigint),
      countdown.in_words(head.rollback_ms))
    when owed.step_ms > mine.step_rollback_ms then format(
      '%s was not started: with it taking back step %s takes about %s, expected within %s.',
      j.phase, mine.step, countdown.in_words(owed.step_ms::bigint), countdown.in_words(mine.step_rollback_ms))
    when clock_timestamp() + (mine.run_ms + owed.ms) * interval '1 millisecond' > p_until then format(
      '%s was not started: it takes about %s and its rollback %s, but only %s are left until %s UTC.',
      j.phase, countdown.in_words(mine.run_ms), countdown.in_words(owed.ms::bigint),
      countdown.in_words(greatest(0, extract(epoch from p_until - clock_timestamp()) * 1000)::bigint),
      to_char(p_until at time zone 'UTC', 'FMDD Mon HH24:MI'))
  end;
  if detail is null then return null; end if;
  -- A person who said retry since it was refused has decided.
  if mine.exceeded_seq is not null and exists (
    select from countdown.decisions d
    where d.run = j.run and d.kind = 'retry' and d.subject = j.phase and d.seq > mine.exceeded_seq) then
    return null;
  end if;
  update countdown.phases p set exceeded_seq = head.seq where p.run = j.run and p.phase = j.phase;
  return detail;
end $$;

-- Why an intent is refused, or the outcome that its try has already; all null where it may be written.
create function countdown.check_intent(head countdown.runs, j countdown.journal, p_until timestamptz)
returns countdown.appended language plpgsql as $$
declare
  answer countdown.appended;
  latest countdown.journal;
  before text[];
  earlier text;
begin
  select o.seq, o.body into answer.stored_seq, answer.stored from countdown.journal o
  where o.run = j.run and o.phase = j.phase and o.direction = j.direction and o.try = j.try and o.kind = 'outcome';
  if found then return answer; end if;

  select * into latest from countdown.journal i
  where i.run = j.run and i.phase = j.phase and i.kind = 'intent' order by i.seq desc limit 1;
  if latest.try > j.try or (latest.try = j.try and latest.direction <> j.direction) then
    answer.refused := 'Superseded';
    answer.detail := format('%s/%s of %s came late: %s/%s has begun.',
      j.direction, j.try, j.phase, latest.direction, latest.try);
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

-- An outcome counts only while its intent is the last word on the phase: no later intent, and no row of the shell.
create function countdown.check_outcome(j countdown.journal, p_intent integer)
returns countdown.appended language plpgsql as $$
declare
  answer countdown.appended;
  latest countdown.journal;
begin
  select * into latest from countdown.journal i
  where i.run = j.run and i.phase = j.phase and i.kind in ('intent', 'phase') order by i.seq desc limit 1;
  if not found or (latest.seq, latest.kind, latest.direction, latest.try)
    is distinct from (p_intent, 'intent', j.direction, j.try) then
    answer.refused := 'Superseded';
    answer.detail := format('The outcome of %s/%s of %s came late: row %s has taken over.',
      j.direction, j.try, j.phase, coalesce(latest.seq::text, 'none'));
  end if;
  return answer;
end $$;

create function countdown.is_planned(p_run integer, p_phase text, p_direction text)
returns boolean language plpgsql stable as $$
begin
  if p_direction in ('before', 'after') then
    return p_phase like '@%' and exists (
      select from countdown.prints p where p.run = p_run and p.target = substr(p_phase, 2));
  end if;
  return exists (select from countdown.phases p where p.run = p_run and p.phase = p_phase);
end $$;

create function countdown.link(j countdown.journal, head_seq integer, head_hash text)
returns countdown.journal language plpgsql as $$
begin
  j.seq := head_seq + 1;
  j.at := clock_timestamp();
  j.prev := head_hash;
  j.hash := countdown.row_hash(j);
  insert into countdown.journal select j.*;
  return j;
end $$;

-- `p_until`, for an intent: when the window ends to which the phase is bound.
create function countdown.append(
  p_run integer, p_kind text, p_phase text, p_direction text, p_try integer, p_attempt integer,
  p_key text, p_intent integer, p_body text, p_until timestamptz default null
) returns countdown.appended language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  answer countdown.appended;
  head countdown.runs;
  j countdown.journal;
begin
  perform countdown.assert_may_append(p_kind);
  select * into head from countdown.runs r where r.run = p_run for no key update;
  if not found or p_kind = 'refused' or (p_kind = 'asked') <> (head.seq = 0) then
    answer.refused := 'PlanUnknown';
    answer.detail := format('There is no run %s that takes %s rows. Start runs through the API.', p_run, p_kind);
    return answer;
  end if;

  if p_key is not null then
    select o.seq into answer.seq from countdown.journal o where o.run = p_run and o.key = p_key;
    if found then return answer; end if;
  end if;
  if countdown.is_terminal(head.state) then
    answer.refused := 'RunClosed';
    answer.detail := format('Run %s is %s and takes no more rows.', p_run, head.state);
    return answer;
  end if;

  if head.admitted_at is null and p_kind <> 'asked' then
    answer.refused := 'LeaseLost';
    answer.detail := format('Run %s waits for its time or for a target and holds no lease yet.', p_run);
    return answer;
  end if;

  j.run := p_run; j.environment := head.environment; j.kind := p_kind; j.phase := p_phase;
  j.direction := p_direction; j.try := p_try; j.attempt := p_attempt; j.key := p_key; j.body := p_body;
  j.actor := case p_kind when 'asked' then head.requester else 'worker' end;

  if p_phase is not null and not countdown.is_planned(p_run, p_phase, p_direction) then
    answer.refused := 'PlanUnknown';
    answer.detail := format('%s is not in plan %s of run %s.', p_phase, left(head.plan, 12), p_run);
    return answer;
  end if;

  case p_kind
    when 'intent' then answer := countdown.check_intent(head, j, p_until);
    when 'outcome' then answer := countdown.check_outcome(j, p_intent);
    when 'decision' then
      -- What the door wrote, whatever the caller says.
      select d.body, d.person into j.body, j.actor from countdown.decisions d
      where 'decision/' || d.id = p_key and d.run = p_run and d.refused is null;
      if not found then
        answer.refused := 'DecisionUnknown';
        answer.detail := format('No door wrote %s of run %s, or it was refused.', p_key, p_run);
      end if;
    else null;
  end case;
  if answer.refused is not null or answer.stored_seq is not null then return answer; end if;

  j := countdown.link(j, head.seq, head.hash);
  perform countdown.move(j);
  if p_kind = 'run' and countdown.is_terminal(countdown.look(j.body) ->> 'state') then
    delete from countdown.leases l where l.run = p_run;
  end if;
  perform pg_notify('countdown_journal', p_run::text);
  answer.seq := j.seq;
  answer.epoch := head.epoch;
  if p_kind = 'intent' then answer.outputs := countdown.outputs_of(p_run); end if;
  return answer;
end $$;

-- Rows of the shell, in order, all or none. A refusal is an exception, so that nothing of the list stays.
create function countdown.append_all(
  p_run integer, p_keys text[], p_kinds text[], p_phases text[], p_bodies text[]
) returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  answer countdown.appended;
begin
  for n in 1 .. cardinality(p_keys) loop
    if p_kinds[n] not in ('run', 'phase', 'approval') then
      raise exception 'Rows of kind % are not recorded.', p_kinds[n] using errcode = 'insufficient_privilege';
    end if;
    answer := countdown.append(
      p_run, p_kinds[n], p_phases[n], null, null, null, p_keys[n], null, p_bodies[n]);
    if answer.refused is not null then
      raise exception '%', answer.detail using errcode = 'CD001', hint = answer.refused;
    end if;
  end loop;
end $$;

-- What belongs to no run (a refused attempt, a token), in its environment's own chain: run 0 of the journal.
create function countdown.append_beside(p_environment text, p_kind text, p_actor text, p_body text)
returns integer language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  head countdown.environment_heads;
  j countdown.journal;
begin
  perform countdown.assert_may_append('refused');
  if p_kind not in ('refused', 'token') then
    raise exception 'Rows of kind % belong to a run.', p_kind using errcode = 'insufficient_privilege';
  end if;
  insert into countdown.environment_heads (environment, seq, hash)
  values (p_environment, 0, repeat('0', 64)) on conflict do nothing;
  select * into head from countdown.environment_heads e where e.environment = p_environment for update;
  j.run := 0; j.environment := p_environment; j.kind := p_kind; j.actor := p_actor; j.body := p_body;
  j := countdown.link(j, head.seq, head.hash);
  update countdown.environment_heads e set seq = j.seq, hash = j.hash where e.environment = p_environment;
  return j.seq;
end $$;
