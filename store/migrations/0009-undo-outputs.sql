-- Outputs that come with an intent. An undone phase hands out what its undo gave, so that the undos after it find in the
-- journal what they would else have to ask of a target that may be away. Its own output counts no more.

-- Whole outcome bodies: PostgreSQL cannot look into a body whose output holds NUL.
create or replace function countdown.outputs_of(p_run integer) returns json language plpgsql stable as $$
begin
  return (
    select json_object_agg(given.phase, given.body) from (
      select p.phase, o.body
      from countdown.phases p join countdown.journal o on o.run = p.run and o.seq = p.output_seq
      where p.run = p_run and p.state <> 'undone'
      union all
      select p.phase, o.body
      from countdown.phases p join countdown.journal o
        on o.run = p.run and o.phase = p.phase and o.kind = 'outcome' and o.direction = 'undo'
      where p.run = p_run and p.state = 'undone'
        -- What took the phase back is the last word on it: no later attempt, and no row of a person or a probe.
        and not exists (
          select from countdown.journal s
          where s.run = o.run and s.phase = o.phase and s.seq > o.seq and s.kind in ('intent', 'phase'))) given);
end $$;
