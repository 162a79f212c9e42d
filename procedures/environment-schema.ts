/** What an environment file may say, key by key. Keys of later versions are known here, so that they are refused by name. */
import { z } from 'zod';
import { approvalSchema } from './approval-asked.ts';
import { changeFreezesSchema } from './calendar.ts';
import { commandTargetSchema } from './command-target.ts';
import type { Environment, Target } from './environment.ts';
import { APPROVAL_EXPIRES_MS_MAX, SECOND_MS } from './limits.ts';
import { migrationsTargetSchema } from './migrations-target.ts';
import { nearest } from './nearest.ts';
import type { Problem } from './problem.ts';
import { LATER_MARK, durationSchema, exact, later, lineSchema, listOr, nameSchema } from './schema.ts';
import { secretSchema } from './secret-ref.ts';
import { groupSchema, slackProblems, slackSchema, slackUserSchema, splitGroups } from './slack-entries.ts';
import { DURATION_MS_MAX, writeDuration } from './units.ts';
import { windowsSchema } from './windows.ts';
import type { Path, Source } from './yaml.ts';

const URL_FORM = 'an address that begins with http:// or https://';

const urlSchema = z
  .string(URL_FORM)
  .superRefine((text, context) => {
    const refuse = (message: string, params: { hint?: string; expected?: string } = {}) =>
      context.addIssue({ code: 'custom', message, params });
    const url = URL.canParse(text) ? new URL(text) : undefined;
    // Before anything is shown of it: what stands before @ may be a password.
    if (text.includes('@')) {
      const hint = 'take them out, and write  token: { env: NAME }  where one is needed';
      refuse('The address holds a user or a password, expected neither: secrets are references.', { hint });
    } else if (
      !(url?.protocol === 'http:' || url?.protocol === 'https:') ||
      text.length > 1_000 ||
      /\s/.test(text)
    ) {
      refuse('', { expected: URL_FORM });
    } else if (url.search !== '' || url.hash !== '') {
      refuse('', { expected: 'an address without ? and #' });
    }
  })
  .meta({
    pattern: '^https?://[^@?#\\s]+$',
    description: 'Begins with http:// or https://, and holds no secret.',
  });

/** A reference as editors know it; the schema itself says nothing of what it takes, since it shows nothing of it. */
const secret = secretSchema.exactOptional().meta({
  description: 'A reference to a secret, never the secret itself.',
  oneOf: [oneKey('env', '^[A-Za-z_][A-Za-z0-9_]{0,127}$'), oneKey('file', '^/\\S{1,1000}$')],
});

function oneKey(key: string, pattern: string) {
  const properties = { [key]: { type: 'string', pattern } };
  return { type: 'object', properties, required: [key], additionalProperties: false };
}

const worker = nameSchema.exactOptional().describe('The pool of workers that can reach it.');
const laterMetrics = later('metrics comes with a later version of the http target.', 'take it away');

const switchValue = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]{0,39}$/i, 'a short word of letters, digits, dots and hyphens');

const targetKinds = {
  http: exact({
    kind: z.literal('http'),
    url: urlSchema,
    token: secret,
    secretPath: secret,
    worker,
    metrics: laterMetrics,
    secrets: later('secrets comes with a later version of the http target.', 'take it away'),
    maxRate: later('maxRate comes with a later version of the http target.', 'take it away'),
    tokens: later('tokens comes with a later version of the http target.', 'take it away'),
  }),
  sqlite: exact({
    kind: z.literal('sqlite'),
    path: z
      .string()
      .regex(/^\/[^\0]{1,1000}$/, 'an absolute path, the same for everybody who reads this file')
      .describe('An absolute path; only workers on that machine can reach it.'),
    worker,
  }),
  postgres: exact({
    kind: z.literal('postgres'),
    host: z.string().regex(/^[A-Za-z0-9.:_-]{1,255}$/, 'the name or address of a machine'),
    port: z.int().min(1).max(65_535).default(5_432),
    database: lineSchema(63),
    user: lineSchema(63),
    password: secret,
    tls: z
      .enum(['verify-full', 'disable'])
      .default('verify-full')
      .describe('Whether the certificate is checked. Default verify-full.'),
    worker,
  }),
  switch: exact({
    kind: z.literal('switch'),
    url: urlSchema,
    token: secret,
    values: z
      .array(switchValue)
      .min(2, 'at least 2 values')
      .max(20)
      .refine((values) => new Set(values).size === values.length, {
        error: 'A value stands in values twice, expected once.',
      })
      .meta({ uniqueItems: true, description: 'At least 2; database.import needs 4, by position.' }),
    worker,
  }),
  command: commandTargetSchema,
  migrations: migrationsTargetSchema,
};

