/** The API process: settings, pools, migrations, Temporal client, janitor; listens, and drains on SIGTERM. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import { serve } from '@hono/node-server';
import { Client, Connection } from '@temporalio/client';
import type { DestinationStream } from 'pino';
import { makeApiStore } from '../store/index.ts';
import { migrate, waitForVersion } from '../store/migrate.ts';
import { makePool } from '../store/pool.ts';
import { makeSlackStore } from '../store/slack.ts';
import { makeSlack } from '../slack/index.ts';
import { type ApiConfig, ConfigError, readConfig } from './config.ts';
import { makeEnvironments } from '../store/environment-files.ts';
import { makeEventHub } from './events.ts';
import { createApi } from './index.ts';
import { runJanitor } from './janitor.ts';
import { makeLauncher } from './launcher.ts';
import { makeIdentity } from './oidc.ts';
import { makeMetrics, metricsServer } from './metrics.ts';
import { makeLimits } from './limits.ts';
import { makeLog } from './log.ts';
import { traceInterceptor } from './trace.ts';

/** How long another process may take to migrate. */
const MIGRATION_WAIT_MS = 60_000;
/** How long requests in flight may take once the process is told to end. */
const DRAIN_MS = 10_000;

/** How long a request may take to arrive, with its body. What the answer takes has bounds of its own. */
const REQUEST_MS = 15_000;
/** How often connections that have become idle are closed while draining. */
const IDLE_LOOK_MS = 100;
const HEADER_BYTES_MAX = 16_384;
/** Longer than proxies keep an idle connection, so that none of them sends into one that is just being closed. */
const KEEP_ALIVE_MS = 75_000;

const now = () => new Date();

export type RunningApi = { url: string; stop(): Promise<void> };

/** Starts the API. Throws where a part that it needs cannot be reached. `requestMs` and `out`, where the log goes, are for tests. */
export async function startApi(
  config: ApiConfig,
  { requestMs = REQUEST_MS, out }: { requestMs?: number; out?: DestinationStream } = {},
): Promise<RunningApi> {
  const log = makeLog({ level: config.logLevel, secrets: config.secrets, out });
  const files = await makeEnvironments(config.environments, log);
  if (config.migrateUrl === undefined) {
    await waitForVersion(config.databaseUrl, { timeoutMs: MIGRATION_WAIT_MS });
  } else {
    await migrate(config.migrateUrl);
  }
  const pool = makePool(config.databaseUrl, { name: 'countdown-api' });
  const store = makeApiStore(pool);
  const { temporal } = config;
  const connection = Connection.lazy({
    address: temporal.address,
    tls: temporal.tls,
    ...(temporal.apiKey === undefined ? {} : { apiKey: temporal.apiKey }),
  });
  const client = new Client({
    connection,
    namespace: temporal.namespace,
    interceptors: { workflow: [traceInterceptor] },
  });
  const launcher = makeLauncher(client, { taskQueue: config.taskQueue });
  const slack =
    config.slack &&
    makeSlack(config.slack, {
      store,
      slack: makeSlackStore(pool),
      launcher,
      environments: files,
      log,
      now,
    });
  const environments = slack?.environments ?? files;
  const ending = new AbortController();
  const events = makeEventHub({ store, signal: ending.signal, log });
  const identity = config.oidc === undefined ? undefined : makeIdentity(config.oidc);
  const metrics = makeMetrics(() => store.metrics());
  const app = createApi({
    ...(identity === undefined ? {} : { identity }),
    metrics,
    store,
    environments,
    runbooks: config.runbooks,
    launcher,
    events,
    log,
    now,
    limits: makeLimits({ pool, quotas: config.quotas }),
    isProxy: config.isProxy,
    isEnding: () => ending.signal.aborted,
    ...(slack === undefined ? {} : { groupsNow: slack.groupsNow }),
    ...(slack?.receive === undefined ? {} : { slack: slack.receive }),
  });
  const telling = slack?.run(ending.signal);
  const janitor = runJanitor({ store, environments, launcher, log, now }, ending.signal);

  const server = serve({
    fetch: app.fetch,
    hostname: config.listen.host,
    port: config.listen.port,
    createServer,
    serverOptions: {
      headersTimeout: requestMs,
      requestTimeout: requestMs,
      connectionsCheckingInterval: requestMs / 5,
      maxHeaderSize: HEADER_BYTES_MAX,
      keepAliveTimeout: KEEP_ALIVE_MS,
    },
  });
  await once(server, 'listening');
  const scraped = config.metricsListen && metricsServer(metrics);
  scraped?.listen(config.metricsListen?.port, config.metricsListen?.host);
  if (scraped !== undefined) await once(scraped, 'listening');
  const { address, port, family } = addressOf(server.address());
  const url = `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
  log.info({ url }, 'api: listening');

  return {
    url,
    async stop() {
      log.info('api: draining');
      const closed = once(server, 'close');
      ending.abort();
      server.close();
      scraped?.close();
      events.drain();
      // A connection is idle once its answer has gone, and would be kept for the next request.
      const idle = setInterval(() => {
        if ('closeIdleConnections' in server) server.closeIdleConnections();
      }, IDLE_LOOK_MS);
      const hard = setTimeout(() => {
        if ('closeAllConnections' in server) server.closeAllConnections();
      }, DRAIN_MS);
      await closed;
      clearInterval(idle);
      clearTimeout(hard);
      await janitor;
      await telling;
      await connection.close();
      await pool.end();
      log.info('api: stopped');
    },
  };
}

function addressOf(address: AddressInfo | string | null): AddressInfo {
  if (address === null || typeof address === 'string') throw new Error('The API listens on no port.');
  return address;
}

async function main(): Promise<void> {
  let api: RunningApi;
  try {
    api = await startApi(readConfig(process.env));
  } catch (error) {
    const text =
      error instanceof ConfigError
        ? error.message
        : error instanceof Error
          ? (error.stack ?? '')
          : String(error);
    process.stderr.write(`${text}\n`);
    process.exit(1);
  }
  let isStopping = false;
  const stop = () => {
    if (isStopping) return;
    isStopping = true;
    api.stop().then(
      () => process.exit(0),
      (error: unknown) => {
        process.stderr.write(`api: not stopped cleanly: ${String(error)}\n`);
        process.exit(1);
      },
    );
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
}

if (import.meta.main) await main();
