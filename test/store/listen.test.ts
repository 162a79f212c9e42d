import { expect, test, vi } from 'vitest';
import { makeStoreDatabase } from '../support/store.ts';
import { newRun, planOver } from './support.ts';

const WITHIN = { timeout: 15_000, interval: 20 };

test('listening hears each run that grows, and goes on when its connection is cut', async () => {
  await using store = await makeStoreDatabase();
  const heard: number[] = [];
  const ending = new AbortController();
  const listening = store.api.listen((run) => heard.push(run), ending.signal);
  const listeners = `select pid from pg_stat_activity where datname = current_database() and query = 'listen countdown_journal'`;
  await vi.waitFor(async () => expect((await store.owner.query(listeners)).rowCount).toBe(1), WITHIN);

  const first = await newRun(store, planOver('a'));
  await vi.waitFor(() => expect(heard).toContain(first), WITHIN);

  const cut = (await store.owner.query<{ pid: number }>(listeners)).rows[0]?.pid;
  await store.owner.query('select pg_terminate_backend($1)', [cut]);
  heard.length = 0;
  const second = await newRun(store, planOver('b'));
  // The run that was open meanwhile is called too: a row of it may have been missed.
  await vi.waitFor(() => expect(heard).toEqual(expect.arrayContaining([first, second])), WITHIN);

  ending.abort();
  await listening;
  await vi.waitFor(async () => expect((await store.owner.query(listeners)).rowCount).toBe(0), WITHIN);
});
