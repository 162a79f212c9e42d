-- A workflow that was closed and opened again speaks for its run alone: rows of the closed one that were still on their way come
-- too late. A row of the shell is named EXECUTION/…, and the row with which an execution takes over is EXECUTION/reopen.

create function countdown.execution_of(p_key text) returns text language sql immutable
  return split_part(p_key, '/', 1);

create or replace function countdown.append_all(
  p_run integer, p_keys text[], p_kinds text[], p_phases text[], p_bodies text[]
) returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  answer countdown.appended;
  owner text;
begin
  -- Held until the end, so that no execution takes over between this look and the last row.
  perform 1 from countdown.runs r where r.run = p_run for no key update;
  select countdown.execution_of(j.key) into owner from countdown.journal j
  where j.run = p_run and j.kind = 'run' and j.key like '%/reopen' order by j.seq desc limit 1;
  for n in 1 .. cardinality(p_keys) loop
    if p_kinds[n] not in ('run', 'phase', 'approval') then
      raise exception 'Rows of kind % are not recorded.', p_kinds[n] using errcode = 'insufficient_privilege';
    end if;
    if owner <> countdown.execution_of(p_keys[n]) and p_keys[n] not like '%/reopen' then
      raise exception 'Row % of run % came late: its workflow was closed and opened again.', p_keys[n], p_run
        using errcode = 'CD001', hint = 'Superseded';
    end if;
    answer := countdown.append(
      p_run, p_kinds[n], p_phases[n], null, null, null, p_keys[n], null, p_bodies[n]);
    if answer.refused is not null then
      raise exception '%', answer.detail using errcode = 'CD001', hint = answer.refused;
    end if;
  end loop;
end $$;

revoke all on function countdown.execution_of(text) from public;
