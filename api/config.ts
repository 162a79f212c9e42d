/** The API's settings, from environment variables or files; all that is wrong is said at once, at the start. */
import { z } from 'zod';
import { ConfigError, type Secrets, type Variables, readSettings, secretsOf } from '../store/settings.ts';
import { type IsProxy, makeIsProxy, nobody } from './address.ts';
import { QUOTAS, type Quotas } from './limits.ts';
import { type Provider, readProviders } from './oidc.ts';
import type { SlackConfig } from '../slack/index.ts';

export { ConfigError } from '../store/settings.ts';

const address = z
  .string()
  .regex(/^(?:[\w.-]+|\[[0-9a-f:]+\]):\d{1,5}$/i, "expected HOST:PORT, as '127.0.0.1:8080'")
  .transform((text) => {
    const at = text.lastIndexOf(':');
    return { host: text.slice(0, at).replace(/^\[|\]$/g, ''), port: Number(text.slice(at + 1)) };
  })
  .refine(({ port }) => port <= 65_535, 'expected a port of at most 65535');

const postgresUrl = z
  .string()
  .refine((text) => /^postgres(ql)?:\/\//.test(text) && URL.canParse(text), 'expected a URL postgres://…');

const LIMIT_NAMES: Record<string, keyof Quotas> = {
  read: 'read',
  write: 'write',
  decide: 'decide',
  abort: 'abort',
  'sign-in': 'signIn',
};
const LIMITS = /^(?:read|write|decide|abort|sign-in)=[1-9]\d{0,6}$/;

const limits = z
  .string()
  .transform((text) => text.split(',').map((one) => one.trim()))
  .refine(
    (all) => all.every((one) => LIMITS.test(one)),
    "expected requests a minute, as 'read=600,write=120'",
  )
  .transform((all): Quotas => {
    const quotas = { ...QUOTAS };
    for (const one of all) {
      const [name = '', count] = one.split('=');
      const key = LIMIT_NAMES[name];
      if (key !== undefined) quotas[key] = Number(count);
    }
    return quotas;
  });

const proxies = z.string().transform((text, context): IsProxy => {
  try {
    return makeIsProxy(text.split(',').map((one) => one.trim()));
  } catch {
    context.addIssue({ code: 'custom', message: "expected addresses and ranges, as '10.0.0.0/8,192.0.2.7'" });
    return z.NEVER;
  }
});

const providers = z.string().transform((path, context): Provider[] => {
  try {
    return readProviders(path);
  } catch (error) {
    context.addIssue({ code: 'custom', message: error instanceof Error ? error.message : String(error) });
    return z.NEVER;
  }
});

const Settings = z.object({
  COUNTDOWN_DATABASE_URL: postgresUrl,
  COUNTDOWN_MIGRATE_URL: postgresUrl.optional(),
  TEMPORAL_ADDRESS: z.string().regex(/^[^\s/]+:\d{1,5}$/, "expected HOST:PORT, as '127.0.0.1:7233'"),
  TEMPORAL_NAMESPACE: z.string().min(1).default('default'),
  TEMPORAL_TLS: z.enum(['true', 'false']).default('false'),
  TEMPORAL_API_KEY: z.string().min(1).optional(),
  COUNTDOWN_TASK_QUEUE: z.string().min(1).default('countdown'),
  COUNTDOWN_ENVIRONMENTS: z.string().min(1),
  COUNTDOWN_RUNBOOKS: z.string().min(1),
  COUNTDOWN_LISTEN: address.prefault('127.0.0.1:8080'),
  COUNTDOWN_LIMITS: limits.prefault('read=600'),
  COUNTDOWN_TRUSTED_PROXIES: proxies.optional(),
  COUNTDOWN_METRICS_LISTEN: address.optional(),
  COUNTDOWN_OIDC: providers.optional(),
  COUNTDOWN_SLACK_BOT_TOKEN: z
    .string()
    .regex(/^xoxb-[\w-]{10,200}$/, 'expected a bot token, xoxb-…')
    .optional(),
  COUNTDOWN_SLACK_APP_TOKEN: z
    .string()
    .regex(/^xapp-[\w-]{10,200}$/, 'expected an app-level token, xapp-…')
    .optional(),
  COUNTDOWN_SLACK_SIGNING_SECRET: z
    .string()
    .regex(/^[0-9a-f]{32,64}$/, 'expected at least 32 hex digits')
    .refine(
      (text) => new Set(text).size > 4,
      'expected the secret of the app, not one that anybody can guess',
    )
    .optional(),
  COUNTDOWN_SLACK_TEAM: z
    .string()
    .regex(/^T[A-Z0-9]{2,20}$/, "expected the id of a workspace, such as 'T0PIANO'")
    .optional(),
  COUNTDOWN_SLACK_APP: z
    .string()
    .regex(/^A[A-Z0-9]{2,20}$/, "expected the id of an app, such as 'A0COUNTDOWN'")
    .optional(),
  COUNTDOWN_SLACK_URL: z
    .string()
    .regex(/^https?:\/\/[^@?#\s]+\/$/, 'expected an address that ends in /')
    .default('https://slack.com/api/'),
  COUNTDOWN_LOG_LEVEL: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
});

/** What of the settings is secret. */
const SECRETS: Secrets<keyof (typeof Settings)['shape']> = {
  COUNTDOWN_DATABASE_URL: 'url',
  COUNTDOWN_MIGRATE_URL: 'url',
  TEMPORAL_API_KEY: 'all',
  COUNTDOWN_SLACK_BOT_TOKEN: 'all',
  COUNTDOWN_SLACK_APP_TOKEN: 'all',
  COUNTDOWN_SLACK_SIGNING_SECRET: 'all',
};

export type ApiConfig = {
  databaseUrl: string;
  /** Undefined where another process migrates. */
  migrateUrl: string | undefined;
  /** TLS is on where it is asked for, and with an API key always. */
  temporal: { address: string; namespace: string; tls: boolean; apiKey: string | undefined };
  taskQueue: string;
  environments: string;
  runbooks: string;
  listen: { host: string; port: number };
  /** Identity providers whose tokens are taken; undefined for none. */
  oidc: Provider[] | undefined;
  /** Where `/metrics` is answered, without a token; undefined for nowhere. */
  metricsListen: { host: string; port: number } | undefined;
  /** Requests a minute. */
  quotas: Quotas;
  isProxy: IsProxy;
  /** Secret values among the settings: what is never to be read anywhere. */
  secrets: string[];
  /** Undefined where no Slack is connected. */
  slack: SlackConfig | undefined;
  logLevel: 'debug' | 'info' | 'warn' | 'error' | 'silent';
};

/** Throws ConfigError with a sentence for each variable that is missing or wrong. Values of variables are never repeated: some hold passwords. */
export function readConfig(variables: Variables): ApiConfig {
  const settings = readSettings(Settings, variables, { process: 'The API', secrets: SECRETS });
  return {
    databaseUrl: settings.COUNTDOWN_DATABASE_URL,
    migrateUrl: settings.COUNTDOWN_MIGRATE_URL,
    temporal: {
      address: settings.TEMPORAL_ADDRESS,
      namespace: settings.TEMPORAL_NAMESPACE,
      tls: settings.TEMPORAL_TLS === 'true' || settings.TEMPORAL_API_KEY !== undefined,
      apiKey: settings.TEMPORAL_API_KEY,
    },
    taskQueue: settings.COUNTDOWN_TASK_QUEUE,
    environments: settings.COUNTDOWN_ENVIRONMENTS,
    runbooks: settings.COUNTDOWN_RUNBOOKS,
    listen: settings.COUNTDOWN_LISTEN,
    oidc: settings.COUNTDOWN_OIDC,
    metricsListen: settings.COUNTDOWN_METRICS_LISTEN,
    quotas: settings.COUNTDOWN_LIMITS,
    isProxy: settings.COUNTDOWN_TRUSTED_PROXIES ?? nobody,
    secrets: secretsOf(settings, SECRETS),
    slack: slackOf(settings),
    logLevel: settings.COUNTDOWN_LOG_LEVEL,
  };
}

/** With a bot token everything else that Slack needs; without one nothing. Throws ConfigError. */
function slackOf(settings: z.infer<typeof Settings>): SlackConfig | undefined {
  const {
    COUNTDOWN_SLACK_BOT_TOKEN: botToken,
    COUNTDOWN_SLACK_APP_TOKEN: appToken,
    COUNTDOWN_SLACK_SIGNING_SECRET: signingSecret,
    COUNTDOWN_SLACK_TEAM: team,
    COUNTDOWN_SLACK_APP: app,
  } = settings;
  if ([botToken, appToken, signingSecret, team, app].every((one) => one === undefined)) return undefined;
  const missing = [
    ...(botToken === undefined ? ['COUNTDOWN_SLACK_BOT_TOKEN'] : []),
    ...(team === undefined ? ['COUNTDOWN_SLACK_TEAM'] : []),
    ...(app === undefined ? ['COUNTDOWN_SLACK_APP'] : []),
    ...(appToken === undefined && signingSecret === undefined
      ? ['COUNTDOWN_SLACK_APP_TOKEN or COUNTDOWN_SLACK_SIGNING_SECRET']
      : []),
  ];
  if (botToken === undefined || team === undefined || app === undefined || missing.length > 0)
    throw new ConfigError(
      `The API cannot start: Slack is named, and ${missing.join(', ')} ${missing.length === 1 ? 'is' : 'are'} not set. Set what docs/slack.md names, or nothing of it.`,
    );
  return { url: settings.COUNTDOWN_SLACK_URL, botToken, appToken, signingSecret, team, app };
}
