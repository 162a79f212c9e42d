import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readConfig } from '../../api/config.ts';
import { startApi } from '../../api/server.ts';
import { makePlan } from '../support/plans.ts';
import { digest } from '../../store/digest.ts';
import { makeStoreDatabase } from '../support/store.ts';
import { makeTaskQueue, temporalAddress } from '../support/temporal.ts';
import { ENVIRONMENT } from './support.ts';

test('the server listens, is ready, and drains while a stream is open', async () => {
  await using database = await makeStoreDatabase();
  const folder = await mkdtemp(join(tmpdir(), 'countdown-server-'));
  const environments = join(folder, 'environments');
  await mkdir(environments);
  await writeFile(join(environments, 'lab.yaml'), ENVIRONMENT);
  const api = await startApi(
    readConfig({
      COUNTDOWN_DATABASE_URL: database.apiUrl,
      COUNTDOWN_MIGRATE_URL: database.ownerUrl,
      TEMPORAL_ADDRESS: await temporalAddress(),
      COUNTDOWN_TASK_QUEUE: makeTaskQueue(),
      COUNTDOWN_ENVIRONMENTS: environments,
      COUNTDOWN_RUNBOOKS: folder,
      COUNTDOWN_LISTEN: '127.0.0.1:0',
      COUNTDOWN_LOG_LEVEL: 'silent',
    }),
  );
  expect(await (await fetch(`${api.url}/health/ready`)).json()).toEqual({
    status: 'ok',
    parts: { postgresql: 'ok', temporal: 'ok' },
  });

  const token = 'cd_a-token-for-the-server-test';
  const hash = createHash('sha256').update(token).digest('hex');
  await database.api.insertToken({ hash, person: 'pia', expiresAt: new Date(Date.now() + 60_000) });
  const plan = makePlan([{ id: 'one', phases: [{ name: 'a' }] }], { environment: 'lab' });
  await database.api.savePlan({ hash: digest(plan), plan, person: 'dana' });
  const created = await database.api.createRun({
    plan: digest(plan),
    requester: 'dana',
    groups: {},
    failAt: null,
    idempotency: null,
  });
  if ('refused' in created) throw new Error(created.refused);
  const stream = await fetch(`${api.url}/v1/runs/${created.run}/events`, {
    headers: { Authorization: `Bearer ${token}` },
  });
  const text = stream.text();
  await api.stop();
  expect(await text).toMatch(/^retry: 1000\n\n(id: 1\nevent: run\n[\s\S]*)?: come back\n\n$/);
  await expect(fetch(`${api.url}/health/live`)).rejects.toThrow();
  await rm(folder, { recursive: true });
});
