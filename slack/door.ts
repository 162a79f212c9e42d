/**
 * The door `slack`: what somebody does in Slack becomes a decision by the same path as any other.
 *
 *   deed ─▶ our workspace and app? ─▶ taken before? ─▶ which message? ─▶ which person? ─▶ his right ─▶ api/decide.ts
 *
 * It is acknowledged at once; the answer comes when the workflow has given it, and only its person sees it. What is
 * refused is journalled, wherever it is refused.
 */
import { createHash } from 'node:crypto';
import { type ApiDeps, denial } from '../api/context.ts';
import { type NewDecision, decide } from '../api/decide.ts';
import { type Permission, mayDo, rolesIn } from '../api/permissions.ts';
import { ApiProblem } from '../api/problems.ts';
import { sayReady } from '../api/say-ready.ts';
import { checkVoter } from '../api/voter.ts';
import type { Environment } from '../procedures/environment.ts';
import type { Json, Plan } from '../procedures/plan.ts';
import type { SlackAbout, SlackMessage, SlackStore } from '../store/slack.ts';
import type { RunDetail } from '../store/types.ts';
import { type SlackClient, SlackTrouble } from './client.ts';
import { answerCommand } from './command.ts';
import type { Directory } from './directory.ts';
import { type Asking, REASON, reasonModal, reasonProblem, runModal } from './modals.ts';
import type { Deed } from './payload.ts';
import type { Refusals } from './refusals.ts';
import { safe } from './words.ts';

export type DoorDeps = Pick<ApiDeps, 'store' | 'launcher' | 'log' | 'groupsNow' | 'environments' | 'now'> & {
  slack: SlackStore;
  client: SlackClient;
  directory: Directory;
  refusals: Refusals;
  /** The workspace and the app whose clicks are taken. */
  team: string;
  app: string;
};

/** What Slack is told at once: nothing, a body, or that the request is not for us. */
export type Ack = { body?: { [member: string]: Json } } | { refused: string };

export type Door = {
  take(deed: Deed): Promise<Ack>;
  /** Resolves when everything that was acknowledged has its answer. */
  settled(): Promise<void>;
};

export function makeDoor(deps: DoorDeps): Door {
  const working = new Set<Promise<void>>();
  /** Goes on after the acknowledgement; whoever waits for an answer gets one. */
  const later = (deed: Deed, work: Promise<void>): Ack => {
    const task = work
      .catch(async (error: unknown) => {
        deps.log.error({ err: error, user: deed.user }, 'slack: a click was not dealt with');
        await apologize(deps, deed, error);
      })
      .finally(() => working.delete(task));
    working.add(task);
    return {};
  };
  return {
    async take(deed) {
      if (deed.team !== deps.team || deed.app !== deps.app || isStranger(deed, deps.team)) {
        const where = isStranger(deed, deps.team) ? deed.userTeam : `${deed.team}, app ${deed.app}`;
        const detail = `A click of workspace ${safe(where ?? '', 60)} came, expected ${deps.team}, app ${deps.app}.`;
        await deps.refusals.tell({ code: 'SlackOtherTeam', detail, user: deed.user });
        return { refused: detail };
      }
      if (!(await deps.slack.see([createHash('sha256').update(deed.seen).digest('hex')]))) {
        await deps.refusals.tell({
          code: 'SlackReplay',
          detail: `A ${deed.what} that was taken before came once more. Nothing was counted.`,
          user: deed.user,
        });
        return {};
      }
      switch (deed.what) {
        case 'button':
          return later(deed, press(deps, deed));
        case 'answer': {
          const problem = deed.kind === 'view' ? undefined : reasonProblem(deed.values[REASON] ?? '');
          if (problem !== undefined)
            return { body: { response_action: 'errors', errors: { [REASON]: problem } } };
          return deed.kind === 'view' ? {} : later(deed, answer(deps, deed));
        }
        case 'command':
          return { body: { response_type: 'ephemeral', text: await answerCommand(deps, deed) } };
      }
    },

    async settled() {
      while (working.size > 0) await Promise.all(working);
    },
  };
}

