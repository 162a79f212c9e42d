-- Deliveries of decisions: when a run has answered one, and why the workflow of a run was opened again.

-- Set by the API when the update of the decision has completed. A decision whose row is journalled counts, but the run
-- may not have heard of it: it is sent again until this is set.
alter table countdown.decisions add column answered_at timestamptz;
drop index countdown.decisions_unanswered;
create index decisions_unanswered on countdown.decisions (run, at) where answered_at is null and refused is null;

-- Stores that the workflow refused a decision: it is never sent again and never counts. A journalled row was counted and
-- stays so: it is answered. The lock on the run's row orders this and countdown.append(), which journals the row.
-- Returns refused or counted if this call settled the decision, and settled if it was settled before.
create function countdown.refuse_decision(p_run integer, p_id text, p_code text)
returns text language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  result text;
begin
  perform from countdown.runs r where r.run = p_run for no key update;
  update countdown.decisions d set
    refused = case when d.seq is null then p_code end,
    answered_at = clock_timestamp()
  where d.run = p_run and d.id = p_id and d.refused is null and d.answered_at is null
  returning case when d.seq is null then 'refused' else 'counted' end into result;
  return coalesce(result, 'settled');
end $$;

-- Why the workflow of the run was last opened again, in one sentence. The workflow journals it, so this is no read model.
alter table countdown.runs add column reopen_reason text check (char_length(reopen_reason) <= 500);

-- Stores that sentence before a new workflow starts. An ended run keeps what it has.
create function countdown.tell_reopened(p_run integer, p_reason text)
returns void language sql security definer set search_path = pg_catalog, pg_temp as $$
  update countdown.runs r set reopen_reason = left(p_reason, 500)
  where r.run = p_run and not countdown.is_terminal(r.state)
$$;

revoke all on function countdown.refuse_decision(integer, text, text), countdown.tell_reopened(integer, text) from public;
revoke update (refused) on countdown.decisions from countdown_api;
grant update (answered_at) on countdown.decisions to countdown_api;
grant execute on function countdown.refuse_decision(integer, text, text), countdown.tell_reopened(integer, text)
  to countdown_api;
