/** What goes over the wire: strict on the way in, described on the way out. `/openapi.json` is made of these. */
import { z } from '@hono/zod-openapi';
import { LEASE_WAIT_MS_MAX, MINUTE_MS, TOKEN_MS, TOKEN_MS_MAX } from '../procedures/limits.ts';

/** Text of one form; whatever else is sent, or nothing, is answered with `expected`. */
const text = (form: RegExp, expected: string) => z.string({ error: expected }).regex(form, expected);

const digest = text(/^[0-9a-f]{64}$/, 'expected the 64 hex digits of a plan');
/** May be missing only where nothing is asked: then the run says why. */
const evidence = text(/^[0-9a-f]{64}$/, 'expected the 64 hex digits of the evidence');
const name = text(/^[a-z0-9][a-z0-9-]{0,63}$/, 'expected a name of a-z, 0-9 and -');
const phaseId = text(
  /^@?[a-z][a-z0-9-]{0,63}(\.[a-z][a-z0-9-]{0,63}){0,5}(\/[a-z][a-z0-9-]{0,63})?$/,
  "expected 'step' or 'step/phase'",
);
const LONG_ENOUGH = 'expected at least 10 characters';
const reason = z.string({ error: LONG_ENOUGH }).trim().min(10, LONG_ENOUGH).max(500);
const jsonValue = z.unknown().openapi({ description: 'Any JSON value' });

const ProblemPart = z.object({
  pointer: z.string(),
  detail: z.string(),
  file: z.string().optional(),
  line: z.int().optional(),
  column: z.int().optional(),
  hint: z.string().optional(),
  excerpt: z.string().optional(),
});

export const Problem = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    code: z.string(),
    detail: z.string(),
    instance: z.string(),
    requestId: z.string(),
    /** What to do, where one sentence says it. */
    hint: z.string().optional(),
    errors: z.array(ProblemPart),
  })
  .openapi('Problem');

const planned = {
  runbook: z.union([name, z.strictObject({ text: z.string().min(1, 'expected the YAML of a runbook') })], {
    error: 'expected the name of a runbook, or { "text": … } with the YAML of one',
  }),
  environment: name,
  params: z.record(z.string().max(128), jsonValue).default({}),
};

export const PlanRequest = z
  .strictObject({
    ...planned,
    /** The plan is to start inside a change freeze: why, and which. Default of the freeze: the one that holds now. */
    emergency: z
      .strictObject({ reason: z.string().max(2000), freeze: z.string().max(60).optional() })
      .optional(),
  })
  .openapi('PlanRequest');

/** A check changes nothing, so it starts inside a change freeze as it is. */
export const CheckRequest = z.strictObject(planned).openapi('CheckRequest');

/** Why it may start inside change freezes, which, and whom it asks at least; null for most. */
const EmergencyAnswer = z
  .object({ reason: z.string(), freezes: z.array(z.string()), from: z.record(z.string(), z.int()) })
  .nullable();

const ApprovalAsked = z
  .object({
    from: z.record(z.string(), z.int()),
    expiresMs: z.number(),
    via: z.enum(['any', 'slack', 'api']),
    covers: z.array(z.string()),
  })
  .openapi('ApprovalAsked');

/** A target that a run holds. */
const Held = z.object({
  target: z.string(),
  run: z.int(),
  runbook: z.string(),
  requester: z.string(),
  /** The run does not hold it yet: it has waited for it for longer. */
  waits: z.boolean(),
  /** Milliseconds after which it is likely to be free; null where nobody can say. */
  leftMs: z.number().nullable(),
  /** What the run waits for, where that is why nobody can say. */
  waitsFor: z.string().nullable(),
});

export const LeaseList = z
  .object({
    items: z.array(
      z.object({ environment: z.string(), mode: z.enum(['exclusive', 'shared']), ...Held.shape }),
    ),
  })
  .openapi('LeaseList');

