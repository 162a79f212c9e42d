/** A plan as a table: what changes, what its undo takes, whom it waits for; then what holds at this moment. */
import type { EmergencyWire, PlanWire } from '../wire.ts';
import { leftText } from './leases.ts';
import {
  COLUMNS_MAX,
  type Style,
  arrow,
  cut,
  dash,
  day,
  dot,
  duration,
  pad,
  plural,
  safe,
  span,
  twoParts,
  typed,
  wrapped,
} from './style.ts';

const RIGHT_COLUMN = 69;
/** Where the text stands that follows `Rollback`, `Leases`, `Emergency`. */
const LABEL_WIDTH = 12;
const CHANGES_WIDTH = 29;
const EFFECT_WIDTH = 20;

export function planLines(plan: PlanWire, style: Style): string[] {
  const name = plan.plan.slice(0, 12);
  const params = Object.entries(plan.params).map(([key, value]) => `  ${key}=${paramText(value)}`);
  const title = `plan ${name}  ${plan.runbook} ${arrow(style)} ${plan.environment}${cut(style, params.join(''), 40)}`;
  const phases = plan.steps.reduce((sum, step) => sum + step.phases.length, 0);
  return [
    twoParts(title, `${plural(plan.steps.length, 'step')}, ${plural(phases, 'phase')}`, RIGHT_COLUMN),
    ...tableLines(plan, style),
    ...leftOutLines(plan, style),
    ...laterLines(plan),
    ...emergencyLines(plan, style),
    ...(plan.steps.every(({ effect }) => effect === 'none')
      ? ['This runbook has no step that changes anything.']
      : []),
    'Read now, not part of the plan:',
    ...nowLines(plan, style),
    `Nothing was changed. Start it:  ${typed(style, `run ${name} --watch`)}`,
  ];
}

function paramText(value: unknown): string {
  return safe(typeof value === 'string' ? value : JSON.stringify(value));
}

type Row = { id: string; kind: string; step?: StepWire; waits: string; isBranch?: true };

/** A row a step; above the branches of a block one for the block, which asks once for all of them. */
function rowsOf({ steps, blocks = [] }: PlanWire, { ascii }: Style): Row[] {
  return steps.flatMap((step, index): Row[] => {
    const { id, kind } = step;
    if (step.block == null) return [{ id, kind, step, waits: waitsFor(step) }];
    const isLast = steps[index + 1]?.block !== step.block;
    const edge = isLast ? (ascii ? '`-' : '└') : ascii ? '|-' : '├';
    const branch: Row = { id: `${edge} ${id}`, kind, step, waits: ownWait(step), isBranch: true };
    if (steps[index - 1]?.block === step.block) return [branch];
    const approval = blocks.find((block) => block.id === step.block)?.approval ?? null;
    const window = step.window ?? null;
    return [{ id: step.block, kind: 'parallel', waits: waitsFor({ approval, window, wait: null }) }, branch];
  });
}

function tableLines(plan: PlanWire, style: Style): string[] {
  const rows = rowsOf(plan, style);
  const numbers = String(rows.filter(({ isBranch }) => isBranch !== true).length).length;
  const steps = longest(
    rows.map(({ id }) => id),
    8,
  );
  const kinds = longest(
    rows.filter(({ step }) => step?.wait?.wait !== 'point-of-no-return').map(({ kind }) => kind),
    4,
  );
  // Long names take their room from the targets, which can be cut.
  const changes = Math.max(
    10,
    Math.min(CHANGES_WIDTH, 105 - numbers - 1 - steps - kinds - EFFECT_WIDTH - 14),
  );
  const line = (index: string, id: string, kind: string, what: string, effect: string, waits: string) =>
    `${index.padStart(numbers)} ${pad(id, steps)}${pad(kind, kinds)}${pad(cut(style, what, changes - 1), changes)}${pad(effect, EFFECT_WIDTH)}${waits}`.trimEnd();
  const lines = [line('', 'STEP', 'KIND', 'CHANGES', 'EFFECT, UNDO', 'WAITS FOR')];
  let count = 0;
  for (const { id, kind, step, waits, isBranch } of rows) {
    if (isBranch !== true) count += 1;
    const number = isBranch === true ? '' : String(count);
    if (step?.wait?.wait === 'point-of-no-return') {
      const edge = (style.ascii ? '-' : '─').repeat(3);
      const text = `${edge} point of no return: past it abort is refused `;
      const fill = (style.ascii ? '-' : '─').repeat(
        Math.max(0, kinds + changes + EFFECT_WIDTH - 2 - text.length),
      );
      lines.push(`${number.padStart(numbers)} ${pad(id, steps)}${text}${fill}  ${waits}`.trimEnd());
      continue;
    }
    const what = step === undefined ? '' : changesOf(step, style);
    lines.push(line(number, id, kind, what, step === undefined ? '' : effectOf(step), waits));
  }
  return lines;
}

