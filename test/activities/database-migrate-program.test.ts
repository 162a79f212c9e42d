/** A program with a probe: it is believed for what the database says, and never for how it exits. */
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { SONGS, makeMigrateWorld } from '../support/migrate-world.ts';
import { failureOf } from '../support/phase-context.ts';

const TOOL = fileURLToPath(new URL('../support/migrate-tool.ts', import.meta.url));

function makeWorld(env: Record<string, string> = {}, allow = true) {
  const tool = [process.execPath, '--no-warnings', TOOL];
  return makeMigrateWorld({
    sql: SONGS,
    source: {
      is: 'command',
      up: [...tool, 'up'],
      down: [...tool, 'down'],
      probe: [...tool, 'probe'],
      state: ['tool_state'],
      env,
      urlIn: 'DATABASE_URL',
      urlScheme: 'postgresql',
      timeoutMs: 30_000,
    },
    params: {
      lossyDown: true,
      ...(allow ? { allow: [{ rule: 'NotAnalysed', because: 'we wrote it' }] } : {}),
    },
  });
}

test('it goes up one revision at a time, and down again, with all that it made', async () => {
  await using world = await makeWorld();
  const before = await world.print();
  expect(await world.run('inspect')).toMatchObject({
    verdict: 'pass',
    output: {
      pending: ['1', '2'],
      revisionBefore: null,
      lossy: [
        '1 down loses table made_1, with all that was written there since',
        '2 down loses table made_2, with all that was written there since',
      ],
    },
  });
  expect(await world.run('apply')).toMatchObject({ verdict: 'pass', output: { applied: 2 } });
  expect((await world.probe('apply')).answer).toBe('yes');
  expect(await world.run('verify')).toMatchObject({ verdict: 'pass' });
  expect(await world.ask('SELECT version, before, state FROM countdown.migration ORDER BY version')).toEqual([
    { version: '1', before: null, state: 'done' },
    { version: '2', before: '1', state: 'done' },
  ]);
  await world.undo('apply');
  expect(await world.print()).toEqual(before);
});

test('nobody has judged its statements, and people are told', async () => {
  await using world = await makeWorld({}, false);
  const { verdict, summary } = await world.run('inspect');
  expect(verdict).toBe('warn');
  expect(summary).toContain(
    "1:1 of 'files' cannot be judged, as the program does not tell its statements; write: read it with the same eyes (NotAnalysed)",
  );
});

test('one that says that all is well and did nothing is not believed', async () => {
  await using lazy = await makeWorld({ LAZY: '1' });
  const failure = await failureOf(lazy.run('inspect'));
  expect(failure.message).toBe(
    "'files' to 1 ended with exit 0 on the scratch clone, which stands at its beginning: it wrote nothing; correct it and plan again (UpFails).",
  );
});

test('a probe that writes something else is told what is expected', async () => {
  await using world = await makeWorld({ GARBLED: 'all good' });
  expect((await failureOf(world.run('inspect'))).message).toBe(
    `The probe of 'files' wrote 'all good', expected one object as {"revision": "0007" or null, "pending": ["0008", …]}; correct it (ProbeUnreadable).`,
  );
});

test('one that cannot be asked says why', async () => {
  await using world = await makeWorld({ DATABASE: 'x' });
  const { files } = world.targets;
  if (files?.kind !== 'migrations' || files.source.is !== 'command')
    throw new Error('The world has no command.');
  const broken = { ...files, source: { ...files.source, probe: ['/bin/false'] } };
  const failure = await failureOf(
    world.run('inspect', world.context({ targets: { ...world.targets, files: broken } })),
  );
  expect(failure.message).toBe(
    "The probe of 'files' ended with exit 1, expected exit 0: it wrote nothing; correct it and plan again (ProgramFails).",
  );
});

test('one that has an address of its own is found out before it changes anything there', async () => {
  await using other = await makeMigrateWorld();
  await using world = await makeWorld();
  const { files } = world.targets;
  if (files?.kind !== 'migrations' || files.source.is !== 'command')
    throw new Error('The world has no command.');
  // It reads MY_URL, and the target names another variable.
  const env = { MY_URL: other.url };
  const stubborn = { ...files, source: { ...files.source, env, urlIn: 'COUNTDOWN_URL' } };
  const failure = await failureOf(
    world.run('inspect', world.context({ targets: { ...world.targets, files: stubborn } })),
  );
  expect(failure.message).toBe(
    "'files' had an answer while the scratch clone took no session, so it asks another database than the one in COUNTDOWN_URL, expected that one; let it read its address from COUNTDOWN_URL (OtherDatabase).",
  );
  expect(await other.ask(`SELECT to_regclass('tool_state') AS found`)).toEqual([{ found: null }]);
});