const LATER_KINDS = ['files', 's3', 'router', 'prometheus', 'postgres-scratch', 'k6'];

const laterKind = (kind: string) =>
  z
    .looseObject({ kind: z.literal(kind) })
    .superRefine((_, context) => {
      const message = `Targets of kind '${kind}' come with a later version, expected ${listOr(Object.keys(targetKinds))}.`;
      context.addIssue({
        code: 'custom',
        message,
        path: ['kind'],
        params: { code: 'NotSupported', hint: 'take the target away' },
      });
    })
    .meta({ [LATER_MARK]: true });

const targetSchema = z.discriminatedUnion(
  'kind',
  [
    targetKinds.http,
    targetKinds.sqlite,
    targetKinds.postgres,
    targetKinds.switch,
    targetKinds.command,
    targetKinds.migrations,
    ...LATER_KINDS.map(laterKind),
  ],
  {
    error: (issue) => (issue.code === 'invalid_union' ? listOr(Object.keys(targetKinds)) : undefined),
  },
);

const ESCALATIONS_MAX = 5;

const escalateSchema = z
  .array(
    exact({
      after: durationSchema({ ms: SECOND_MS }, { ms: APPROVAL_EXPIRES_MS_MAX }).describe(
        'Time from asking to calling this group.',
      ),
      to: nameSchema.describe('The group that is called.'),
    }).transform(({ after, to }) => ({ afterMs: after, to })),
    'a list, as in [{ after: 1h, to: owner }]',
  )
  .min(1, 'at least 1 group')
  .max(ESCALATIONS_MAX, `at most ${ESCALATIONS_MAX} groups`)
  .superRefine((calls, context) => {
    for (const [index, { afterMs }] of calls.entries()) {
      const before = calls[index - 1];
      if (before === undefined || before.afterMs < afterMs) continue;
      const message = `The group is called after ${writeDuration(afterMs)}, expected more than the ${writeDuration(before.afterMs)} of the one above.`;
      const params = { hint: 'write them in the order in which they are called' };
      context.addIssue({ code: 'custom', path: [index, 'after'], message, params });
    }
  })
  .describe('Who is called when nobody has decided. It never changes who may approve.');

const peopleList = z.array(nameSchema).max(1_000);

