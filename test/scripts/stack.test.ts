import { Connection } from '@temporalio/client';
import { Client } from 'pg';
import { expect, test } from 'vitest';
import { makeDatabase } from '../support/postgres.ts';
import { temporalAddress } from '../support/temporal.ts';

test('the embedded PostgreSQL is version 15, in UTC, and knows its superuser only by password', async () => {
  await using database = await makeDatabase();
  const client = new Client({ connectionString: database.url });
  await client.connect();
  const { rows } = await client.query(
    `select current_setting('server_version') as version, current_setting('timezone') as zone, current_database() as name`,
  );
  await client.end();
  expect(rows).toEqual([{ version: '15.18', zone: 'UTC', name: database.name }]);
  const stranger = new URL(database.url);
  stranger.password = 'guess';
  const refused = new Client({ connectionString: stranger.href });
  await expect(refused.connect()).rejects.toThrow('password authentication failed');
});

test('a database of a test is gone once the test has left its scope', async () => {
  let url: string;
  {
    await using database = await makeDatabase();
    ({ url } = database);
  }
  await expect(new Client({ connectionString: url }).connect()).rejects.toThrow('does not exist');
});

test('the embedded Temporal answers a real call', async () => {
  const connection = await Connection.connect({ address: await temporalAddress() });
  const info = await connection.workflowService.getSystemInfo({});
  await connection.close();
  expect(info.serverVersion).toMatch(/^1\.\d+\./);
});