export const PlanAnswer = z
  .object({
    plan: digest,
    runbook: z.string(),
    environment: z.string(),
    params: z.record(z.string(), jsonValue),
    rollback: z.object({ withinMs: z.number() }),
    pointOfNoReturn: z.string().nullable(),
    steps: z.array(
      z.object({
        id: z.string(),
        kind: z.string(),
        effect: z.string(),
        onFail: z.string(),
        /** The block of parallel steps in which it is a branch. */
        block: z.string().nullable(),
        /** The window in which it may start. */
        window: z.string().nullable(),
        targets: z.array(z.string()),
        undoMs: z.number(),
        /** Null where nothing is asked, and for a branch: its block asks. */
        approval: ApprovalAsked.nullable(),
        /** What the step waits for in itself: an approval, a time, the point of no return. */
        wait: z
          .object({
            wait: z.string(),
            forMs: z.number().optional(),
            because: z.string().optional(),
            instructions: z.string().optional(),
          })
          .nullable(),
        phases: z.array(
          z.object({
            id: z.string(),
            title: z.string(),
            effect: z.string(),
            targets: z.array(z.string()),
            undo: z.string().nullable(),
            timeoutMs: z.number(),
            undoMs: z.number(),
            tries: z.int(),
          }),
        ),
      }),
    ),
    /** Blocks of parallel steps, and what each asks once for all its branches. */
    blocks: z.array(z.object({ id: z.string(), approval: ApprovalAsked.nullable() })),
    /** Steps of the runbook that are not in the plan, and why. */
    leftOut: z.array(z.object({ id: z.string(), kind: z.string(), because: z.string() })),
    unverifiable: z.array(z.string()),
    emergency: EmergencyAnswer,
    /** Runs of their own, due so long after this one has succeeded. */
    followUps: z.array(z.object({ id: z.string(), afterMs: z.number(), plan: z.string() })),
    now: z.object({
      /** Who would ask for the run, and so cannot approve it. */
      person: z.string(),
      takesMs: z.number(),
      undoMs: z.number(),
      /** Of how many past times `undoMs` is the p95, or the longest; null where the plan alone says it. */
      undoBasis: z.object({ samples: z.int(), isP95: z.boolean() }).nullable(),
      canApprove: z.record(z.string(), z.array(z.string())),
      leases: z.array(Held),
      leasesNeeded: z.int(),
      /** Until when no run starts here, where that is so now. */
      changeFreeze: z.object({ names: z.array(z.string()), until: z.string() }).nullable(),
      nextChangeFreeze: z.object({ name: z.string(), from: z.string(), to: z.string() }).nullable(),
    }),
  })
  .openapi('Plan');

const RunbookItem = z.object({
  name: z.string(),
  description: z.string().nullable(),
  /** Of its version: the plans that are made of it name it. Null where it cannot be parsed. */
  digest: z.string().nullable(),
});

export const RunbookList = z.object({ items: z.array(RunbookItem) }).openapi('RunbookList');

export const RunbookAnswer = z.object({ ...RunbookItem.shape, text: z.string() }).openapi('Runbook');

export const LintRequest = z
  .strictObject({ ...planned, environment: name.optional() })
  .openapi('LintRequest');

export const LintAnswer = z.object({ problems: z.array(ProblemPart) }).openapi('LintAnswer');

const instant = z.string().max(40);

export const RunRequest = z
  .strictObject({
    plan: digest,
    failAt: phaseId.optional(),
    /** Not before; at most 30 days ahead. */
    at: instant.optional().openapi({ example: '2026-11-22T01:00Z' }),
    /** It does not begin later, and begins no effect that could not end and be taken back until then. */
    notAfter: instant.optional().openapi({ example: '2026-11-22T04:00Z' }),
    /** How long it waits for targets that other runs hold, once it is due; left out it is refused instead. */
    waitMs: z.int().min(1).max(LEASE_WAIT_MS_MAX).optional(),
    /** It begins only once enough people have said that they are there to approve it; waits 15 minutes unless `waitMs` says. */
    readyCheck: z.boolean().optional(),
  })
  .openapi('RunRequest');

/** What a run waits for before it begins. */
const beginning = {
  dueAt: z.string().nullable(),
  notAfter: z.string().nullable(),
  /** Until when it waits for targets that other runs hold. */
  waitUntil: z.string().nullable(),
};

export const RunStarted = z
  .object({
    run: z.int(),
    state: z.string(),
    step: z.string().nullable(),
    requester: z.string(),
    ...beginning,
    waitingFor: z.string().nullable(),
  })
  .openapi('RunStarted');

export const CheckStarted = z
  .object({
    run: z.int(),
    state: z.string(),
    plan: digest,
    /** Steps that are looked at, as far as they change nothing. */
    checked: z.array(z.string()),
    notChecked: z.array(z.object({ id: z.string(), kind: z.string(), because: z.string() })),
  })
  .openapi('CheckStarted');

const runFields = {
  run: z.int(),
  /** A check: it looks, and changes nothing. */
  check: z.boolean(),
  runbook: z.string(),
  environment: z.string(),
  plan: digest,
  requester: z.string(),
  state: z.enum([
    'planned',
    'waiting',
    'running',
    'paused',
    'succeeded',
    'stopped',
    'unwinding',
    'rolled-back',
    'stuck',
  ]),
  verdict: z.enum(['pass', 'warn', 'fail', 'inconclusive', 'error']).nullable(),
  because: z.string().nullable(),
  verified: z.boolean().nullable(),
  notVerified: z.array(z.string()),
  step: z.string().nullable(),
  failAt: z.string().nullable(),
  ...beginning,
  createdAt: z.string(),
  startedAt: z.string().nullable(),
  endedAt: z.string().nullable(),
  unwindingAt: z.string().nullable(),
  unwoundAt: z.string().nullable(),
  head: z.object({ seq: z.int(), hash: z.string() }),
};

