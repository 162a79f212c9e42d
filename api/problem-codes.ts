/**
 * Every code that the API answers with, in one table: its status, its title, and what each side does about it.
 * `docs/errors.md` is this table as text; a test compares the two.
 */
import type { ContentfulStatusCode } from 'hono/utils/http-status';

export type ProblemEntry = {
  status: ContentfulStatusCode;
  title: string;
  /** What the caller does. */
  caller: string;
  /** What the operator does. */
  operator: string;
};

const nothing = 'Nothing.';

export const PROBLEMS = {
  NotJson: {
    status: 400,
    title: 'The body is not JSON',
    caller: 'Send a JSON body in UTF-8 with `Content-Type: application/json`.',
    operator: nothing,
  },
  BadHeader: {
    status: 400,
    title: 'A header cannot be used',
    caller: 'Correct the header that the detail names.',
    operator: nothing,
  },
  BadQuery: {
    status: 400,
    title: 'A query parameter cannot be used',
    caller: 'Correct the parameter; take `cursor` from `next` of the page before.',
    operator: nothing,
  },
  Unauthenticated: {
    status: 401,
    title: 'No valid token was given',
    caller: 'Send `Authorization: Bearer TOKEN` with a token that has not expired.',
    operator: 'Make a new token for the person.',
  },
  NotAllowed: {
    status: 403,
    title: 'The person has no right to do this',
    caller: 'Ask somebody who has the right, or ask for the role that the detail names.',
    operator: 'Add the person to the role in the environment file, if that is meant.',
  },
  RequesterCannotApprove: {
    status: 403,
    title: 'The requester cannot decide on his own run',
    caller: 'Ask one of the people whom the detail names.',
    operator: nothing,
  },
  OperatorCannotApprove: {
    status: 403,
    title: 'Who steered a run cannot approve on it',
    caller: 'Ask somebody else of the group.',
    operator: 'Keep more people in the group than steer runs.',
  },
  NotInGroup: {
    status: 403,
    title: 'The approval asks other groups',
    caller: 'Ask a member of the groups that the detail names.',
    operator: 'Add the person to the group in the environment file, if that is meant.',
  },
  DoorNotAllowed: {
    status: 403,
    title: 'The approval cannot be given through this door',
    caller: 'Decide through the door that the detail names.',
    operator: nothing,
  },
  RouteUnknown: {
    status: 404,
    title: 'There is no such route',
    caller: 'Look at `/openapi.json` for the routes and their methods.',
    operator: nothing,
  },
  RunbookUnknown: {
    status: 404,
    title: 'There is no such runbook',
    caller: 'Take a name of `GET /v1/runbooks`.',
    operator: 'Put the file into the folder of runbooks.',
  },
  EnvironmentUnknown: {
    status: 404,
    title: 'There is no such environment',
    caller: 'Use one of the environments that the detail names.',
    operator: 'Put the file into the folder of environments.',
  },
  PlanUnknown: {
    status: 404,
    title: 'There is no such plan',
    caller: 'Make the plan first: `POST /v1/plans`.',
    operator: nothing,
  },
  TokenUnknown: {
    status: 404,
    title: 'There is no such token',
    caller: 'Take an id of `GET /v1/tokens`.',
    operator: nothing,
  },
  RunUnknown: {
    status: 404,
    title: 'There is no such run',
    caller: 'Take a number of `GET /v1/runs`.',
    operator: nothing,
  },
  PlanDiffers: {
    status: 409,
    title: 'The run executes another plan',
    caller: 'Look at the run again, then decide on the plan that it executes.',
    operator: nothing,
  },
  EvidenceDiffers: {
    status: 409,
    title: 'The evidence is not the one that is asked about',
    caller: 'Look at the run again, then decide on what it shows now.',
    operator: nothing,
  },
  NotAsked: {
    status: 409,
    title: 'The step does not wait for an approval yet',
    caller: 'Wait until it asks. Nothing was counted.',
    operator: nothing,
  },
  AlreadyDecided: {
    status: 409,
    title: 'The approval was decided before',
    caller: 'Nothing; the answer was not counted.',
    operator: nothing,
  },
  ApprovalExpired: {
    status: 409,
    title: 'The approval has expired',
    caller: 'Start a new run.',
    operator: 'Give the approval more time in the runbook, if people need it.',
  },
  ApprovalVoided: {
    status: 409,
    title: 'What was approved has changed',
    caller: 'Look at the run again and decide anew.',
    operator: nothing,
  },
  TooManyVotes: {
    status: 409,
    title: 'The approval has had as many answers as it takes',
    caller: 'Abort the run and start a new one.',
    operator: 'Find out who answers in a loop.',
  },
  NotBegun: {
    status: 409,
    title: 'The run waits for its time or for a target',
    caller: 'Wait until it begins, or abort it.',
    operator: nothing,
  },
  NotHeld: {
    status: 409,
    title: 'The phase does not wait for a person',
    caller: 'Look at the run; retry and skip are for a phase that waits for them.',
    operator: nothing,
  },
  AlreadyPaused: {
    status: 409,
    title: 'The run is paused already',
    caller: 'Nothing; resume it when it may go on.',
    operator: nothing,
  },
  NotPaused: {
    status: 409,
    title: 'The run is not paused',
    caller: 'Look at the run; resume is for a paused one.',
    operator: nothing,
  },
  EvidenceNeeded: {
    status: 409,
    title: 'What was released cannot be compared again',
    caller: 'Say that it is done, with evidence of how the data was looked at.',
    operator: 'Compare the source by hand with the backup that the run took.',
  },
  AlreadyAsked: {
    status: 409,
    title: 'This is asked already',
    caller: 'Wait for the answer, or say something else.',
    operator: nothing,
  },
  BreakGlassNotAllowed: {
    status: 409,
    title: 'The glass cannot be broken here',
    caller: 'Ask the people who can approve.',
    operator: 'Set `approvals.breakGlass` in the environment file where two people may stand for everybody.',
  },
  CommentRequired: {
    status: 409,
    title: 'A comment is asked for',
    caller: 'Send the decision again with a reason.',
    operator: nothing,
  },
  ParamsRefused: {
    status: 422,
    title: 'Params of an undo cannot be changed so',
    caller: 'Change only the params that the detail names.',
    operator: nothing,
  },
  NothingToResolve: {
    status: 409,
    title: 'The phase is not on the desk',
    caller: 'Look at the run; resolve is for an undo that needs a person.',
    operator: nothing,
  },
  PastPointOfNoReturn: {
    status: 409,
    title: 'The run is past its point of no return',
    caller: 'Let it go on; retry or skip the step that waits.',
    operator: nothing,
  },
  AlreadyEnded: {
    status: 409,
    title: 'The run has ended or is unwinding',
    caller: 'Look at how it ended.',
    operator: nothing,
  },
  TargetLeased: {
    status: 409,
    title: 'A target is held by another run',
    caller: 'Let the run wait for it with `waitMs`, or abort the run that the detail names.',
    operator: 'Empty the desk of a stuck run: its leases stay with it.',
  },
  ChangeFreeze: {
    status: 409,
    title: 'No run starts during a change freeze',
    caller:
      'Start the run after the time that the detail names, or plan it as an emergency where the freeze lets one through. Runs that are on go on, and so do rollbacks.',
    operator: 'Change the dates in the environment file, if that is meant.',
  },
  TooLarge: {
    status: 413,
    title: 'The body is too large',
    caller: 'Send at most 256 KiB.',
    operator: nothing,
  },
  BodyInvalid: {
    status: 422,
    title: 'A field of the body cannot be used',
    caller: 'Correct the fields that `errors` points at.',
    operator: nothing,
  },
  KeyReused: {
    status: 422,
    title: 'The Idempotency-Key was used with another body',
    caller: 'Use a new key for a new request.',
    operator: nothing,
  },
  FaultRefused: {
    status: 422,
    title: 'The fault cannot be injected',
    caller: 'Name a phase above the point of no return, in an environment that is not protected.',
    operator: nothing,
  },
  NothingToCheck: {
    status: 422,
    title: 'Nothing can be looked at without changing something',
    caller: 'Plan the runbook and read its plan; `errors` says of each step why it is not checked.',
    operator: nothing,
  },
  TextRefused: {
    status: 422,
    title: 'This environment takes runbooks of the server only',
    caller: 'Plan a runbook by its name.',
    operator: 'Review the runbook and put it into the folder of runbooks.',
  },
  RunbookInvalid: {
    status: 422,
    title: 'The runbook cannot be used',
    caller: 'Correct the lines that `errors` names.',
    operator: nothing,
  },
  EnvironmentInvalid: {
    status: 422,
    title: 'The environment file cannot be used',
    caller: 'Ask the owner of the environment file.',
    operator: 'Correct the lines that `errors` names.',
  },
  ParamsInvalid: {
    status: 422,
    title: 'A parameter cannot be used',
    caller: 'Correct the parameters that `errors` names.',
    operator: nothing,
  },
  TargetUnknown: {
    status: 422,
    title: 'The environment has no such target',
    caller: 'Use a target that the environment names.',
    operator: 'Add the target to the environment file, if that is meant.',
  },
  QuorumImpossible: {
    status: 422,
    title: 'An approval can never be given',
    caller: 'Let another person ask for the run, or ask for fewer votes.',
    operator: 'Add people to the group in the environment file.',
  },
  PointOfNoReturn: {
    status: 422,
    title: 'The point of no return stands in the wrong place',
    caller: 'Move it, as the detail says.',
    operator: nothing,
  },
  ParallelTargets: {
    status: 422,
    title: 'Parallel steps change one target',
    caller: 'Write one of them below the block.',
    operator: nothing,
  },
  PoolsDiffer: {
    status: 422,
    title: 'One phase needs two worker pools',
    caller: 'Use targets that one pool can reach.',
    operator: 'Give both targets the same `worker`.',
  },
  NotSupported: {
    status: 422,
    title: 'This is not supported yet',
    caller: 'Leave it out.',
    operator: nothing,
  },
  TooManyRequests: {
    status: 429,
    title: 'Too many requests in a minute',
    caller:
      'Send the request again after the time in `Retry-After`. Aborting and deciding have budgets of their own.',
    operator: 'Find out who asks in a loop; the budgets are settings of the API.',
  },
  TooManyStreams: {
    status: 429,
    title: 'Too many event streams are open',
    caller: 'Close one, or try again after the time in `Retry-After`.',
    operator: 'Start another API process.',
  },
  Internal: {
    status: 500,
    title: 'Something went wrong inside',
    caller: 'Tell the operator the `requestId`.',
    operator: 'Find the `requestId` in the log of the API.',
  },
  NoWorker: {
    status: 503,
    title: 'The run did not answer in time',
    caller:
      'Nothing: the decision is stored and is sent again until the run answers or ends. Look at the run.',
    operator: 'Start a worker, and check that it reaches Temporal and PostgreSQL.',
  },
  IdentityUnavailable: {
    status: 503,
    title: 'The keys of the identity provider cannot be had',
    caller: 'Try again later, or use a token of Countdown.',
    operator: 'Look whether the API reaches the address of the keys.',
  },
  GroupsUnknown: {
    status: 503,
    title: 'Nobody can tell who is in a group',
    caller: 'Try again, or ask a member of a group of the environment file.',
    operator: 'Look whether Slack answers, and whether the app has the scope `usergroups:read`.',
  },
  StoreUnavailable: {
    status: 503,
    title: 'The database cannot be reached',
    caller: 'Try again later.',
    operator: 'Look at PostgreSQL.',
  },
  NotReady: {
    status: 503,
    title: 'A part that the API needs does not answer',
    caller: 'Try again later.',
    operator: 'Look at the part that the detail names.',
  },
} as const satisfies Record<string, ProblemEntry>;

/** The text of `docs/errors.md`. */
export function renderErrorsPage(): string {
  const rows = Object.entries(PROBLEMS).map(
    ([code, entry]) =>
      `| \`${code}\` | ${entry.status} | ${entry.title} | ${entry.caller} | ${entry.operator} |`,
  );
  return [
    '# Errors of the API',
    '',
    'Every error is `application/problem+json` (RFC 9457) with `code`, `requestId` and `errors[]`. `code` never changes its',
    'meaning; `detail` is one sentence for people. Nothing was changed unless the row says otherwise.',
    '',
    '| Code | Status | Title | What the caller does | What the operator does |',
    '|---|---|---|---|---|',
    ...rows,
    '',
  ].join('\n');
}
