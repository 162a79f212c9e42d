/** verify: the target is what the clone was, and answers what the runbook expects. */
import type { PhaseContext, PhaseResult } from '../../phase.ts';
import { sqlCheck } from '../../sql-check.ts';
import { fail } from '../fail.ts';
import { withPostgres } from '../postgres.ts';
import { named } from './codes.ts';
import { type MigrateParams, inspectedOf } from './params.ts';
import { difference, digestOf, structureOf } from './structure.ts';

const CHECK_TIMEOUT_MS = 60_000;

export async function verify(params: MigrateParams, context: PhaseContext): Promise<PhaseResult> {
  const { structureAfter, changes } = inspectedOf(params, context);
  const structure = await withPostgres(params.target, context, async (connection) => {
    const lines = await structureOf(connection);
    const now = digestOf(lines);
    if (now !== structureAfter) throw fail('VerificationFailed', drift(params, lines, changes));
    return now;
  });
  const wrong: PhaseResult[] = [];
  for (const { name, query, expect } of params.verify) {
    const asked = {
      target: params.target,
      query,
      values: [],
      of: 'value' as const,
      expect,
      timeoutMs: CHECK_TIMEOUT_MS,
    };
    const result = await sqlCheck.check.run(asked, context);
    if (result.verdict !== 'pass') wrong.push({ ...result, summary: `${name}: ${result.summary}` });
  }
  const output = { structure, checks: params.verify.length };
  if (wrong.length > 0) {
    const verdict = wrong.some((one) => one.verdict === 'fail') ? 'fail' : 'inconclusive';
    return { verdict, summary: named(wrong.map(({ summary }) => summary)), output };
  }
  const asked = params.verify.length === 0 ? '' : `, ${params.verify.length} checks pass`;
  return {
    verdict: 'pass',
    summary: `the structure is what was tried (${structure.slice(0, 12)})${asked}`,
    output,
  };
}

/** What was tried and is not there, as far as the changes that inspect kept can say. */
function drift(params: MigrateParams, lines: readonly string[], changes: readonly string[]): string {
  const now = new Set(difference([], lines).map((line) => line.slice(2)));
  const missing = changes.filter((line) => line.startsWith('+ ') && !now.has(line.slice(2)));
  const still = changes.filter((line) => line.startsWith('- ') && now.has(line.slice(2)));
  const found = [
    ...missing.map((line) => `missing: ${line.slice(2)}`),
    ...still.map((line) => `still there: ${line.slice(2)}`),
  ];
  const what = found.length === 0 ? 'something else was changed meanwhile' : named(found);
  return `The structure of '${params.target}' is not what was tried on the clone (${what}), expected no difference; find out who changed it (StructureDrift).`;
}
