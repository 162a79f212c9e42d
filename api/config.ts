/** The API's settings, from environment variables or files; all that is wrong is said at once, at the start. */
import { z } from 'zod';
import { type Secrets, type Variables, readSettings, secretsOf } from '../store/settings.ts';
import { type IsProxy, makeIsProxy } from './address.ts';
import { QUOTAS, type Quotas } from './limits.ts';

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
  COUNTDOWN_OIDC: z.string().min(1).optional(),
  COUNTDOWN_LOG_LEVEL: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
});

/** What of the settings is secret. */
const SECRETS: Secrets<keyof (typeof Settings)['shape']> = {
  COUNTDOWN_DATABASE_URL: 'url',
  COUNTDOWN_MIGRATE_URL: 'url',
  TEMPORAL_API_KEY: 'all',
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
  /** The file of identity providers; undefined for none. */
  oidc: string | undefined;
  /** Where `/metrics` is answered, without a token; undefined for nowhere. */
  metricsListen: { host: string; port: number } | undefined;
  /** Requests a minute. */
  quotas: Quotas;
  isProxy: IsProxy;
  /** Secret values among the settings: what is never to be read anywhere. */
  secrets: string[];
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
    isProxy: settings.COUNTDOWN_TRUSTED_PROXIES ?? (() => false),
    secrets: secretsOf(settings, SECRETS),
    logLevel: settings.COUNTDOWN_LOG_LEVEL,
  };
}
