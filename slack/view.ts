/** What people see of a run: from what the store and the plan know to the blocks of messages. Pure. */
import { readyNeeded } from '../api/ready.ts';
import { rollbackNow } from '../api/rollback.ts';
import { type RunState, isTerminal } from '../procedures/states.ts';
import type { WantedMessage } from '../store/slack.ts';
import type { RunDetail } from '../store/types.ts';
import { approvalMessage } from './approval-view.ts';
import { type Button, actions, fields, header, section } from './blocks.ts';
import { expiryBody, lineMessages } from './line-view.ts';
import { type Scene, bodyOf, name, neededText, stateWords } from './scene.ts';
import type { Line } from './story.ts';
import { atPerson, duration, plural, safe, span } from './words.ts';

const MARK: Record<RunState, string> = {
  planned: '·',
  waiting: '◷',
  running: '▸',
  paused: '‖',
  succeeded: '✓',
  stopped: '■',
  unwinding: '↶',
  'rolled-back': '↺',
  stuck: '✗',
};

/** The one message of a run in the channel. */
export function runMessage(scene: Scene): WantedMessage {
  const { run, plan, mentions } = scene;
  const state = safe(stateWords(run), 60);
  const mark = run.state === 'planned' ? '' : `${MARK[run.state]} `;
  const title = `run ${run.run} · ${name(run.runbook)} → ${name(run.environment)} · ${mark}${state}`;
  const back = rollbackNow(run, plan);
  const rows = [
    ['Requester', atPerson(mentions, run.requester)],
    ['Plan', run.plan.slice(0, 12)],
    ['Rollback objective', span(plan.rollback.withinMs)],
  ] as [string, string][];
  if (!isTerminal(run.state) && run.unwindingAt === null)
    rows.splice(2, 0, [
      'Abort now',
      back.phases === 0
        ? 'undoes nothing'
        : `undoes ${plural(back.phases, 'phase')}, ${duration(back.undoMs)}`,
    ]);
  const buttons = runButtons(run);
  return {
    key: 'run',
    about: { run: run.run, plan: run.plan },
    body: bodyOf('channel', title, [
      header(title),
      section(whereItIs(scene), 1_500),
      fields(rows),
      actions(buttons),
    ]),
  };
}

function runButtons(run: RunDetail): Button[] {
  const view: Button = { action: 'view', label: 'View' };
  if (isTerminal(run.state) || run.state === 'unwinding' || run.state === 'stuck') return [view];
  const pause: Button =
    run.state === 'paused' ? { action: 'resume', label: 'Go on' } : { action: 'pause', label: 'Pause' };
  const isBegun = run.state !== 'planned';
  const ready: Button[] =
    !isBegun && run.readyCheck ? [{ action: 'ready', label: 'I am there', style: 'primary' }] : [];
  return [...ready, view, ...(isBegun ? [pause] : []), { action: 'abort', label: 'Abort…', style: 'danger' }];
}

/** One sentence: where the run stands, and whom it waits for. */
function whereItIs({ run, plan, rounds, environment }: Scene): string {
  if (isTerminal(run.state)) {
    const tookMs = Date.parse(run.endedAt ?? run.createdAt) - Date.parse(run.startedAt ?? run.createdAt);
    const verdict = run.verdict === null ? '' : ` Verdict ${run.verdict}.`;
    return `Took ${duration(tookMs)}.${verdict}${run.because === null ? '' : ` ${safe(run.because)}`}`;
  }
  const needed = run.state === 'planned' && run.readyCheck ? readyNeeded(plan, environment, run) : undefined;
  if (needed !== undefined)
    return `It begins once enough people are there to approve it; still needed: ${safe(needed)}.`;
  const open = rounds.filter(({ state }) => state === 'open');
  const because = run.because === null ? '' : ` ${safe(run.because)}`;
  if (open.length > 0)
    return `${open
      .slice(0, 5)
      .map(
        (round) => `${safe(round.step, 100)} waits for an approval: ${neededText(round, environment, run)}.`,
      )
      .join(' ')}${because}`;
  const index = plan.steps.findIndex(({ id }) => id === run.step);
  const at =
    index < 0
      ? 'It has not begun.'
      : `Step ${index + 1} of ${plan.steps.length}, ${safe(run.step ?? '', 100)}.`;
  return `${at}${because}`;
}

/** Every message of the run as it is to look now: its own, its approvals, and what the new lines say. */
export function wantedMessages(scene: Scene, lines: readonly Line[]): WantedMessage[] {
  const about = { run: scene.run.run, plan: scene.run.plan };
  return [
    runMessage(scene),
    ...scene.rounds.map((round) => approvalMessage(scene, round)),
    ...scene.rounds
      .filter(({ state }) => state === 'expired')
      .map((round) => ({
        key: `expired/${round.step}/${round.round}`,
        about,
        body: expiryBody(scene, round),
      })),
    ...lineMessages(scene, lines),
  ];
}