/** What the runbook has and this plan has not, with the reason. */
function leftOutLines({ leftOut }: PlanWire, style: Style): string[] {
  return leftOut.flatMap(({ id, kind, because }) =>
    wrapped(style, `Left out    ${id}  ${kind}  ${because}`, COLUMNS_MAX, LABEL_WIDTH),
  );
}

function laterLines({ followUps = [] }: PlanWire): string[] {
  return followUps.map(
    ({ id, afterMs, plan }) =>
      `Later, a run of its own: ${id} after ${lengthText(afterMs)}, plan ${plan.slice(0, 12)}`,
  );
}

/** Said of a plan and of its run: everybody who is asked reads why. */
export function emergencyLines({ emergency }: { emergency?: EmergencyWire | null }, style: Style): string[] {
  if (emergency === undefined || emergency === null) return [];
  const { freezes, reason } = emergency;
  const text = `Emergency   may start inside ${freezes.map(safe).join(', ')}: ${safe(reason)}`;
  return wrapped(style, text, COLUMNS_MAX, LABEL_WIDTH);
}

const HOUR_MS = 3_600_000;

/** Days and hours, where it is days. */
export function lengthText(ms: number): string {
  const hours = Math.floor(ms / HOUR_MS);
  if (hours < 24 || ms % HOUR_MS !== 0) return duration(ms);
  return hours % 24 === 0 ? `${hours / 24}d` : `${Math.floor(hours / 24)}d ${hours % 24}h`;
}

function longest(texts: readonly string[], least: number): number {
  return Math.max(least, ...texts.map((text) => text.length)) + 2;
}

type StepWire = PlanWire['steps'][number];

function changesOf(step: StepWire, style: Style): string {
  const [first, ...more] = step.targets;
  if (first === undefined) return dash(style);
  return more.length === 0 ? first : `${first}, ${more.length} more`;
}

function effectOf(step: StepWire): string {
  if (step.effect === 'none') return 'none';
  return step.undoMs > 0 ? `${step.effect}, ${duration(step.undoMs)}` : step.effect;
}

function waitsFor(asked: Pick<StepWire, 'approval' | 'window' | 'wait'>): string {
  const { approval, window } = asked;
  const votes = Object.entries(approval?.from ?? {}).map(([group, count]) => `${group} ${count}`);
  const via = approval === null || approval.via === 'any' ? '' : ` (via ${approval.via})`;
  const before = [
    ...(window == null ? [] : [safe(window)]),
    ...(ownWait(asked) === '' ? [] : [ownWait(asked)]),
  ];
  return `${[...before, ...votes].join(', ')}${via}`;
}

/** The time that it waits by itself. */
function ownWait({ wait }: Pick<StepWire, 'wait'>): string {
  return wait?.wait === 'timer' && wait.forMs !== undefined ? span(wait.forMs) : '';
}

/** The change freeze that holds, or the one that comes. */
function freezeTexts({ now: { changeFreeze, nextChangeFreeze } }: PlanWire): string[] {
  if (changeFreeze !== null) {
    return [`change freeze until ${day(changeFreeze.until)} (${changeFreeze.names.join(', ')})`];
  }
  if (nextChangeFreeze === null) return [];
  return [`no change freeze before ${day(nextChangeFreeze.from)} (${nextChangeFreeze.name})`];
}

function nowLines(plan: PlanWire, style: Style): string[] {
  const objective = `objective ${span(plan.rollback.withinMs)}`;
  const { undoBasis: basis, undoMs } = plan.now;
  const past = basis === null ? '' : ` (${basis.isP95 ? 'p95' : 'longest'} of ${basis.samples})`;
  const rollback = `Rollback    at most ${duration(undoMs)}${past}, ${objective}`;
  const lines = [twoParts(rollback, `Takes  about ${duration(plan.now.takesMs)}`, 60)];
  const groups = Object.entries(plan.now.canApprove).map(([group, people]) => {
    if (people.length > 3) return `${group} ${people.length} people`;
    return people.length === 0 ? `${group} nobody` : `${group} ${people.join(', ')}`;
  });
  if (groups.length > 0) {
    const text = `Can approve ${groups.join(dot(style))} (not ${plan.now.person}, who asks)`;
    lines.push(...wrapped(style, text, COLUMNS_MAX, LABEL_WIDTH));
  }
  const held = [...new Set(plan.now.leases.map(({ target }) => target))];
  const free = plan.now.leasesNeeded - held.length;
  const holders = plan.now.leases.map(
    (lease) =>
      `${lease.target} is held by run ${lease.run} (${lease.runbook}, requester ${lease.requester}), ${leftText(lease)}${lease.leftMs === null ? '' : ' left'}`,
  );
  lines.push(
    ...wrapped(
      style,
      `Leases      ${[`${free} of ${plan.now.leasesNeeded} free`, ...holders, ...freezeTexts(plan)].join(dot(style))}`,
      COLUMNS_MAX,
      LABEL_WIDTH,
    ),
  );
  if (plan.unverifiable.length > 0) {
    const text = `Not verified after a rollback: ${plan.unverifiable.join(', ')}`;
    lines.push(...wrapped(style, text, COLUMNS_MAX, LABEL_WIDTH));
  }
  return lines;
}
