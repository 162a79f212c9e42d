/** What an environment file says of Slack: where its runs are told, who its people are there, and which groups Slack keeps. */
import { z } from 'zod';
import type { Environment } from './environment.ts';
import type { Problem } from './problem.ts';
import { exact, nameSchema } from './schema.ts';
import type { Source } from './yaml.ts';

const CHANNEL_FORM =
  "the id of a channel, such as 'C04LAUNCH': it stands at the end of the channel's details";
const USER_FORM =
  "the id of a person, such as 'U02ANA': it stands in the person's profile, under Copy member ID";
const GROUP_FORM = "the id of a user group, such as 'S05PRODUCT'";

export const slackSchema = exact({
  channel: z
    .string(CHANNEL_FORM)
    .regex(/^[CG][A-Z0-9]{2,20}$/, CHANNEL_FORM)
    .describe('The id of the channel in which runs are told and approvals are asked.'),
});

export const slackUserSchema = z.string(USER_FORM).regex(/^[UW][A-Z0-9]{2,20}$/, USER_FORM);

const slackGroupSchema = exact({
  slackGroup: z
    .string(GROUP_FORM)
    .regex(/^S[A-Z0-9]{2,20}$/, GROUP_FORM)
    .describe('The id of a user group; its members are read at each decision.'),
});

/** Members by name, or a user group that Slack keeps. */
export const groupSchema = z.union([z.array(nameSchema).max(1_000), slackGroupSchema], {
  error: 'a list of people, as in [ana, ben], or a group that Slack keeps, as in { slackGroup: S05PRODUCT }',
});

/** The groups of the file apart from those that Slack keeps. */
export function splitGroups(groups: Record<string, z.infer<typeof groupSchema>>): {
  groups: Record<string, string[]>;
  slackGroups: Record<string, string>;
} {
  const split: ReturnType<typeof splitGroups> = { groups: {}, slackGroups: {} };
  for (const [name, group] of Object.entries(groups)) {
    if (Array.isArray(group)) split.groups[name] = group;
    else split.slackGroups[name] = group.slackGroup;
  }
  return split;
}

/** Whoever clicks in Slack must be one person of the file, or a person would have two votes. */
export function slackProblems(environment: Environment, source: Source): Problem[] {
  return [...doubledPeople(environment, source), ...doorsWithoutChannel(environment, source)];
}

function doorsWithoutChannel({ approvals, slack }: Environment, source: Source): Problem[] {
  if (slack !== undefined) return [];
  return Object.entries(approvals.least).flatMap(([effect, { via }]) =>
    via === 'slack'
      ? {
          ...source.place(['approvals', 'least', effect, 'via'], 'value'),
          code: 'EnvironmentInvalid' as const,
          message: `approvals.least.${effect} is asked via slack, and this file names no channel of Slack.`,
          hint: 'add  slack: { channel: C04LAUNCH }',
        }
      : [],
  );
}

function doubledPeople({ people }: Environment, source: Source): Problem[] {
  const seen = new Map<string, string>();
  return Object.entries(people).flatMap(([person, { slack }]) => {
    const other = slack === undefined ? undefined : seen.get(slack);
    if (slack !== undefined) seen.set(slack, person);
    if (other === undefined) return [];
    return [
      {
        ...source.place(['people', person, 'slack'], 'value'),
        code: 'EnvironmentInvalid' as const,
        message: `'${slack}' is the Slack id of ${other} and of ${person}, expected one person.`,
        hint: 'take one of the two away',
      },
    ];
  });
}
