/** What Slack sends when somebody clicks, answers a window or types a command: the few members that are used, and no more. */
import { z } from 'zod';

const id = z.string().min(1).max(100);
const longId = z.string().min(1).max(300);
const team = z.object({ id });
const user = z.object({ id, team_id: id.optional() });

const buttonSchema = z.object({
  type: z.literal('block_actions'),
  team,
  user,
  api_app_id: id,
  trigger_id: longId,
  channel: z.object({ id }),
  container: z.object({ message_ts: id }),
  message: z.object({ thread_ts: id.optional() }).optional(),
  actions: z
    .array(z.object({ action_id: longId, value: z.string().max(2_000).optional(), action_ts: id }))
    .min(1)
    .max(1),
});

const answerSchema = z.object({
  type: z.literal('view_submission'),
  team,
  user,
  api_app_id: id,
  trigger_id: longId,
  view: z.object({
    id,
    callback_id: longId,
    private_metadata: z.string().max(3_000),
    state: z.object({
      values: z.record(
        z.string().max(255),
        z.record(z.string().max(255), z.looseObject({ value: z.unknown() })),
      ),
    }),
  }),
});

const commandSchema = z.object({
  command: z.string().max(100),
  text: z.string().max(4_000).default(''),
  team_id: id,
  user_id: id,
  api_app_id: id,
  channel_id: id,
  trigger_id: longId,
});

/** What somebody did, whichever way it came. */
export type Deed = {
  team: string;
  app: string;
  user: string;
  /** The user's own workspace, where Slack says it. */
  userTeam: string | undefined;
  /** Names what was done, so that it counts once. */
  seen: string;
} & (
  | {
      what: 'button';
      action: string;
      /** Id of the message that was clicked, as its button says. */
      message: string;
      channel: string;
      ts: string;
      trigger: string;
    }
  | { what: 'answer'; kind: string; message: string; values: Record<string, string> }
  | { what: 'command'; text: string; channel: string }
);

/** Undefined for what Countdown has no answer to, as a window that was closed. */
export function deedOf(payload: unknown): Deed | undefined {
  const type =
    typeof payload === 'object' && payload !== null && 'type' in payload ? payload.type : undefined;
  if (type === 'block_actions') {
    const read = buttonSchema.safeParse(payload);
    const [action] = read.data?.actions ?? [];
    if (read.data === undefined || action === undefined) return undefined;
    const { channel, container, trigger_id: trigger, ...rest } = read.data;
    return {
      what: 'button',
      ...commonOf(rest),
      seen: `button/${rest.user.id}/${action.action_ts}/${trigger}`,
      action: action.action_id,
      message: action.value ?? '',
      channel: channel.id,
      ts: container.message_ts,
      trigger,
    };
  }
  if (type === 'view_submission') {
    const read = answerSchema.safeParse(payload);
    if (!read.success) return undefined;
    const { view, trigger_id: trigger, ...rest } = read.data;
    const values = Object.entries(view.state.values).flatMap(([block, elements]) => {
      const [element] = Object.values(elements);
      return typeof element?.value === 'string' ? [[block, element.value] as const] : [];
    });
    return {
      what: 'answer',
      ...commonOf(rest),
      seen: `answer/${view.id}/${trigger}`,
      kind: view.callback_id,
      message: view.private_metadata,
      values: Object.fromEntries(values),
    };
  }
  return undefined;
}

function commonOf(read: {
  team: { id: string };
  user: { id: string; team_id?: string | undefined };
  api_app_id: string;
}) {
  return { team: read.team.id, app: read.api_app_id, user: read.user.id, userTeam: read.user.team_id };
}

/** A slash command as its form says it. */
export function commandOf(form: unknown): Deed | undefined {
  const read = commandSchema.safeParse(form);
  if (!read.success) return undefined;
  const {
    team_id: teamId,
    api_app_id: app,
    user_id: who,
    trigger_id: trigger,
    text,
    channel_id: channel,
  } = read.data;
  return {
    what: 'command',
    team: teamId,
    app,
    user: who,
    userTeam: undefined,
    seen: `command/${trigger}`,
    text: text.trim(),
    channel,
  };
}