/** Whoever pressed a button hears that it did nothing, as far as Slack takes it. */
async function apologize(deps: DoorDeps, deed: Deed, error: unknown): Promise<void> {
  if (deed.what !== 'button') return;
  const text =
    error instanceof SlackTrouble
      ? 'Slack does not say who you are. Nothing was counted: try again.'
      : 'Something went wrong inside. Look at the run before you try again.';
  await deps.client
    .whisper({ channel: deed.channel, thread: undefined, user: deed.user, text })
    .catch((cause: unknown) => deps.log.warn({ err: cause }, 'slack: answer to a click not said'));
}

/** A channel may be shared with another workspace, whose people are nobody here. */
function isStranger({ userTeam }: Deed, team: string): boolean {
  return userTeam !== undefined && userTeam !== team;
}

/** What a click is about, and who clicked. */
type Scene = {
  message: SlackMessage & { channel: string };
  about: SlackAbout;
  run: RunDetail;
  plan: Plan;
  environment: Environment;
  person: string;
  user: string;
};

type Button = Extract<Deed, { what: 'button' }>;

/** The message must be the one that was sent: an id that was copied into another message says nothing. */
async function sceneOf(
  deps: DoorDeps,
  deed: Button | Extract<Deed, { what: 'answer' }>,
): Promise<Scene | undefined> {
  const { user } = deed;
  const message = await deps.slack.message(deed.message);
  const isThere =
    message !== undefined &&
    (deed.what !== 'button' || (message.channel === deed.channel && (message.ts ?? deed.ts) === deed.ts));
  const run = message === undefined ? undefined : await deps.store.run(message.run);
  const plan = run === undefined ? undefined : await deps.store.plan(run.plan);
  const environment =
    run === undefined ? undefined : (await deps.environments.current()).get(run.environment);
  if (
    !isThere ||
    run === undefined ||
    plan === undefined ||
    environment === undefined ||
    message.about === null
  ) {
    await deps.refusals.tell({
      code: 'SlackMessageUnknown',
      detail: `A ${deed.what} came for a message that Countdown did not send. Nothing was counted.`,
      user,
    });
    return undefined;
  }
  const person = await deps.directory.personOf(environment, user);
  if (person === undefined) {
    const detail = `Your account of Slack is no person of environment ${environment.environment}: ask its owner to add it.`;
    await deps.store.refused({
      environment: environment.environment,
      person: null,
      door: 'slack',
      run: run.run,
      code: 'SlackPersonUnknown',
      detail: `Account ${safe(user, 60)} is no person of the environment file.`,
    });
    await whisper(deps, message, user, detail);
    return undefined;
  }
  return { message, about: message.about, run, plan, environment, person, user };
}

async function press(deps: DoorDeps, deed: Button): Promise<void> {
  const scene = await sceneOf(deps, deed);
  if (scene === undefined) return;
  const { run, plan, about, message } = scene;
  const open = (kind: Asking) =>
    opening(
      deps,
      scene,
      deed.trigger,
      reasonModal({ kind, message: message.id, run, plan, step: about.step ?? null }),
    );
  switch (deed.action) {
    case 'view':
      if (!(await hasRight(deps, scene, 'read'))) return;
      return opening(deps, scene, deed.trigger, runModal(run, plan));
    case 'approve':
      if (plan.approvals[about.step ?? '']?.comment === 'required') return open('approve');
      return tellAnswer(deps, scene, () => deciding(deps, scene, { kind: 'approve', reason: null }));
    case 'reject':
      return open('reject');
    case 'pause':
    case 'abort':
      return open(deed.action);
    case 'resume':
      return tellAnswer(deps, scene, () => deciding(deps, scene, { kind: 'resume', reason: null }));
    case 'ready':
      return tellAnswer(deps, scene, () => beingThere(deps, scene));
    default:
      deps.log.warn({ action: deed.action.slice(0, 40) }, 'slack: a button that is not known');
  }
}

async function answer(deps: DoorDeps, deed: Extract<Deed, { what: 'answer' }>): Promise<void> {
  const kinds = ['approve', 'reject', 'abort', 'pause'] as const;
  const kind = kinds.find((one) => one === deed.kind);
  if (kind === undefined) return;
  const scene = await sceneOf(deps, deed);
  if (scene === undefined) return;
  const reason = (deed.values[REASON] ?? '').trim();
  return tellAnswer(deps, scene, () => deciding(deps, scene, { kind, reason }));
}

