-- countdown.create_run(): run row, all leases, phases of the read model and journal row 1 in one transaction. A run that
-- waits for its time or for a target has no leases; countdown.admit_run() gives it all of them, or none.

-- Who stands in the way: a run that holds a target, or one that has waited for it for longer.
create type countdown.blocker as (target text, run integer, waits boolean);

create type countdown.created as (
  run integer,
  created boolean,
  -- Whether it holds its leases.
  admitted boolean,
  -- TargetLeased, KeyReused, PlanUnknown.
  refused text,
  blocker countdown.blocker
);

create type countdown.admission as (
  -- admitted, early, leased, over (it waits no longer: it began or has ended).
  answer text,
  blocker countdown.blocker
);

-- What the past says of one way of a phase; ms is null where it was never done.
create type countdown.past as (ms bigint, samples bigint);

-- The p95 of the last 100 times; the longest while there are fewer than 20.
create function countdown.past_of(p_environment text, p_runbook text, p_phase text, p_direction text)
returns countdown.past language sql stable
  return (
    select row(
      case when count(*) >= 20 then percentile_disc(0.95) within group (order by d.ms) else max(d.ms) end,
      count(*))::countdown.past
    from (
      select ms from countdown.durations
      where environment = p_environment and runbook = p_runbook and phase = p_phase and direction = p_direction
      order by run desc, seq desc limit 100) d);

-- What each phase of a plan is expected to take: what the past says, else what the plan declares.
create function countdown.expected_of(plan jsonb)
returns table (phase text, run_ms bigint, undo_ms bigint, run_samples bigint, undo_samples bigint)
language sql stable as $$
  select p ->> 'id', coalesce((ran).ms, (p -> 'expected' ->> 'runMs')::numeric::bigint),
    case when has_undo then coalesce((undid).ms, (p -> 'expected' ->> 'undoMs')::numeric::bigint) end,
    (ran).samples, (undid).samples
  from jsonb_array_elements(plan -> 'phases') p
  cross join lateral (
    select p ?| array['undo', 'undoWait'] as has_undo,
      countdown.past_of(plan ->> 'environment', plan -> 'runbook' ->> 'name', p ->> 'id', 'run') as ran,
      countdown.past_of(plan ->> 'environment', plan -> 'runbook' ->> 'name', p ->> 'id', 'undo') as undid) past
$$;

create function countdown.fill_read_model(p_run integer, plan jsonb) returns void language plpgsql as $$
begin
  insert into countdown.phases (
    run, phase, ordinal, after, step, title, effect, run_ms, undo_ms, step_rollback_ms)
  select p_run, p.value ->> 'id', p.ordinality, array(select jsonb_array_elements_text(p.value -> 'after')),
    p.value ->> 'step', p.value ->> 'title', p.value ->> 'effect', e.run_ms, e.undo_ms,
    (s.value -> 'rollback' ->> 'withinMs')::numeric::bigint
  from jsonb_array_elements(plan -> 'phases') with ordinality p
  join countdown.expected_of(plan) e on e.phase = p.value ->> 'id'
  join jsonb_array_elements(plan -> 'steps') s on s.value ->> 'id' = p.value ->> 'step';
  insert into countdown.prints (run, target)
  select p_run, f.value ->> 'target' from jsonb_array_elements(plan -> 'fingerprints') f;
end $$;

-- First come, first served: a run does not overtake one with a lower number that is due and waits for the same target.
create function countdown.blocker_of(p_run integer, p_plan jsonb, p_now timestamptz)
returns countdown.blocker language sql stable
  return (
    select row(b.target, b.run, b.waits)::countdown.blocker from (
      select w.key as target, l.run, false as waits
      from jsonb_each_text(p_plan -> 'leases') w
      join countdown.leases l on l.environment = p_plan ->> 'environment' and l.target = w.key
      where w.value = 'exclusive' or l.mode = 'exclusive'
      union all
      select w.key, r.run, true
      from countdown.runs r
      join countdown.plans p on p.hash = r.plan
      cross join lateral jsonb_each_text(countdown.look(p.body) -> 'leases') theirs
      join jsonb_each_text(p_plan -> 'leases') w on w.key = theirs.key
      where r.environment = p_plan ->> 'environment' and r.state = 'planned' and r.admitted_at is null
        and r.run < p_run and (r.due_at is null or r.due_at <= p_now)
        and (w.value = 'exclusive' or theirs.value = 'exclusive')) b
    order by b.waits, b.target, b.run limit 1);

-- What stands in the way of a run that waits.
create function countdown.blocker_of_run(p_run integer, p_now timestamptz) returns countdown.blocker
language sql stable
  return (
    select countdown.blocker_of(r.run, countdown.look(p.body), p_now)
    from countdown.runs r join countdown.plans p on p.hash = r.plan where r.run = p_run);

