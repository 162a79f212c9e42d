-- How each journal row moves the read model. A function here looks at the row and at nothing else, so that replaying
-- the journal gives the same read model.

create function countdown.is_terminal(state text) returns boolean language sql immutable
  return state in ('succeeded', 'stopped', 'rolled-back');

-- A body for looking into: PostgreSQL cannot decode NUL, which a JSON text may hold.
create function countdown.look(body json) returns jsonb language sql immutable
  return replace(body::text, '\u0000', '\u2400')::jsonb;

create function countdown.move_run(j countdown.journal) returns void language plpgsql as $$
declare
  b jsonb := countdown.look(j.body);
  new_state text := b ->> 'state';
begin
  update countdown.runs r set
    seq = j.seq,
    hash = j.hash,
    state = new_state,
    verdict = coalesce(b ->> 'verdict', r.verdict),
    because = case
      when b ? 'because' then b ->> 'because'
      when new_state = 'running' then null
      else r.because end,
    verified = case when b ? 'verified' then (b ->> 'verified')::boolean else r.verified end,
    not_verified = case
      when b ? 'notVerified' then array(select jsonb_array_elements_text(b -> 'notVerified'))
      else r.not_verified end,
    step = coalesce(b ->> 'step', r.step),
    started_at = case when new_state = 'running' then coalesce(r.started_at, j.at) else r.started_at end,
    ended_at = case when countdown.is_terminal(new_state) then j.at end,
    unwinding_at = case when new_state = 'unwinding' then coalesce(r.unwinding_at, j.at) else r.unwinding_at end,
    unwound_at = case when new_state in ('rolled-back', 'stuck') then j.at end
  where r.run = j.run;
end $$;

create function countdown.move_phase(j countdown.journal) returns text language plpgsql as $$
declare
  b jsonb := countdown.look(j.body);
  new_state text := b ->> 'state';
  fresh boolean := new_state in ('pending', 'waiting', 'running');
  step_of text;
begin
  update countdown.phases p set
    state = new_state,
    verdict = case when b ? 'verdict' then b ->> 'verdict' when fresh then null else p.verdict end,
    summary = case when b ? 'summary' then b ->> 'summary' when fresh then null else p.summary end,
    error = case
      when b ->> 'type' is not null then json_build_object('type', b ->> 'type', 'message', b ->> 'summary')
      when fresh or new_state in ('undone', 'skipped') or b ->> 'verdict' in ('pass', 'warn') then null
      else p.error end,
    waiting_for = b ->> 'waitingFor',
    started_at = case
      when new_state = 'running' then j.at
      when new_state in ('pending', 'waiting') then null
      else p.started_at end,
    ended_at = case
      when fresh then null
      when new_state = p.state then p.ended_at
      when new_state in ('done', 'skipped', 'undone', 'undo-failed') then j.at end,
    -- What a person found, or says in place of a phase that is skipped.
    output_seq = case when b ? 'output' then j.seq else p.output_seq end
  where p.run = j.run and p.phase = j.phase
  returning p.step into step_of;
  return step_of;
end $$;

create function countdown.move_intent(j countdown.journal) returns text language plpgsql as $$
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
    error = case when forwards then null else p.error end,
    started_at = case when forwards then j.at else p.started_at end,
    ended_at = case when forwards or back then null else p.ended_at end,
    first_run_seq = case when forwards then coalesce(p.first_run_seq, j.seq) else p.first_run_seq end
  where p.run = j.run and p.phase = j.phase
  returning p.step into step_of;
  return step_of;
end $$;

-- A good outcome answers the latest intent of its phase, so its time is known from there.
create function countdown.keep_duration(j countdown.journal) returns void language plpgsql as $$
begin
  insert into countdown.durations (environment, runbook, phase, direction, run, seq, ms)
  select r.environment, r.runbook, j.phase, j.direction, j.run, j.seq,
    ceil(extract(epoch from j.at - p.act_at) * 1000)::bigint
  from countdown.runs r join countdown.phases p using (run)
  where r.run = j.run and p.phase = j.phase;
end $$;

create function countdown.move_outcome(j countdown.journal) returns text language plpgsql as $$
declare
  b jsonb := countdown.look(j.body);
  good boolean := b ->> 'result' = 'ok';
  new_state text := b ->> 'state';
  step_of text;
begin
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

create function countdown.move_approval(j countdown.journal) returns void language plpgsql as $$
declare
  b jsonb := countdown.look(j.body);
begin
  -- The row that opens an approval says all of it; later ones say what changed.
  if b ? 'from' then
    insert into countdown.approvals as a (run, step, state, evidence, round, quorum, opened_at, due_at)
    values (
      j.run, b ->> 'step', b ->> 'state', b ->> 'evidence', (b ->> 'round')::integer, (b -> 'from')::json,
      to_timestamp((b ->> 'openedAt')::numeric / 1000), to_timestamp((b ->> 'dueAt')::numeric / 1000))
    on conflict (run, step) do update set
      state = excluded.state, evidence = excluded.evidence, round = excluded.round, quorum = excluded.quorum,
      due_at = excluded.due_at;
  else
    update countdown.approvals a set
      state = b ->> 'state',
      evidence = coalesce(b ->> 'evidence', a.evidence),
      round = coalesce((b ->> 'round')::integer, a.round)
    where a.run = j.run and a.step = b ->> 'step';
  end if;
end $$;

create function countdown.move(j countdown.journal) returns void language plpgsql as $$
declare
  step_now text;
begin
  case j.kind
    when 'run' then
      perform countdown.move_run(j);
      return;
    when 'intent' then step_now := countdown.move_intent(j);
    when 'outcome' then step_now := countdown.move_outcome(j);
    when 'phase' then step_now := countdown.move_phase(j);
    when 'approval' then perform countdown.move_approval(j);
    when 'decision' then
      update countdown.decisions d set seq = j.seq where d.id = substr(j.key, length('decision/') + 1);
    when 'asked' then null;
  end case;
  update countdown.runs r set seq = j.seq, hash = j.hash, step = coalesce(step_now, r.step) where r.run = j.run;
end $$;

-- Brings the read model of a run back to its beginning and moves it row by row again.
create function countdown.rebuild(p_run integer) returns void language plpgsql as $$
declare
  j countdown.journal;
begin
  perform 1 from countdown.runs r where r.run = p_run for update;
  update countdown.runs r set
    seq = 0, hash = repeat('0', 64), state = 'planned', verdict = null, because = null, verified = null,
    not_verified = '{}', step = null, started_at = null, ended_at = null, unwinding_at = null, unwound_at = null
  where r.run = p_run;
  update countdown.phases p set
    state = 'pending', verdict = null, summary = null, error = null, try = 0, waiting_for = null, act_at = null,
    started_at = null, ended_at = null, first_run_seq = null, output_seq = null, binds_seq = null
  where p.run = p_run;
  update countdown.prints p set try = 0, before_seq = null, after_seq = null where p.run = p_run;
  update countdown.decisions d set seq = null where d.run = p_run;
  delete from countdown.approvals a where a.run = p_run;
  delete from countdown.durations d where d.run = p_run;
  for j in select * from countdown.journal where run = p_run order by seq loop
    perform countdown.move(j);
  end loop;
end $$;
