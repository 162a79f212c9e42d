/**
 * The codes with which a run's workflow refuses a decision: those of `workflows/judge.ts`, and ApprovalMissing, which its
 * validator and its activity give if no door wrote the decision. A test compares this list with both sources.
 *
 * An update can fail with any other code: from Temporal, from a broken workflow, from one that has just closed. None of
 * these is an answer of the run, so the decision stays unanswered and is sent again.
 */
export const REFUSALS = [
  'AlreadyAsked',
  'AlreadyDecided',
  'AlreadyEnded',
  'AlreadyPaused',
  'ApprovalExpired',
  'ApprovalMissing',
  'ApprovalVoided',
  'BreakGlassNotAllowed',
  'CommentRequired',
  'DoorNotAllowed',
  'EvidenceDiffers',
  'EvidenceNeeded',
  'NotAsked',
  'NotHeld',
  'NotInGroup',
  'NotPaused',
  'NothingToResolve',
  'OperatorCannotApprove',
  'PastPointOfNoReturn',
  'PlanDiffers',
  'RequesterCannotApprove',
  'TooManyVotes',
] as const;

export type RefusalCode = (typeof REFUSALS)[number];

/** Whether an update that failed with this code was refused by the run. */
export function isRefusal(code: string | null | undefined): code is RefusalCode {
  return (REFUSALS as readonly (string | null | undefined)[]).includes(code);
}
