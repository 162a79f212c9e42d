/**
 * Which phases wait for people. A step, or a block of parallel steps, asks once, before its first effect, for the greater
 * of what its environment asks at least and what the runbook adds. A point of no return asks for itself and for every step
 * below it.
 */
import { completed, mergeApprovals } from './approval-asked.ts';
import type { Collector } from './collector.ts';
import type { ApprovalAsked, Environment } from './environment.ts';
import type { PlannedEntry } from './entries.ts';
import { nearest } from './nearest.ts';
import { greatestEffect } from './phases.ts';
import { type Approval, type Emergency, type Phase, isWait } from './plan.ts';
import { quorumPossibleForAnyone } from './quorum.ts';
import { listOr } from './schema.ts';
import type { Path } from './yaml.ts';

type Where = { environment: Environment; emergency: Emergency | undefined };

/** The approvals of the plan, by step or block. Sets `waitsFor` of the phases that wait; notes what cannot stand or can never be given. */
export function placeApprovals(
  entries: readonly PlannedEntry[],
  phases: readonly Phase[],
  where: Where,
  found: Collector,
): Record<string, Approval> {
  const { environment, emergency } = where;
  const approvals: Record<string, Approval> = {};
  /** Entries whose effects would ask nobody. */
  const unasked: Gates[] = [];
  for (const [index, entry] of entries.entries()) {
    const own = phasesOf(entry, phases);
    if (!mayAsk(entry, own, found)) continue;
    const least = leastOf(own, environment);
    if (!groupsKnown(entry, environment, found)) continue;
    const isLine = entry.steps[0]?.isPointOfNoReturn === true;
    const below = entries.slice(index + 1).flatMap(({ steps }) => steps);
    const covers = [...entry.steps, ...(isLine ? below : [])].map(({ step }) => step.id);
    const branches = branchesOf(entry, own);
    const gates = branches.flatMap(gateOf);
    const leading = branches.flatMap(leadingOf);
    const added = entry.added.map(({ asked }) => asked);
    const approval = mergeApprovals([least, entry.approval, ...added], { covers, leading });
    if (approval === 'doors') refuseDoors(entry, least, found);
    else if (approval !== undefined) {
      approvals[entry.id] = asks({ entry, gates, covers, leading }, approval, where, found);
    } else if (isLine) refuseUnasked(entry.path, environment, found);
    else unasked.push({ entry, gates, covers, leading });
  }
  if (emergency === undefined) return approvals;
  for (const one of unasked) {
    // Nobody comes past the leave by the side: where its step is skipped, the effects below it still want its votes.
    const leave = approvals[leaveAbove(one, phases) ?? ''];
    if (leave !== undefined) {
      leave.covers.push(...one.covers);
      continue;
    }
    const { entry, covers, leading } = one;
    const approval = mergeApprovals([{ from: emergency.from }], { covers, leading });
    if (approval === undefined || approval === 'doors') break;
    approvals[entry.id] = asks(one, approval, where, found);
  }
  return approvals;
}

/** The approval of the first effect above that waits for one whatever the run finds: a step with a condition may be left out. */
function leaveAbove({ gates: [gate] }: Gates, phases: readonly Phase[]): string | undefined {
  const conditional = new Set(phases.flatMap(({ step, decides }) => (decides === undefined ? [] : [step])));
  return phases
    .slice(0, gate === undefined ? 0 : phases.indexOf(gate))
    .find(
      ({ step, effect, waitsFor }) =>
        effect !== 'none' && waitsFor?.approval !== undefined && !conditional.has(step),
    )?.waitsFor?.approval;
}

type Gates = { entry: PlannedEntry; gates: readonly Phase[]; covers: string[]; leading: string[] };

/** The approval with what is added to every one; the gates wait for it. Notes one that nobody could give. */
function asks(
  { entry, gates }: Gates,
  merged: Approval,
  { environment, emergency }: Where,
  found: Collector,
): Approval {
  const approval = completed(merged, environment, emergency);
  const impossible = quorumPossibleForAnyone(entry.id, approval, environment);
  if (impossible !== undefined) {
    const hint = `add people in environment ${environment.environment}, or ask for fewer votes`;
    found.add([...entry.path, 'approval'], { code: 'QuorumImpossible', message: impossible, hint });
  }
  if (approval.via === 'slack' && environment.slack === undefined) {
    const message = `${entry.id} is approved via slack, and environment ${environment.environment} names no channel of Slack.`;
    found.add([...entry.path, 'approval'], {
      message,
      hint: 'add  slack: { channel: C04LAUNCH }  to the environment, or take via away',
    });
  }
  for (const gate of gates) gate.waitsFor = { ...gate.waitsFor, approval: entry.id };
  return approval;
}

