import { describe, expect, test } from 'vitest';
import { ApiError, UsageError, exitCodeOfError, renderError } from '../../cli/errors.ts';
import { exitCodeOf } from '../../cli/exit-codes.ts';
import { parseBlock } from '../../cli/client.ts';
import { readDuration, runNumber } from '../../cli/context.ts';
import { readParams } from '../../cli/commands/command.ts';

const run = { verified: null, approvals: [], decisions: [] };

describe('the exit code of a run', () => {
  test('follows the state, and the verification of a rollback', () => {
    expect(exitCodeOf({ ...run, state: 'succeeded' })).toBe(0);
    expect(exitCodeOf({ ...run, state: 'rolled-back', verified: true })).toBe(3);
    expect(exitCodeOf({ ...run, state: 'rolled-back', verified: false })).toBe(8);
    expect(exitCodeOf({ ...run, state: 'rolled-back', verified: null })).toBe(8);
    expect(exitCodeOf({ ...run, state: 'stuck' })).toBe(7);
    expect(exitCodeOf({ ...run, state: 'unwinding' })).toBeUndefined();
  });

  test('tells a stop by people from a stop by a red check or an abort', () => {
    const state = 'stopped' as const;
    expect(exitCodeOf({ ...run, state })).toBe(5);
    expect(exitCodeOf({ ...run, state, approvals: [{ state: 'rejected' }] })).toBe(6);
    expect(exitCodeOf({ ...run, state, approvals: [{ state: 'expired' }] })).toBe(6);
    const aborted = [{ kind: 'abort', counted: true }];
    expect(exitCodeOf({ ...run, state, approvals: [{ state: 'voided' }], decisions: aborted })).toBe(5);
  });
});

const api = (status: number) => new ApiError({ status, code: 'Some', detail: 'Some.' });

describe('the exit code of an error', () => {
  test('4 for no right, 2 for what cannot be used, 1 for the rest', () => {
    expect([401, 403, 422, 404, 409, 503, 0].map((status) => exitCodeOfError(api(status)))).toEqual([
      4, 4, 2, 1, 1, 1, 1,
    ]);
    expect(exitCodeOfError(new UsageError('no'))).toBe(2);
    expect(exitCodeOfError(new Error('no'))).toBe(1);
  });

  test('a held target names the run to look at', () => {
    const error = new ApiError({
      status: 409,
      code: 'TargetLeased',
      detail: 'app is held by run 38.',
      run: 38,
    });
    expect(renderError(error)).toBe(
      'error TargetLeased  app is held by run 38.\ndo    look at it: countdown show 38',
    );
  });
});

describe('what is typed', () => {
  test('a run is a number, with or without its prefix', () => {
    expect([runNumber('41'), runNumber('run/41')]).toEqual([41, 41]);
    for (const text of ['0', '-1', 'x', '1.5', '', '99999999999'])
      expect(() => runNumber(text)).toThrow(UsageError);
  });

  test('durations are read with their units', () => {
    expect([readDuration('30s'), readDuration('5m'), readDuration('1h30m')]).toEqual([
      30_000, 300_000, 5_400_000,
    ]);
    for (const text of ['', '5', 'm', '-5m', '5 m']) expect(() => readDuration(text)).toThrow(UsageError);
  });

  test('params keep the type that they are written in', () => {
    expect(readParams({ param: ['release=1.4.0', 'users=100', 'dry=true', 'note=a=b', 'code=007'] })).toEqual(
      {
        release: '1.4.0',
        users: 100,
        dry: true,
        note: 'a=b',
        code: '007',
      },
    );
    expect(() => readParams({ param: ['release'] })).toThrow(UsageError);
  });
});

describe('a block of the event stream', () => {
  test('gives id, type and data, and null for comments', () => {
    expect(parseBlock('id: 12\nevent: phase\ndata: {"a":1}')).toEqual({
      id: '12',
      event: 'phase',
      data: { a: 1 },
    });
    expect(parseBlock(': still here')).toBeNull();
    expect(parseBlock('retry: 1000')).toBeNull();
  });
});