-- All leases and a new epoch. The caller holds the counter's row, so that nobody else gives leases meanwhile.
create function countdown.give_leases(p_run integer, plan jsonb) returns void language plpgsql as $$
declare
  new_epoch bigint := nextval('countdown.epochs');
begin
  update countdown.runs r set epoch = new_epoch, admitted_at = clock_timestamp() where r.run = p_run;
  insert into countdown.leases (environment, target, run, mode, epoch)
  select plan ->> 'environment', w.key, p_run, w.value, new_epoch from jsonb_each_text(plan -> 'leases') w;
end $$;

-- A row that the API itself says of a run that no workflow has yet.
create function countdown.tell_planned(p_run integer, p_kind text, p_key text, p_actor text, p_body json)
returns void language plpgsql as $$
declare
  head countdown.runs;
  j countdown.journal;
begin
  select * into head from countdown.runs r where r.run = p_run;
  j.run := p_run; j.environment := head.environment; j.kind := p_kind; j.key := p_key; j.actor := p_actor;
  j.body := p_body;
  j := countdown.link(j, head.seq, head.hash);
  perform countdown.move(j);
  perform pg_notify('countdown_journal', p_run::text);
end $$;

-- The run that a follow-up has already. A follow-up is made of what its parent's plan names, for who asked for the parent,
-- and only once that has succeeded: whoever reaches this function cannot make runs in the name of others with it.
create function countdown.follow_up_run(p_follows integer, p_follow_up text, p_plan text, p_requester text)
returns integer language plpgsql as $$
declare
  parent countdown.runs;
begin
  select * into parent from countdown.runs r where r.run = p_follows for no key update;
  if parent.state is distinct from 'succeeded' or parent.requester <> p_requester or not exists (
    select from countdown.plans p cross join lateral jsonb_array_elements(countdown.look(p.body) -> 'followUps') f
    where p.hash = parent.plan and f ->> 'id' = p_follow_up and f ->> 'plan' = p_plan) then
    raise exception 'Run % has not succeeded for % with follow-up % of plan %.',
      p_follows, p_requester, p_follow_up, left(p_plan, 12);
  end if;
  return (select r.run from countdown.runs r where r.follows = p_follows and r.follow_up = p_follow_up);
end $$;

-- `p_due`: not before, and at once where null. `p_wait_ms`: how long it may wait for targets once it is due; a run with a
-- time of its own waits until `p_not_after` where that is said. `p_follow_up` of run `p_follows`.
create function countdown.create_run(
  p_plan text, p_requester text, p_groups text, p_fail_at text, p_key text, p_person text, p_body_hash text, p_body text,
  p_now timestamptz default clock_timestamp(), p_due timestamptz default null, p_not_after timestamptz default null,
  p_wait_ms bigint default null, p_follows integer default null, p_follow_up text default null,
  p_ready_check boolean default false
) returns countdown.created language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  answer countdown.created;
  plan jsonb;
  known countdown.idempotency;
  appended countdown.appended;
  follower integer;
  is_later boolean := coalesce(p_due > p_now, false);
  starts timestamptz := greatest(p_due, p_now);
