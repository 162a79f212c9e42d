/** Every bound that the plan, the interpreter and the doors share, with its unit in its name. No zod here: workflows import it. */

export const SECOND_MS = 1_000;
export const MINUTE_MS = 60 * SECOND_MS;
export const HOUR_MS = 60 * MINUTE_MS;
export const DAY_MS = 24 * HOUR_MS;

/** The runbook text: larger or deeper is refused before the YAML parser sees it. */
export const RUNBOOK_SIZE_BYTES_MAX = 256 * 1024;
export const YAML_DEPTH_MAX = 32;
export const STEPS_MAX = 100;
export const PHASES_MAX = 500;
export const FOLLOW_UPS_MAX = 10;
export const FOLLOW_UP_AFTER_MS_MAX = 90 * DAY_MS;

/** Approvals. */
export const APPROVAL_EXPIRES_MS = 4 * HOUR_MS;
export const APPROVAL_EXPIRES_MS_MAX = 24 * HOUR_MS;
export const APPROVAL_REMIND_MS = 30 * MINUTE_MS;
export const INSPECT_FRESH_MS = 15 * MINUTE_MS;
/** Votes on one approval, all rounds together; a further one is refused. */
export const VOTES_MAX = 200;
/** People who together may stand for everybody who is asked, where the environment allows it. */
export const GLASS_PEOPLE = 2;

/** Runs. How far ahead one may be asked for, and how long it may wait for targets once it is due. */
export const START_AHEAD_MS_MAX = 30 * DAY_MS;
export const LEASE_WAIT_MS_MAX = 24 * HOUR_MS;
/** How long a run waits for people to say that they are there, where nobody says how long. */
export const READY_WAIT_MS = 15 * MINUTE_MS;

/** How long a token lasts, and at most. */
export const TOKEN_MS = 30 * DAY_MS;
export const TOKEN_MS_MAX = 365 * DAY_MS;

/** Phases. */
export const HEARTBEAT_MS = 2 * SECOND_MS;
export const UNDO_ATTEMPTS = 5;
export const PROBE_ATTEMPTS = 5;
/** Probes of one phase in a row that say nothing before a person is asked. */
export const PROBE_TIMEOUT_MS = 30 * SECOND_MS;
export const ROLLBACK_WITHIN_MS = HOUR_MS;
/** How long a run whose step failed with `onFail: ask` waits for a person before it unwinds. */
export const ASK_MS = 30 * MINUTE_MS;
/** How often a stuck run calls a person again, until its desk is empty. */
export const DESK_REMIND_MS = 30 * MINUTE_MS;

/** What one phase may give back. */
export const OUTPUT_BYTES_MAX = 64 * 1024;
export const SUMMARY_BYTES_MAX = 4 * 1024;

/** Temporal. */
export const HISTORY_EVENTS_MAX = 4_000;
export const WORKFLOW_TASK_TIMEOUT_MS = 5 * SECOND_MS;
/** One attempt to record rows of the workflow. A frozen worker holds one that long; it is tried again until it succeeds. */
export const RECORD_TIMEOUT_MS = 5 * SECOND_MS;
/** Decisions that one run can take: Temporal holds as many updates in one history. */
export const DECISIONS_MAX = 2_000;
/** Journalled decisions that one record gives back to a workflow that has not heard them. */
export const UNHEARD_MAX = 50;
/** The share of the rollback objective for which a transient failure of an undo is retried before a person is asked. */
export const UNDO_RETRY_SHARE = 0.5;
/** Pauses between those retries: the first, then doubled up to the last. */
export const UNDO_RETRY_MS_FIRST = 2 * SECOND_MS;
export const UNDO_RETRY_MS_MAX = 30 * SECOND_MS;
/** How long the worker retries its own journal rows before it gives up (`journalWaitMs`). */
export const JOURNAL_WAIT_MS = 60 * SECOND_MS;
/** How long a door waits for the workflow's answer before it says NoWorker. */
export const UPDATE_WAIT_MS = 5 * SECOND_MS;
/** How often the API looks for runs to start, to open again, and for decisions to send again. */
export const JANITOR_EVERY_MS = 10 * SECOND_MS;
/** How often it looks for decisions that their run has not answered; with none it is one query of an empty index. */
export const RESEND_EVERY_MS = 2 * SECOND_MS;
