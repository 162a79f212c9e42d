/** What the phases of database.migrate are told, and what inspect left for the others. */
import type { Json } from '../../../procedures/plan.ts';
import type { Expectation } from '../../../procedures/expect.ts';
import { fail } from '../fail.ts';
import type { PhaseContext } from '../../phase.ts';
import type { Allowed } from './judge.ts';

export type Backfill = {
  table: string;
  set: Record<string, string>;
  where: string;
  trigger?: string;
  pageRows: number;
  pageTimeMs: number;
  maxLagMs: number;
  maxBlocked: number;
  holdWhile?: string;
};

export type MigrateParams = {
  step: string;
  target: string;
  source: string;
  to?: string;
  baseline?: string;
  forGood: boolean;
  lossyDown: boolean;
  lockTimeoutMs: number;
  lockTries: number;
  statementTimeoutMs: number;
  allow: Allowed[];
  expectDatabase?: string;
  scratch?: string;
  canary?: string;
  canaryEveryMs: number;
  backfill?: Backfill;
  verify: { name: string; query: string; expect: Expectation | { words: Json } }[];
};

/** The outputs of inspect that later phases go by. */
export type Inspected = {
  pending: string[];
  scripts: Record<string, string>;
  indexes: Record<string, string>;
  changes: string[];
  structureBefore: string;
  structureAfter: string;
  revisionBefore: string | null;
};

/** Throws PreconditionFailed where inspect has not been done. */
export function inspectedOf(params: MigrateParams, context: PhaseContext): Inspected {
  const output = context.outputs[`${params.step}/inspect`];
  if (output === undefined) {
    throw fail(
      'PreconditionFailed',
      `Nothing was inspected in step '${params.step}', expected the output of inspect; plan again.`,
    );
  }
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the journal holds what inspect gave
  return output as unknown as Inspected;
}
