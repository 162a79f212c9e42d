/** The windows that a click opens: why somebody rejects, approves or aborts, and how a run looks. Pure. */
import { rollbackNow } from '../api/rollback.ts';
import type { Plan } from '../procedures/plan.ts';
import type { PhaseState } from '../procedures/states.ts';
import type { RunDetail } from '../store/types.ts';
import { type Block, cut, input, modal, section } from './blocks.ts';
import { stateWords } from './scene.ts';
import { duration, plural, safe } from './words.ts';

export const REASON = 'reason';
export const REASON_LETTERS_MIN = 10;
export const REASON_LETTERS_MAX = 500;

/** What is asked why. */
export type Asking = 'reject' | 'approve' | 'abort' | 'pause';

const TITLE_MAX = 24;

/** `message` is the id of the message whose button was pressed. */
export function reasonModal(row: {
  kind: Asking;
  message: string;
  run: RunDetail;
  plan: Plan;
  step: string | null;
}): Block {
  const { kind, message, run, plan, step } = row;
  const verb = { reject: 'Reject', approve: 'Approve', abort: 'Abort', pause: 'Pause' }[kind];
  const subject = step ?? `run ${run.run}`;
  const title = `${verb} ${subject}`;
  return modal({
    id: kind,
    hidden: message,
    title: title.length <= TITLE_MAX ? title : `${verb} this step`,
    submit: verb,
    blocks: [
      section(consequence(kind, run, plan)),
      input({
        id: REASON,
        label: 'Reason',
        hint: 'Everyone in this channel can read it.',
        min: REASON_LETTERS_MIN,
        max: REASON_LETTERS_MAX,
        optional: false,
      }),
    ],
  });
}

function consequence(kind: Asking, run: RunDetail, plan: Plan): string {
  const where = `run ${run.run} in ${safe(run.environment, 60)}`;
  const { phases, undoMs } = rollbackNow(run, plan);
  switch (kind) {
    case 'approve':
      return `Your approval of ${where} counts with the reason that you give.`;
    case 'pause':
      return `${where} begins nothing new until somebody lets it go on. What runs ends; the approval clock stands still.`;
    case 'reject':
    case 'abort':
      return phases === 0
        ? `${where} stops. Nothing has been changed so far.`
        : `${where} unwinds: undoes ${plural(phases, 'phase')}, about ${duration(undoMs)}.`;
  }
}

/** Why the reason cannot be taken; undefined where it can. */
export function reasonProblem(reason: string): string | undefined {
  const { length } = reason.trim();
  if (length < REASON_LETTERS_MIN) return `Write at least ${REASON_LETTERS_MIN} characters.`;
  return length > REASON_LETTERS_MAX ? `Write at most ${REASON_LETTERS_MAX} characters.` : undefined;
}

const PHASE_MARK: Record<PhaseState, string> = {
  pending: '·',
  waiting: '◷',
  running: '▸',
  done: '✓',
  maybe: '?',
  undoing: '↶',
  undone: '↺',
  'undo-failed': '✗',
  skipped: '–',
};

const SECTIONS_MAX = 12;
const SECTION_LETTERS_MAX = 2_500;

/** Every phase with its state and what it said; what does not fit is counted. */
export function runModal(run: RunDetail, plan: Plan): Block {
  const lines = run.phases.map(({ phase, state, verdict, summary, error, waitingFor }) => {
    const said = error?.message ?? summary ?? (waitingFor === null ? '' : `waits for ${waitingFor}`);
    const tail = said === '' ? '' : `: ${safe(said, 200)}`;
    return cut(
      `${PHASE_MARK[state]} ${safe(phase, 100)} ${state}${verdict === null ? '' : ` ${verdict}`}${tail}`,
      400,
    );
  });
  const texts: string[] = [];
  let shown = 0;
  for (const line of lines) {
    const last = texts.at(-1);
    if (last !== undefined && last.length + line.length < SECTION_LETTERS_MAX)
      texts[texts.length - 1] = `${last}\n${line}`;
    else if (texts.length < SECTIONS_MAX) texts.push(line);
    else break;
    shown += 1;
  }
  const left = lines.length - shown;
  const because = run.because === null ? '' : ` ${safe(run.because)}`;
  const head = `${safe(run.runbook, 60)} → ${safe(run.environment, 60)}, ${safe(stateWords(run), 60)}. Plan ${run.plan.slice(0, 12)}, ${plural(plan.steps.length, 'step')}, asked for by ${safe(run.requester, 60)}.${because}`;
  return modal({
    id: 'view',
    hidden: String(run.run),
    title: `run ${run.run}`,
    blocks: [
      section(head),
      ...texts.map((text) => section(text)),
      ...(left > 0 ? [section(`and ${plural(left, 'phase')} more: countdown show ${run.run}`)] : []),
    ],
  });
}