function phasesOf({ steps }: PlannedEntry, phases: readonly Phase[]): Phase[] {
  return phases.filter((phase) => steps.some(({ step }) => step.id === phase.step));
}

/** The phases of each branch, in the order in which they happen; a step that is no branch is one. */
function branchesOf({ steps }: PlannedEntry, own: readonly Phase[]): Phase[][] {
  const branches = new Map<string, Phase[]>();
  for (const { step } of steps) {
    const name = step.branch ?? step.id;
    const phases = own.filter((phase) => phase.step === step.id);
    branches.set(name, [...(branches.get(name) ?? []), ...phases]);
  }
  return [...branches.values()];
}

/** The phase of a branch that waits: its first effect, or the waiting itself. */
function gateOf(own: readonly Phase[]): Phase[] {
  const gate = own.find(({ effect, run }) => effect !== 'none' || (isWait(run) && run.wait === 'approval'));
  return gate === undefined ? [] : [gate];
}

function leadingOf(own: readonly Phase[]): string[] {
  const [gate] = gateOf(own);
  if (gate === undefined) return [];
  return own
    .slice(0, own.indexOf(gate))
    .filter(({ effect, run }) => effect === 'none' && !isWait(run))
    .map(({ id }) => id);
}

/** Whether the entry may ask at all. A step below the point of no return is covered by its approval. */
function mayAsk(entry: PlannedEntry, own: readonly Phase[], found: Collector): boolean {
  const { id, path, approval, steps } = entry;
  const at: Path = [...path, 'approval'];
  const uses = entry.isBlock ? undefined : steps[0]?.step.uses;
  if (steps[0]?.belowPointOfNoReturn === true) {
    if (approval !== undefined || uses === 'approval') {
      const message = `Step '${id}' asks for an approval below the point of no return, whose approval covers it already.`;
      found.add(at, {
        code: 'PointOfNoReturn',
        message,
        hint: 'add the votes to the point of no return',
        part: 'key',
      });
    }
    return false;
  }
  if (uses === 'approval' && approval === undefined) {
    const message = `Step '${id}' waits for an approval and asks nobody, expected a count for each group.`;
    found.add(path, { message, hint: 'write  approval: { from: { sre: 1 } }  beside uses' });
    return false;
  }
  const changes = own.some(({ effect }) => effect !== 'none');
  if (!changes && approval !== undefined && uses !== 'approval') {
    const message = `Step '${id}' changes nothing, so there is nothing to approve.`;
    found.add(at, {
      message,
      hint: 'take approval away, or put a step above it that uses approval',
      part: 'key',
    });
    return false;
  }
  return changes || uses === 'approval';
}

function leastOf(own: readonly Phase[], environment: Environment): ApprovalAsked | undefined {
  const effect = greatestEffect(own.map((phase) => phase.effect));
  return effect === 'none' ? undefined : environment.approvals.least[effect];
}

function groupsKnown(entry: PlannedEntry, environment: Environment, found: Collector): boolean {
  const known = Object.keys({ ...environment.groups, ...environment.slackGroups });
  const own = { asked: entry.approval ?? { from: {} }, path: [...entry.path, 'approval'] };
  const unknown = [own, ...entry.added].flatMap(({ asked, path }) =>
    Object.keys(asked.from).flatMap((group) => (known.includes(group) ? [] : [{ group, path }])),
  );
  for (const { group, path } of unknown) {
    const near = nearest(group, known);
    found.add([...path, 'from', group], {
      message: `Environment ${environment.environment} has no group '${group}', expected ${listOr(known)}.`,
      hint: near === undefined ? 'ask a group that the environment names' : `write ${near}`,
      part: 'key',
    });
  }
  return unknown.length === 0;
}

function refuseDoors(
  { approval, added, path }: PlannedEntry,
  least: ApprovalAsked | undefined,
  found: Collector,
): void {
  const written = [{ asked: approval, path: [...path, 'approval'] }, ...added].filter(
    ({ asked }) => asked?.via !== undefined && asked.via !== 'any',
  );
  const doors = [...new Set(written.map(({ asked }) => asked?.via))];
  const others = doors.length > 1 ? `and via ${doors[1]}` : `and the environment via ${least?.via}`;
  const message = `The runbook asks via ${doors[0]} ${others}, expected one door.`;
  found.add([...(written[0]?.path ?? path), 'via'], { message, hint: 'take via away' });
}

function refuseUnasked(path: Path, environment: Environment, found: Collector): void {
  found.add(path, {
    code: 'PointOfNoReturn',
    message: `The point of no return asks nobody, expected an approval here or approvals.least.irreversible in environment ${environment.environment}.`,
    hint: 'write  approval: { from: { owner: 1 } }  beside uses',
  });
}
