/** The API's settings, from environment variables; all that is wrong is said at once, at the start. */
import { z } from 'zod';

const listen = z
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
  COUNTDOWN_LISTEN: listen,
  COUNTDOWN_METRICS_LISTEN: listen.optional(),
  COUNTDOWN_OIDC: z.string().min(1).optional(),
  COUNTDOWN_LOG_LEVEL: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
});

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
  logLevel: 'debug' | 'info' | 'warn' | 'error' | 'silent';
};

export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

/** Throws ConfigError with a line for each variable that is missing or wrong. Values of variables are never repeated: some hold passwords. */
export function readConfig(variables: Record<string, string | undefined>): ApiConfig {
  const given = Object.fromEntries(Object.entries(variables).filter(([, value]) => value !== ''));
  const result = Settings.safeParse({ COUNTDOWN_LISTEN: '127.0.0.1:8080', ...given });
  if (!result.success) {
    const lines = result.error.issues.map((issue) => {
      const name = String(issue.path[0]);
      return given[name] === undefined ? `${name} is not set` : `${name}: ${issue.message}`;
    });
    throw new ConfigError(`The API cannot start: ${lines.join('; ')}. Set them and start again.`);
  }
  const settings = result.data;
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
    logLevel: settings.COUNTDOWN_LOG_LEVEL,
  };
}