async function opening(deps: DoorDeps, scene: Scene, trigger: string, view: Json): Promise<void> {
  try {
    await deps.client.openModal(trigger, view);
  } catch (error) {
    deps.log.warn({ err: error, run: scene.run.run }, 'slack: window not opened');
    await whisper(
      deps,
      scene.message,
      scene.user,
      'Slack did not open the window in time: press the button again.',
    );
  }
}

type Said = { kind: NewDecision['kind']; reason: string | null };

/** Says what came of it to whoever asked. */
async function tellAnswer(
  deps: DoorDeps,
  scene: Scene,
  act: () => Promise<{ detail: string }>,
): Promise<void> {
  let text: string;
  try {
    text = (await act()).detail;
  } catch (error) {
    if (!(error instanceof ApiProblem)) throw error;
    text = error.message;
  }
  await whisper(deps, scene.message, scene.user, text);
}

const PERMISSIONS = {
  approve: 'decide',
  reject: 'decide',
  abort: 'abort',
  pause: 'steer',
  resume: 'steer',
} as const satisfies Partial<Record<NewDecision['kind'], Permission>>;

async function deciding(deps: DoorDeps, scene: Scene, { kind, reason }: Said): ReturnType<typeof decide> {
  const { run, person, about } = scene;
  // What Slack says of its groups at this moment holds for the right too.
  const { environment } = await deps.directory.readNow(scene.environment);
  const isVote = kind === 'approve' || kind === 'reject';
  if (isVote) await checkVoter(deps, { run, environment, step: about.step ?? '', person, door: 'slack' });
  const permission = kind in PERMISSIONS ? PERMISSIONS[kind as keyof typeof PERMISSIONS] : 'steer';
  await requireRight(deps, { ...scene, environment }, permission);
  return decide(deps, run, environment, {
    kind,
    subject: isVote ? (about.step ?? null) : null,
    person,
    door: 'slack',
    plan: about.plan ?? null,
    evidence: isVote ? (about.evidence ?? null) : null,
    reason,
    resolution: null,
  });
}

/** Says that the person is there to approve, where the run waits to hear it. */
async function beingThere(deps: DoorDeps, scene: Scene): Promise<{ detail: string }> {
  const { run, person } = scene;
  const { environment } = await deps.directory.readNow(scene.environment);
  await requireRight(deps, { ...scene, environment }, 'decide');
  await sayReady(deps, { run, environment, person, door: 'slack' });
  return { detail: `Counted. You are there to approve run ${run.run}.` };
}

async function requireRight(deps: DoorDeps, scene: Scene, permission: Permission): Promise<void> {
  const { run, environment, person } = scene;
  const roles = rolesIn(environment, person);
  if (mayDo(permission, roles, { isRequester: run.requester === person })) return;
  const detail = denial(person, permission, environment.environment, roles);
  await deps.store.refused({
    environment: environment.environment,
    person,
    door: 'slack',
    run: run.run,
    code: 'NotAllowed',
    detail,
  });
  throw new ApiProblem('NotAllowed', detail);
}

/** To look is refused without a row: looking cannot fill the journal. */
async function hasRight(deps: DoorDeps, scene: Scene, permission: Permission): Promise<boolean> {
  const { run, environment, person, message, user } = scene;
  const roles = rolesIn(environment, person);
  if (mayDo(permission, roles, { isRequester: run.requester === person })) return true;
  await whisper(deps, message, user, denial(person, permission, environment.environment, roles));
  return false;
}

/** Only this person sees it. What cannot be said to him stands in the journal and in the log all the same. */
async function whisper(
  deps: DoorDeps,
  message: SlackMessage & { channel: string },
  user: string,
  text: string,
): Promise<void> {
  // A question stands in the channel too, and is answered where it is seen; what is in the thread alone, there.
  const thread = message.body.place === 'thread' ? await threadOf(deps, message) : undefined;
  try {
    await deps.client.whisper({ channel: message.channel, thread, user, text: safe(text, 2_000) });
  } catch (error) {
    deps.log.warn({ err: error, run: message.run }, 'slack: answer to a click not said');
  }
}

async function threadOf(deps: DoorDeps, { run }: SlackMessage): Promise<string | undefined> {
  const parent = (await deps.slack.messages(run)).find(({ key }) => key === 'run');
  return parent?.ts ?? undefined;
}