export const Run = z.object(runFields).openapi('Run');

export const RunPage = z.object({ items: z.array(Run), next: z.string().nullable() }).openapi('RunPage');

const Vote = z.object({
  person: z.string(),
  group: z.string().nullable(),
  door: z.string(),
  at: z.string(),
});

export const RunDetailAnswer = z
  .object({
    ...runFields,
    at: z.string(),
    /** Who has said that he is there, where the run waits for that; null where it does not. */
    ready: z.array(z.string()).nullable(),
    /** What a planned run waits for, besides its time. */
    waitingFor: z.string().nullable(),
    emergency: EmergencyAnswer,
    /** The run that this one follows, and as which of its follow-ups. */
    follows: z.object({ run: z.int(), followUp: z.string() }).nullable(),
    /** Runs of their own that follow once this one has succeeded; `run` null until then. */
    followUps: z.array(
      z.object({
        id: z.string(),
        afterMs: z.number(),
        run: z.int().nullable(),
        state: z.string().nullable(),
        dueAt: z.string().nullable(),
      }),
    ),
    rollback: z.object({
      withinMs: z.number(),
      undoMs: z.number(),
      phases: z.int(),
      lastSafeAt: z.string().nullable(),
    }),
    /** Where the time of a rollback went; null before its end. */
    recovery: z
      .object({
        detectMs: z.number(),
        decideMs: z.number(),
        executeMs: z.number(),
        verifyMs: z.number(),
      })
      .nullable(),
    abort: z.object({ allowed: z.boolean(), undoes: z.int(), undoMs: z.number() }),
    steps: z.array(
      z.object({
        id: z.string(),
        kind: z.string(),
        effect: z.string(),
        /** The block of parallel steps in which it is a branch; the block is what is approved. */
        block: z.string().nullable(),
        phases: z.array(z.string()),
      }),
    ),
    phases: z.array(
      z.object({
        phase: z.string(),
        step: z.string(),
        title: z.string(),
        effect: z.string(),
        state: z.enum([
          'pending',
          'waiting',
          'running',
          'done',
          'maybe',
          'undoing',
          'undone',
          'undo-failed',
          'skipped',
        ]),
        verdict: z.string().nullable(),
        summary: z.string().nullable(),
        error: z.object({ type: z.string(), message: z.string() }).nullable(),
        try: z.int(),
        waitingFor: z.string().nullable(),
        progress: z.record(z.string(), jsonValue).nullable(),
        startedAt: z.string().nullable(),
        endedAt: z.string().nullable(),
        /** When its latest attempt began, in whichever direction. */
        actAt: z.string().nullable(),
        /** When the worker that is at it was last heard of. */
        newsAt: z.string().nullable(),
        undo: z.string().nullable(),
        wait: z.string().nullable(),
        expectedMs: z.number(),
      }),
    ),
    approvals: z.array(
      z.object({
        step: z.string(),
        state: z.enum(['open', 'granted', 'rejected', 'expired', 'voided']),
        evidence: z.string(),
        round: z.int(),
        from: z.record(z.string(), z.int()),
        openedAt: z.string(),
        dueAt: z.string(),
        votes: z.array(Vote),
        needed: z.record(z.string(), z.int()),
        canApprove: z.record(z.string(), z.array(z.string())),
      }),
    ),
    decisions: z.array(
      z.object({
        id: z.string(),
        kind: z.string(),
        subject: z.string().nullable(),
        person: z.string(),
        door: z.string(),
        reason: z.string().nullable(),
        at: z.string(),
        /** The person stands for everybody who is asked, beside another one. */
        breakGlass: z.boolean(),
        /** It had an effect. */
        counted: z.boolean(),
        /** `Counted`, `AlreadyCounted`, `Accepted`, or the code of its refusal; null while its row does not count. */
        result: z.string().nullable(),
        delivery: z.enum(['stored', 'journalled', 'confirmed', 'refused', 'too-late']).openapi({
          description:
            'stored: written, the run has not taken it, it is sent again. journalled: its row counts, the run has not confirmed that it heard it, it is sent again. confirmed: the run has heard it. refused: the run refused it, result is the code. too-late: the run ended without it.',
        }),
      }),
    ),
    targets: z.array(
      z.object({
        target: z.string(),
        before: z.string().nullable(),
        after: z.string().nullable(),
        equal: z.boolean().nullable(),
      }),
    ),
  })
  .openapi('RunDetail');

