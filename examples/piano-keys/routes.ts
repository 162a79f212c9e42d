/** The HTTP side: resources, health, and the switch of the database's mode. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { Hono } from 'hono';
import type { Context } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { MODES, isHeld, isMode } from './mode.ts';
import type { Mode, ModeState, ModeSwitch } from './mode.ts';
import { Conflict } from './store.ts';
import type { Store } from './store.ts';
import { TABLES, isTable } from './tables.ts';
import type { TableName, Value } from './tables.ts';

const BODY_BYTES_MAX = 64 * 1024;
const LIST_MAX = 200;
const RETRY_AFTER_SECONDS = '1';

export type Parts = {
  mode: ModeSwitch;
  /** The store that serves in a mode. */
  storeOf: (mode: Mode) => Store;
  adminToken: string;
};

export function createApp({ mode, storeOf, adminToken }: Parts): Hono {
  const app = new Hono();
  app.use(bodyLimit({ maxSize: BODY_BYTES_MAX }));
  app.onError((error, c) => {
    if (error instanceof Conflict) return c.json({ error: error.message }, 409);
    process.stderr.write(
      `${JSON.stringify({ msg: 'piano-keys: request failed', path: c.req.path, error: error.message })}\n`,
    );
    // Not 503: that means refused, and nobody knows whether a write whose store broke has been kept.
    return c.json({ error: 'The store did not answer.' }, 500);
  });
  app.get('/health/live', (c) => c.json({ status: 'live' }));
  app.get('/health/ready', async (c) => {
    const { value } = mode.current();
    const broken = await storeOf(value)
      .ready()
      .then(
        () => undefined,
        (error: unknown) => String(error),
      );
    if (broken !== undefined) return c.json({ status: 'not ready', database: value, because: broken }, 503);
    return c.json({ status: 'ready', database: value, writable: !isHeld(value) });
  });
  app.route('/api', resources({ mode, storeOf }));
  app.route('/admin/database', databaseSwitch(mode, adminToken));
  return app;
}

function resources({ mode, storeOf }: Pick<Parts, 'mode' | 'storeOf'>): Hono {
  const api = new Hono();
  const reading = (): Store => storeOf(mode.current().value);

  api.get('/:table', async (c) => {
    const table = tableOf(c);
    if (table === undefined) return notFound(c);
    const after = Number(c.req.query('after') ?? 0);
    const limit = Number(c.req.query('limit') ?? 50);
    if (!Number.isSafeInteger(after) || !Number.isSafeInteger(limit) || limit < 1 || limit > LIST_MAX) {
      return c.json({ error: `after and limit are whole numbers, limit from 1 to ${LIST_MAX}.` }, 400);
    }
    const items = await reading().list(table, { after, limit });
    return c.json({ items, next: items.length === limit ? (items.at(-1)?.id ?? null) : null });
  });

  api.get('/:table/:id{[0-9]+}', async (c) => {
    const table = tableOf(c);
    const row = table === undefined ? undefined : await reading().get(table, Number(c.req.param('id')));
    return row === undefined ? notFound(c) : c.json(row);
  });

  api.post('/:table', async (c) => {
    const table = tableOf(c);
    if (table === undefined) return notFound(c);
    const body = TABLES[table].body.safeParse(await readJson(c));
    if (!body.success) return c.json({ error: body.error.issues }, 422);
    const row = await mode.write((value) => storeOf(value).insert(table, body.data));
    if (row === undefined) return held(c);
    return c.json(row, 201, { Location: `/api/${table}/${row.id}` });
  });

  api.patch('/:table/:id{[0-9]+}', async (c) => {
    const table = tableOf(c);
    if (table === undefined) return notFound(c);
    const body = changesOf(table, await readJson(c));
    if (!body.success) return c.json({ error: body.error.issues }, 422);
    const done = await mode.write(async (value) => ({
      row: await storeOf(value).update(table, Number(c.req.param('id')), body.data),
    }));
    if (done === undefined) return held(c);
    return done.row === undefined ? notFound(c) : c.json(done.row);
  });

  api.delete('/:table/:id{[0-9]+}', async (c) => {
    const table = tableOf(c);
    if (table === undefined) return notFound(c);
    const removed = await mode.write((value) => storeOf(value).remove(table, Number(c.req.param('id'))));
    if (removed === undefined) return held(c);
    return removed ? c.body(null, 204) : notFound(c);
  });
  return api;
}

/** What of a row is changed: the same rules, no field required, no default filled in. */
function changesOf(table: TableName, body: unknown) {
  const parsed = TABLES[table].body.partial().safeParse(body);
  if (!parsed.success) return parsed;
  const given: Record<string, Value> = {};
  for (const [name, value] of Object.entries(parsed.data)) {
    if (value !== undefined && Object.hasOwn(Object(body), name)) given[name] = value;
  }
  return { success: true as const, data: given };
}

function databaseSwitch(mode: ModeSwitch, adminToken: string): Hono {
  const route = new Hono();
  route.use(async (c, next) => {
    if (!sameSecret(c.req.header('Authorization') ?? '', `Bearer ${adminToken}`)) {
      return c.json({ error: 'This needs the admin token.' }, 401, { 'WWW-Authenticate': 'Bearer' });
    }
    return next();
  });
  route.get('/', (c) => answer(c, mode.current()));
  route.put('/', async (c) => {
    const match = c.req.header('If-Match');
    if (match === undefined) return c.json({ error: 'Say in If-Match which ETag was read.' }, 428);
    const body = await readJson(c);
    const value = typeof body === 'object' && body !== null && 'value' in body ? body.value : undefined;
    if (!isMode(value)) return c.json({ error: `value must be one of ${MODES.join(', ')}.` }, 422);
    const generation = /^"(\d+)"$/.exec(match)?.[1];
    const state = generation === undefined ? undefined : await mode.set(value, Number(generation));
    return state === undefined ? answer(c, mode.current(), 412) : answer(c, state);
  });
  return route;
}

function answer(c: Context, { value, generation }: ModeState, status: 200 | 412 = 200): Response {
  return c.json({ value }, status, { ETag: `"${generation}"`, 'Cache-Control': 'no-store' });
}

function held(c: Context): Response {
  return c.json({ error: 'Writes are held for a moment; try again.' }, 503, {
    'Retry-After': RETRY_AFTER_SECONDS,
  });
}

function notFound(c: Context): Response {
  return c.json({ error: `There is no ${c.req.path}.` }, 404);
}

function tableOf(c: Context): TableName | undefined {
  const name = c.req.param('table') ?? '';
  return isTable(name) ? name : undefined;
}

async function readJson(c: Context): Promise<unknown> {
  try {
    return await c.req.json();
  } catch {
    return undefined;
  }
}

/** Digests have one length, so neither length nor content of the secret shows in the time. */
function sameSecret(found: string, expected: string): boolean {
  return timingSafeEqual(digest(found), digest(expected));
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
