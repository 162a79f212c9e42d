/**
 * sql.check: asks a PostgreSQL target one question and compares the answer with what is expected. It changes nothing: one
 * select in a read-only transaction. The answer is one value, or a number of rows. No row and NULL are inconclusive.
 */
import { z } from 'zod';
import { EXPECTATION_FORM, type Expectation, type LateExpectation, expectationSchema } from './expect.ts';
import { MINUTE_MS, SECOND_MS } from './limits.ts';
import type { Json } from './plan.ts';
import { type Procedure, callOf, targetOf } from './procedure.ts';
import { exact, nameSchema } from './schema.ts';

const PHASE_MS = MINUTE_MS;
/** Left of a phase's time for connecting and for the answer. */
const AROUND_MS = 15 * SECOND_MS;
const QUERY_LENGTH_MAX = 16_000;

const query = z
  .string('one select, as text')
  .min(1, 'one select')
  .max(QUERY_LENGTH_MAX, `at most ${QUERY_LENGTH_MAX} characters`)
  .refine((text) => /^[\s(]*(?:select|with|values|table)\b/i.test(text), {
    error:
      'The query is no select, expected one that begins with select, with, values or table: a check changes nothing.',
  });

/** Words for the value, or { rows: words } for the number of rows. */
const expect = z.unknown().transform((value, context): { of: 'value' | 'rows'; expect: Asked } => {
  const isRows = value !== null && typeof value === 'object' && Object.keys(value).join() === 'rows';
  const words = isRows ? (value as { rows: unknown }).rows : value;
  const parsed = expectationSchema.safeParse(words);
  if (parsed.success) return { of: isRows ? 'rows' : 'value', expect: parsed.data };
  const params = {
    expected: `${EXPECTATION_FORM}; or { rows: … } of them for the number of rows`,
    ...(value === undefined ? { hint: 'write  expect: at least 1' } : {}),
  };
  context.addIssue({ code: 'custom', path: isRows ? ['rows'] : [], message: '', params });
  return z.NEVER;
});

type Asked = Expectation | LateExpectation;

const params = exact({
  /** Target of kind postgres. */
  target: nameSchema,
  /** One select. What varies stands in `values`, as $1, $2 and so on. */
  query,
  values: z
    .array(
      z.union([z.string().max(10_000), z.number(), z.boolean(), z.null()]),
      'a list of values for $1, $2 and so on',
    )
    .max(50)
    .default([]),
  expect,
});

const output = z.object({
  /** As PostgreSQL writes it; of an interval its milliseconds. Null where rows were counted. */
  value: z.string().nullable(),
  rows: z.int(),
});

export const sqlCheck: Procedure<typeof params> = {
  kind: 'sql.check',
  summary: 'asks a PostgreSQL target one question and compares the answer',
  params,
  verbatim: ['query'],
  output,
  plan(input) {
    const { target, query: sql, values, expect: asked } = input.params;
    if (targetOf(input, ['target'], target, 'postgres') === undefined) return [];
    const phaseMs = input.timeoutMs ?? PHASE_MS;
    const timeoutMs = phaseMs - Math.min(AROUND_MS, Math.floor(phaseMs / 2));
    const check: Json = { target, query: sql, values, ...asked, timeoutMs };
    return [
      {
        name: 'check',
        title: `Ask ${target}`,
        effect: 'none',
        targets: [target],
        guards: true,
        run: callOf('sql.check', 'check', 'run', check),
        expected: { runMs: SECOND_MS, undoMs: 0 },
        limits: { timeoutMs: phaseMs, attempts: 3 },
      },
    ];
  },
};
