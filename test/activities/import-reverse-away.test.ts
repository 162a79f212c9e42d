/** Reverse capture and a target that is away for a moment: "cannot be asked" is never taken for "nothing is there". */
import { renameSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { beforeQuery } from '../support/before-query.ts';
import type { ImportPhase, ImportWorld } from '../support/import-world.ts';
import {
  EXISTING,
  behindWire,
  leftovers,
  prepared,
  released,
  rowsOf,
  switched,
  takeBack,
  waitForRow,
} from '../support/reverse-world.ts';

async function undoAll(world: ImportWorld, phases: readonly ImportPhase[]): Promise<void> {
  for (const phase of phases) expect(await world.undo(phase), phase).toMatchObject({ verdict: 'pass' });
}

describe('the undo of hold-writes while the target is away', () => {
  test('compares the source with the digest that the journal keeps, and accuses no application', async () => {
    await using wired = await behindWire(released);
    const { world, wire } = wired;
    await world.ask(`UPDATE t SET v = 'written' WHERE id = 1`);
    await undoAll(world, ['release-writes', 'switch', 'copy']);
    wire.cut();
    const undo = world.undo('hold-writes');
    // Writes go to the source again; the rest of the undo waits for the target.
    await expect(undo).rejects.toMatchObject({
      type: 'Unreachable',
      message: expect.stringMatching(
        /^Writes go to 'src' again, but the last look into 'dst' failed: PostgreSQL 'dst' at 127\.0\.0\.1:\d+ cannot be reached/,
      ),
    });
    expect(world.switchServer.value).toBe('sqlite');
    world.change(`UPDATE t SET v = 'by the application' WHERE id = 2`);
    // A person says retry: the probe must not take the undo for done.
    expect(await world.probe('hold-writes')).toMatchObject({ answer: 'partly' });
    wire.mend();
    expect(await world.undo('hold-writes')).toMatchObject({ verdict: 'pass' });
    expect(rowsOf(world)[0]).toEqual([1, 'written']);
    expect(await leftovers(world)).toEqual([]);
  });

  test('accuses who wrote to the source by the same digest, and loses that verdict to no retry', async () => {
    await using wired = await behindWire(released);
    const { world, wire } = wired;
    await world.ask(`UPDATE t SET v = 'written' WHERE id = 1`);
    await undoAll(world, ['release-writes', 'switch', 'copy']);
    world.change(`UPDATE t SET v = 'behind its back' WHERE id = 2`);
    wire.cut();
    expect(await world.undo('hold-writes')).toMatchObject({
      verdict: 'fail',
      summary: expect.stringMatching(
        /^'src' is not as it was when all was carried back .*'dst' at 127\.0\.0\.1:\d+ cannot be reached/,
      ),
    });
    expect(world.switchServer.value).toBe('sqlite');
  });

  test('waits for the target if the journal has no answer of copy, and writes stay held', async () => {
    await using wired = await behindWire(released);
    const { world, wire } = wired;
    await world.ask(`UPDATE t SET v = 'written' WHERE id = 1`);
    await undoAll(world, ['release-writes', 'switch', 'copy']);
    // A probe found that nothing was left of the three, so no undo left an outcome.
    for (const phase of ['release-writes', 'switch', 'copy']) delete world.outputs[`database/${phase}`];
    wire.cut();
    await expect(world.undo('hold-writes')).rejects.toMatchObject({ type: 'Unreachable' });
    expect(world.switchServer.value).toBe('sqlite-held');
    wire.mend();
    expect(await world.undo('hold-writes')).toMatchObject({
      verdict: 'pass',
      summary: 'writes go to the source again, its data as it was when all was carried back',
    });
    expect(await leftovers(world)).toEqual([]);
  });

  test('does not let writes in over rows that are not carried back, whatever a person set the switch to', async () => {
    await using wired = await behindWire(released);
    const { world, wire } = wired;
    await world.ask(`UPDATE t SET v = 'owed' WHERE id = 1`);
    world.switchServer.value = 'sqlite-held';
    wire.cut();
    await expect(world.undo('hold-writes')).rejects.toMatchObject({ type: 'Unreachable' });
    expect(world.switchServer.value).toBe('sqlite-held');
    wire.mend();
    await expect(world.undo('hold-writes')).rejects.toThrow(/holds writes that are not carried back/);
    expect(world.switchServer.value).toBe('sqlite-held');
  });

  test('lets writes in while copy cannot be undone, as all was carried back before', async () => {
    await using wired = await behindWire(released);
    const { world, wire } = wired;
    await world.ask(`UPDATE t SET v = 'written' WHERE id = 1`);
    await undoAll(world, ['release-writes', 'switch']);
    wire.cut();
    await expect(world.undo('copy')).rejects.toMatchObject({ type: 'Unreachable' });
    await undoAll(world, ['hold-writes']);
    expect(world.switchServer.value).toBe('sqlite');
    wire.mend();
    await undoAll(world, ['copy']);
    expect(await leftovers(world)).toEqual([]);
  });

  test('keeps writes held while copy cannot be undone and the source is not what came back last', async () => {
    await using wired = await behindWire(released);
    const { world, wire } = wired;
    await undoAll(world, ['release-writes', 'switch']);
    world.change(`UPDATE t SET v = 'perhaps carried back too' WHERE id = 1`);
    wire.cut();
    await expect(world.undo('hold-writes')).rejects.toMatchObject({ type: 'Unreachable' });
    expect(world.switchServer.value).toBe('sqlite-held');
    wire.mend();
    expect(await world.undo('hold-writes')).toMatchObject({
      verdict: 'fail',
      summary: expect.stringMatching(/^'src' is not as it was when all was carried back/),
    });
  });

  test('does not ask the target if no write was ever let in', async () => {
    await using wired = await behindWire(prepared);
    const { world, wire } = wired;
    for (const phase of ['inspect', 'backup', 'hold-writes', 'copy'] as const) await world.run(phase);
    wire.cut();
    await expect(world.undo('copy')).rejects.toMatchObject({ type: 'Unreachable' });
    expect(await world.undo('hold-writes')).toEqual({
      verdict: 'pass',
      summary: 'writes go to the source again, its data as it was when its writes were held',
    });
    expect(world.switchServer.value).toBe('sqlite');
    wire.mend();
    await undoAll(world, ['copy']);
    expect(await leftovers(world)).toEqual([]);
  });

  test('tells of a write that came late once the target is back, as often as it is asked', async () => {
    await using wired = await behindWire(released, EXISTING);
    const { world, wire } = wired;
    let late: Promise<unknown> | undefined;
    {
      using _ = beforeQuery(
        (sql) => late === undefined && sql.startsWith('TRUNCATE'),
        async () => {
          late = world.ask(`INSERT INTO t VALUES (9, 'late')`);
          await waitForRow(world, `SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 't'::regclass`);
        },
      );
      await undoAll(world, ['release-writes', 'switch', 'copy']);
      await late;
    }
    wire.cut();
    await expect(world.undo('hold-writes')).rejects.toMatchObject({ type: 'Unreachable' });
    expect(world.switchServer.value).toBe('sqlite');
    wire.mend();
    for (let turn = 0; turn < 2; turn += 1)
      expect(await world.undo('hold-writes')).toMatchObject({
        verdict: 'fail',
        summary: expect.stringMatching(/^public\."t" of 'dst' took rows after all was carried back/),
      });
  });
});

test('a source that cannot be read when its writes are let in is accused of nothing', async () => {
  await using world = await switched();
  await undoAll(world, ['release-writes', 'switch', 'copy']);
  renameSync(world.path, `${world.path}.away`);
  expect(await world.undo('hold-writes')).toMatchObject({
    verdict: 'fail',
    summary: expect.stringMatching(
      /^writes go to 'src' again, but whether its data is as it was when its writes were held could not be compared \(The file of 'src' was not found/,
    ),
  });
  expect(world.switchServer.value).toBe('sqlite');
});

test('a probe of hold-writes keeps the digest of the hold, so that a write since then is seen', async () => {
  await using world = await switched();
  await undoAll(world, ['release-writes', 'switch', 'copy']);
  world.change(`UPDATE t SET v = 'behind its back' WHERE id = 1`);
  const held = world.outputs['database/hold-writes'];
  const found = await world.probe('hold-writes');
  expect(found).toMatchObject({ answer: 'yes', output: held });
  world.outputs['database/hold-writes'] = found.output ?? {};
  expect(await world.undo('hold-writes')).toMatchObject({ verdict: 'fail' });
});

describe('after a whole rollback schema countdown holds nothing but the fence', () => {
  for (const [form, options] of [
    ['new tables', {}],
    ['tables that were there', EXISTING],
    ['tables in place of others', { target: 'CREATE TABLE t (id bigint)', schema: 'create' }],
  ] as const)
    for (const reverseCapture of [true, false])
      test(`${form}, ${reverseCapture ? 'with' : 'without'} reverse capture, from any phase on, once and twice`, async () => {
        await using world = await prepared({ ...options, reverseCapture });
        const forwards: ImportPhase[] = ['hold-writes', 'copy', 'verify', 'switch'];
        if (reverseCapture) forwards.push('release-writes');
        for (let until = 2; until <= forwards.length; until += 1) {
          for (const phase of ['inspect', 'backup', ...forwards.slice(0, until)] as ImportPhase[])
            expect((await world.run(phase)).verdict, phase).toMatch(/pass|warn/);
          if (world.switchServer.value === 'postgres') await world.ask(`UPDATE t SET v = v || '!'`);
          if (reverseCapture) await takeBack(world);
          else await undoAll(world, ['switch', 'copy', 'hold-writes']);
          expect(await leftovers(world), forwards[until - 1]).toEqual([]);
          await undoAll(world, ['switch', 'copy', 'hold-writes']);
          expect(await leftovers(world), `${forwards[until - 1]}, twice`).toEqual([]);
        }
      });
});