begin
  -- One run at a time: numbers have no gaps, and of two runs on one target the second sees the first.
  select c.last_run + 1 into answer.run from countdown.counter c for update;
  if p_key is not null then
    select * into known from countdown.idempotency i where i.person = p_person and i.key = p_key;
    if found then
      answer.run := known.run;
      answer.created := false;
      if known.body_hash <> p_body_hash then answer.refused := 'KeyReused'; end if;
      return answer;
    end if;
  end if;

  select countdown.look(p.body) into plan from countdown.plans p where p.hash = p_plan;
  if not found then
    answer.refused := 'PlanUnknown';
    return answer;
  end if;
  if p_follows is not null then
    follower := countdown.follow_up_run(p_follows, p_follow_up, p_plan, p_requester);
    if follower is not null then
      answer.run := follower;
      answer.created := false;
      return answer;
    end if;
    update countdown.runs r set follow_ups = array_remove(r.follow_ups, p_follow_up) where r.run = p_follows;
  end if;
  if not is_later then answer.blocker := countdown.blocker_of(answer.run, plan, p_now); end if;
  answer.admitted := not is_later and not p_ready_check and (answer.blocker).run is null;
  if not is_later and not answer.admitted and p_wait_ms is null then
    answer.refused := 'TargetLeased';
    return answer;
  end if;

  update countdown.counter set last_run = answer.run;
  insert into countdown.runs (
    run, plan, environment, runbook, requester, groups, fail_at, lease_count, rollback_ms, due_at, wait_until, not_after,
    follows, follow_up, follow_ups, ready_check, created_at)
  values (
    answer.run, p_plan, plan ->> 'environment', plan -> 'runbook' ->> 'name', p_requester, p_groups::json, p_fail_at,
    (select count(*) from jsonb_object_keys(plan -> 'leases')),
    (plan -> 'rollback' ->> 'withinMs')::numeric::bigint, p_due,
    case
      when p_wait_ms is not null then least(starts + p_wait_ms * interval '1 millisecond', p_not_after)
      when is_later then coalesce(p_not_after, starts) end,
    p_not_after, p_follows, p_follow_up,
    array(select f ->> 'id' from jsonb_array_elements(plan -> 'followUps') f), p_ready_check, clock_timestamp());
  if answer.admitted then perform countdown.give_leases(answer.run, plan); end if;
  perform countdown.fill_read_model(answer.run, plan);
  if p_key is not null then
    insert into countdown.idempotency (person, key, body_hash, run)
    values (p_person, p_key, p_body_hash, answer.run);
  end if;
  appended := countdown.append(answer.run, 'asked', null, null, null, null, 'asked', null, p_body);
  if appended.refused is not null then raise exception '%', appended.detail; end if;
  -- Row 1 says that the run may wait; this one that it does no longer.
  if answer.admitted and p_wait_ms is not null then
    perform countdown.tell_planned(answer.run, 'run', 'admitted', 'api', '{"admitted":true,"state":"planned"}');
  end if;
  answer.created := true;
  return answer;
end $$;

-- A person says that he is there. Who may, and how many are enough, is the API's to know. False where nobody is asked (any
-- more).
create function countdown.say_ready(p_run integer, p_person text, p_door text)
returns boolean language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  head countdown.runs;
begin
  select * into head from countdown.runs r where r.run = p_run for no key update;
  if not found or head.state <> 'planned' or head.admitted_at is not null or not head.ready_check then return false; end if;
  if not exists (select from countdown.journal j where j.run = p_run and j.key = 'ready/' || p_person) then
    perform countdown.tell_planned(p_run, 'run', 'ready/' || p_person, p_person,
      format('{"door":%s,"ready":%s,"state":"planned"}', to_json(p_door), to_json(p_person))::json);
  end if;
  return true;
end $$;

-- Gives a run that is due all its leases, or says who stands in its way.
create function countdown.admit_run(p_run integer, p_now timestamptz)
returns countdown.admission language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  answer countdown.admission;
  head countdown.runs;
  plan jsonb;
begin
  perform 1 from countdown.counter c for update;
  select * into head from countdown.runs r where r.run = p_run for no key update;
  if not found or head.state <> 'planned' or head.admitted_at is not null then
    answer.answer := 'over';
    return answer;
  end if;
  if head.due_at > p_now then
    answer.answer := 'early';
    return answer;
  end if;
  select countdown.look(p.body) into plan from countdown.plans p where p.hash = head.plan;
  answer.blocker := countdown.blocker_of(p_run, plan, p_now);
  if (answer.blocker).run is not null then
    answer.answer := 'leased';
    return answer;
  end if;
  perform countdown.give_leases(p_run, plan);
  perform countdown.tell_planned(p_run, 'run', 'admitted', 'api', '{"admitted":true,"state":"planned"}');
  answer.answer := 'admitted';
  return answer;
end $$;

-- Ends a run that has no leases and no workflow yet, for a person's abort or because its time is over. False where it
-- began or ended meanwhile.
create function countdown.stop_planned(p_run integer, p_decision text, p_body text)
returns boolean language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  head countdown.runs;
  said countdown.decisions;
begin
  select * into head from countdown.runs r where r.run = p_run for no key update;
  if not found or head.state <> 'planned' or head.admitted_at is not null then return false; end if;
  if countdown.look(p_body::json) ->> 'state' is distinct from 'stopped' then
    raise exception 'A run that waits can only be stopped, not made %.', countdown.look(p_body::json) ->> 'state';
  end if;
  if p_decision is not null then
    select * into said from countdown.decisions d
    where d.id = p_decision and d.run = p_run and d.kind = 'abort' and d.seq is null and d.refused is null;
    if not found then
      raise exception 'No door wrote decision % to abort run %.', p_decision, p_run;
    end if;
    perform countdown.tell_planned(p_run, 'decision', 'decision/' || said.id, said.person, said.body);
  end if;
  perform countdown.tell_planned(p_run, 'run', 'stopped', 'api', p_body::json);
  return true;
end $$;
