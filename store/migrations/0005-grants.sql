-- Who may do what. Nobody but the owner writes the journal or the read model other than through the functions below.

revoke all on schema countdown from public;
revoke all on all tables in schema countdown from public;
revoke all on all sequences in schema countdown from public;
revoke all on all functions in schema countdown from public;

grant usage on schema countdown to countdown_api, countdown_worker;
grant select on countdown.migrations, countdown.plans, countdown.runs, countdown.phases, countdown.prints,
  countdown.approvals, countdown.decisions, countdown.leases, countdown.progress, countdown.journal
  to countdown_api, countdown_worker;
grant select on countdown.durations to countdown_api;
grant execute on function countdown.look(json), countdown.is_owed(countdown.phases), countdown.expected_of(jsonb),
  countdown.past_of(text, text, text, text) to countdown_api;

grant select on countdown.idempotency, countdown.tokens, countdown.environment_heads to countdown_api;
grant insert (hash, body, person) on countdown.plans to countdown_api;
grant insert (id, run, body), update (refused) on countdown.decisions to countdown_api;
grant insert (hash, person, expires_at), update (revoked_at) on countdown.tokens to countdown_api;
grant select, insert, update, delete on countdown.limits to countdown_api;
grant execute on function
  countdown.create_run(
    text, text, text, text, text, text, text, text, timestamptz, timestamptz, timestamptz, bigint,
    integer, text, boolean),
  countdown.admit_run(integer, timestamptz), countdown.stop_planned(integer, text, text),
  countdown.say_ready(integer, text, text),
  countdown.blocker_of_run(integer, timestamptz), countdown.blocker_of(integer, jsonb, timestamptz) to countdown_api;
grant execute on function countdown.append_beside(text, text, text, text) to countdown_api;

grant insert, update on countdown.progress to countdown_worker;
grant execute on function
  countdown.append(integer, text, text, text, integer, integer, text, integer, text, timestamptz),
  countdown.append_all(integer, text[], text[], text[], text[]) to countdown_worker;
