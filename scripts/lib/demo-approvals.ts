/** Approvals in the demo: given by its people where --yes says so, else asked on the terminal. Each vote is one call of the API. */
import { createInterface } from 'node:readline/promises';
import { makeClient } from '../../cli/client.ts';
import { ApiError } from '../../cli/errors.ts';
import type { ApprovalWire, RunDetailWire } from '../../cli/wire.ts';

const REASON_LETTERS_MIN = 10;

export type Approver = {
  url: string;
  tokens: Record<string, string>;
  yes: boolean;
  signal: AbortSignal;
};

export type Vote = { approval: ApprovalWire; person: string; group: string };

/** Called with each reading of the run: gives every vote that is needed and can be given; `speaks` before it says something. */
export function makeApprover(part: Approver): (run: RunDetailWire, speaks?: () => void) => Promise<void> {
  return async (run, speaks) => {
    for (const approval of run.approvals) {
      if (approval.state !== 'open') continue;
      for (const vote of votesFor(approval, part.tokens)) {
        if (part.signal.aborted) return;
        speaks?.();
        const isOver = await giveVote(part, run, vote);
        if (isOver) return;
      }
    }
  };
}

/** One person for each vote that is still needed, each person once. */
export function votesFor(approval: ApprovalWire, tokens: Record<string, string>): Vote[] {
  const voted = new Set(approval.votes.map(({ person }) => person));
  const votes: Vote[] = [];
  for (const [group, needed] of Object.entries(approval.needed)) {
    const people = (approval.canApprove[group] ?? []).filter(
      (person) => !voted.has(person) && tokens[person] !== undefined,
    );
    for (const person of people.slice(0, needed)) {
      voted.add(person);
      votes.push({ approval, person, group });
    }
  }
  return votes;
}

/** True where the approval is closed now, or has changed meanwhile: the next reading says what is left to do. */
async function giveVote(part: Approver, run: RunDetailWire, vote: Vote): Promise<boolean> {
  const { approval, person } = vote;
  const answer = part.yes
    ? { decision: 'approve' as const }
    : await askForVote(part.signal, vote, 'Approve as');
  const client = makeClient({ url: part.url, token: part.tokens[person] ?? '' });
  try {
    const { detail } = await client.decide(run.run, {
      step: approval.step,
      plan: run.plan,
      evidence: approval.evidence,
      ...answer,
    });
    process.stdout.write(`${person}: ${detail}\n`);
    return answer.decision === 'reject';
  } catch (error) {
    // Too early, too late, or nobody is there to count it: the run tells with its next reading.
    if (error instanceof ApiError && (error.status === 409 || error.status === 503)) return true;
    throw error;
  }
}

/** `what` begins the question, as in `Approve as ana (sre)`. */
export async function askForVote(
  signal: AbortSignal,
  { approval, person, group }: Vote,
  what: 'Approve as' | 'Click as',
): Promise<{ decision: 'approve' } | { decision: 'reject'; reason: string }> {
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  // The line editor takes Ctrl-C for itself.
  terminal.on('SIGINT', () => process.kill(process.pid, 'SIGINT'));
  try {
    for (;;) {
      const words =
        what === 'Approve as' ? `Approve ${approval.step} as` : `Click Approve of ${approval.step} as`;
      const question = `${words} ${person} (${group})? Evidence ${approval.evidence.slice(0, 12)}. [yes/no] `;
      const answer = (await terminal.question(question, { signal })).trim().toLowerCase();
      if (answer === 'yes' || answer === 'y') return { decision: 'approve' };
      if (answer !== 'no' && answer !== 'n') continue;
      const reason = (
        await terminal.question(`Why not? At least ${REASON_LETTERS_MIN} letters: `, { signal })
      ).trim();
      if (reason.length >= REASON_LETTERS_MIN) return { decision: 'reject', reason };
    }
  } finally {
    terminal.close();
  }
}