export const environmentSchema = exact({
  environment: nameSchema.describe('The name of the file, without .yaml.'),
  protected: z
    .boolean()
    .default(false)
    .describe('No injected failures, and runbooks of the server only. Default false.'),
  worker: worker.describe('The pool of every target that names none. Default: default.'),
  targets: z
    .record(nameSchema, targetSchema)
    .default({})
    .describe('What runbooks may touch, by the names that they use.'),
  people: z
    .record(
      nameSchema,
      exact({ email: lineSchema(254).exactOptional(), slack: slackUserSchema.exactOptional() }),
    )
    .default({})
    .describe('One entry a human, so one vote.'),
  roles: exact({
    operator: peopleList.default([]).describe('Plan, start and steer runs.'),
    admin: peopleList.default([]).describe('Make tokens and empty the desk.'),
    auditor: peopleList.default([]).describe('Read evidence.'),
  })
    .default({ operator: [], admin: [], auditor: [] })
    .describe('Everybody else in the file is a viewer.'),
  groups: z.record(nameSchema, groupSchema).default({}).describe('Whose members may approve.'),
  approvals: exact({
    least: exact({
      reversible: approvalSchema.exactOptional(),
      costly: approvalSchema.exactOptional(),
      irreversible: approvalSchema.exactOptional(),
    })
      .default({})
      .describe('The least that is asked for a step, by its greatest effect; a runbook can only add.'),
    escalate: escalateSchema.exactOptional(),
    breakGlass: z
      .boolean()
      .exactOptional()
      .describe(
        'Two people who may approve, each with a reason, may stand for everybody who is asked; the run stays marked. Default false.',
      ),
  })
    .default({ least: {} })
    .describe('What must be approved.'),
  retention: exact({
    least: durationSchema({ ms: SECOND_MS }, { ms: DURATION_MS_MAX }).describe('A duration.'),
  })
    .exactOptional()
    .describe('How long old data is kept at least.'),
  slack: slackSchema.exactOptional().describe('Where runs are told, and approvals are asked.'),
  windows: windowsSchema.exactOptional().describe('Hours in which a step may start, by name.'),
  changeFreezes: changeFreezesSchema
    .exactOptional()
    .describe('Dates on which no run starts. Rollbacks go on.'),
}).transform(
  ({
    environment,
    protected: isProtected,
    worker: pool,
    targets,
    people,
    roles,
    groups,
    approvals,
    retention,
    slack,
    windows,
    changeFreezes,
  }): Environment => ({
    environment,
    protected: isProtected,
    targets: Object.fromEntries(
      Object.entries(targets).map(([name, target]) => [name, inPool(target as Target, pool)]),
    ),
    people,
    roles,
    ...groupsOf(groups),
    approvals: {
      least: approvals.least,
      ...(approvals.escalate === undefined ? {} : { escalate: approvals.escalate }),
      ...(approvals.breakGlass === true ? { breakGlass: true } : {}),
    },
    ...(retention === undefined ? {} : { retention: { leastMs: retention.least } }),
    ...(slack === undefined ? {} : { slack }),
    ...(windows === undefined ? {} : { windows }),
    ...(changeFreezes === undefined ? {} : { changeFreezes }),
  }),
);

function groupsOf(written: Parameters<typeof splitGroups>[0]): Pick<Environment, 'groups' | 'slackGroups'> {
  const { groups, slackGroups } = splitGroups(written);
  return { groups, ...(Object.keys(slackGroups).length === 0 ? {} : { slackGroups }) };
}

/** The file's own `worker` is that of every target that names none. */
function inPool(target: Target, pool: string | undefined): Target {
  return target.worker !== undefined || pool === undefined ? target : { ...target, worker: pool };
}

/** What one key cannot know alone: names that another part of the file must have. */
export function environmentProblems(environment: Environment, source: Source): Problem[] {
  const people = Object.keys(environment.people);
  const groups = Object.keys({ ...environment.groups, ...environment.slackGroups });
  const problems: Problem[] = slackProblems(environment, source);
  const check = (what: string, name: string, known: string[], path: Path, part: 'key' | 'value') => {
    if (known.includes(name)) return;
    const near = nearest(name, known);
    problems.push({
      ...source.place(path, part),
      code: 'EnvironmentInvalid',
      message: `'${name}' is no ${what} of this file, expected ${listOr(known)}.`,
      hint: near === undefined ? `add ${name} to the file, or take the name away` : `write ${near}`,
    });
  };
  for (const [list, members] of [
    ...Object.entries(environment.roles).map(([role, names]) => [['roles', role], names] as const),
    ...Object.entries(environment.groups).map(([group, names]) => [['groups', group], names] as const),
  ]) {
    for (const [index, person] of members.entries()) {
      check('person', person, people, [...list, index], 'value');
      if (members.indexOf(person) < index) {
        const message = `'${person}' stands in ${list.join('.')} twice, expected once.`;
        problems.push({
          ...source.place([...list, index]),
          code: 'EnvironmentInvalid',
          message,
          hint: 'take one of the two away',
        });
      }
    }
  }
  for (const [effect, asked] of Object.entries(environment.approvals.least)) {
    for (const group of Object.keys(asked.from)) {
      check('group', group, groups, ['approvals', 'least', effect, 'from', group], 'key');
    }
  }
  for (const [index, { to }] of (environment.approvals.escalate ?? []).entries()) {
    check('group', to, groups, ['approvals', 'escalate', index, 'to'], 'value');
  }
  for (const [index, { emergency }] of (environment.changeFreezes ?? []).entries()) {
    for (const group of Object.keys(emergency?.from ?? {})) {
      check('group', group, groups, ['changeFreezes', index, 'emergency', 'from', group], 'key');
    }
  }
  return problems;
}
