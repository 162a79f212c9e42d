-- countdown.create_run(): run row, all leases, phases of the read model and journal row 1 in one transaction.

create type countdown.created as (
  run integer,
  created boolean,
  -- TargetLeased, KeyReused, PlanUnknown.
  refused text,
  target text,
  by_run integer,
  by_runbook text,
  by_requester text
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

create function countdown.create_run(
  p_plan text, p_requester text, p_groups text, p_fail_at text, p_key text, p_person text, p_body_hash text, p_body text
) returns countdown.created language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  answer countdown.created;
  plan jsonb;
  known countdown.idempotency;
  new_epoch bigint;
  appended countdown.appended;
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
  select 'TargetLeased', w.key, r.run, r.runbook, r.requester
  into answer.refused, answer.target, answer.by_run, answer.by_runbook, answer.by_requester
  from jsonb_each_text(plan -> 'leases') w
  join countdown.leases l on l.environment = plan ->> 'environment' and l.target = w.key
  join countdown.runs r on r.run = l.run
  where w.value = 'exclusive' or l.mode = 'exclusive'
  order by w.key, r.run limit 1;
  if answer.refused is not null then return answer; end if;

  update countdown.counter set last_run = answer.run;
  new_epoch := nextval('countdown.epochs');
  insert into countdown.runs (
    run, plan, environment, runbook, requester, groups, fail_at, epoch, lease_count, rollback_ms, created_at)
  values (
    answer.run, p_plan, plan ->> 'environment', plan -> 'runbook' ->> 'name', p_requester, p_groups::json, p_fail_at,
    new_epoch, (select count(*) from jsonb_object_keys(plan -> 'leases')),
    (plan -> 'rollback' ->> 'withinMs')::numeric::bigint, clock_timestamp());
  insert into countdown.leases (environment, target, run, mode, epoch)
  select plan ->> 'environment', w.key, answer.run, w.value, new_epoch from jsonb_each_text(plan -> 'leases') w;
  perform countdown.fill_read_model(answer.run, plan);
  if p_key is not null then
    insert into countdown.idempotency (person, key, body_hash, run)
    values (p_person, p_key, p_body_hash, answer.run);
  end if;
  appended := countdown.append(answer.run, 'asked', null, null, null, null, 'asked', null, p_body);
  if appended.refused is not null then raise exception '%', appended.detail; end if;
  answer.created := true;
  return answer;
end $$;