export const DecisionRequest = z
  .discriminatedUnion(
    'decision',
    [
      z.strictObject({
        step: phaseId,
        decision: z.literal('approve'),
        plan: digest,
        evidence: evidence.optional(),
        reason: z.string().trim().max(500).optional(),
        /** In place of everybody who is asked, with another person; needs a reason. */
        breakGlass: z.literal(true).optional(),
      }),
      z.strictObject({
        step: phaseId,
        decision: z.literal('reject'),
        plan: digest,
        evidence: evidence.optional(),
        reason,
      }),
    ],
    { error: "expected 'approve' or 'reject'" },
  )
  .openapi('DecisionRequest');

const optionalPlan = digest.optional();
const optionalReason = z.string().trim().max(500).optional();

export const AbortRequest = z
  .strictObject({ plan: optionalPlan, reason: optionalReason })
  .openapi('AbortRequest');

export const SteerRequest = z
  .strictObject({ phase: phaseId, plan: optionalPlan, reason: optionalReason })
  .openapi('SteerRequest');

/** `output` stands for what the phase would have given. */
export const SkipRequest = z
  .strictObject({
    phase: phaseId,
    plan: optionalPlan,
    reason: optionalReason,
    output: z.record(z.string(), jsonValue).optional(),
  })
  .openapi('SkipRequest');

export const DoneRequest = z
  .strictObject({
    phase: phaseId,
    plan: optionalPlan,
    evidence: z.string().trim().max(4000).optional(),
  })
  .openapi('DoneRequest');

export const ResolveRequest = z
  .union(
    [
      z.strictObject({
        phase: phaseId,
        retry: z.literal(true),
        params: z.record(z.string(), jsonValue).optional(),
        plan: optionalPlan,
        reason: optionalReason,
      }),
      z.strictObject({
        phase: phaseId,
        done: z.literal(true),
        evidence: z.string({ error: LONG_ENOUGH }).trim().min(10, LONG_ENOUGH).max(4000),
        plan: optionalPlan,
        reason: optionalReason,
      }),
      z.strictObject({ retry: z.literal(true), plan: optionalPlan, reason: optionalReason }),
    ],
    {
      error:
        'expected { phase, "retry": true }, { phase, "done": true, evidence }, or { "retry": true } for the whole desk',
    },
  )
  .openapi('ResolveRequest');

export const DecisionResult = z
  .object({
    result: z.enum(['Counted', 'AlreadyCounted', 'Accepted']),
    detail: z.string(),
    votes: z.array(Vote).optional(),
    needed: z.record(z.string(), z.int()).optional(),
  })
  .openapi('DecisionResult');

const JournalRowAnswer = z.record(z.string(), jsonValue);

export const RefusedPage = z
  .object({ items: z.array(JournalRowAnswer), next: z.string().nullable() })
  .openapi('RefusedPage');

export const Evidence = z
  .object({
    run: Run,
    plan: jsonValue,
    rows: z.array(JournalRowAnswer),
    head: z.object({ seq: z.int(), hash: z.string() }),
    /** Refused attempts that name the run, oldest first: rows of the environment's own chain, the latest 1,000. */
    refused: z.array(JournalRowAnswer),
    /** Every undo by hand, in words, as row 1 holds it. */
    undoSheet: z.string().nullable(),
  })
  .openapi('Evidence');

const Token = z.object({
  id: z.string(),
  person: z.string(),
  createdAt: z.string(),
  expiresAt: z.string(),
});

export const TokenRequest = z
  .strictObject({
    person: z.string().min(1).max(100),
    /** How long it lasts; 30 days by default, a year at most. */
    expiresMs: z.int().min(MINUTE_MS).max(TOKEN_MS_MAX).default(TOKEN_MS),
  })
  .openapi('TokenRequest');

/** The only answer that ever holds the secret. */
export const TokenMade = z.object({ ...Token.shape, token: z.string() }).openapi('TokenMade');

export const TokenList = z
  .object({ items: z.array(Token), next: z.string().nullable() })
  .openapi('TokenList');

export const Me = z
  .object({
    person: z.string(),
    tokenExpiresAt: z.string(),
    environments: z.array(
      z.object({ environment: z.string(), roles: z.array(z.string()), groups: z.array(z.string()) }),
    ),
  })
  .openapi('Me');

export const Health = z
  .object({ status: z.literal('ok'), parts: z.record(z.string(), z.string()).optional() })
  .openapi('Health');
