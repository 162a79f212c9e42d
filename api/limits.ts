/**
 * How much one credential may ask in a minute, and how often one address may fail to sign in. Counted in PostgreSQL, so
 * all API processes share it; in memory while that cannot be reached, so a limit is never what keeps people out then.
 * Ending a run and answering it have budgets of their own: whatever reads and writes used up, these are left.
 */
import type { Pool } from 'pg';
import {
  type RateLimiterAbstract,
  RateLimiterMemory,
  RateLimiterPostgres,
  RateLimiterRes,
} from 'rate-limiter-flexible';
import { MINUTE_MS } from '../procedures/limits.ts';

/**
 *   free    not counted: health, and pages for people
 *   read    whatever changes nothing
 *   write   plans, runs, tokens
 *   decide  what people say to a run
 *   abort   what ends a run
 */
export type Budget = 'free' | 'read' | 'write' | 'decide' | 'abort';
export type Counted = Exclude<Budget, 'free'>;

/** Requests of one credential in a minute; `signIn` are failures of one address. */
export type Quotas = Record<Counted | 'signIn', number>;

export const QUOTAS: Quotas = { read: 600, write: 120, decide: 120, abort: 60, signIn: 10 };

export type Taken = {
  /** False where the budget was used up before. */
  isWithin: boolean;
  quota: number;
  left: number;
  /** Milliseconds until the budget is whole again. */
  resetMs: number;
};

export type Limits = {
  /** Counts one request against a budget of this credential. */
  take(budget: Counted, credential: string): Promise<Taken>;
  /** Counts a sign-in that failed. One that succeeds is never counted nor held up. */
  failedSignIn(address: string): Promise<Taken>;
};

const WINDOW_SECONDS = MINUTE_MS / 1_000;

/** Without a pool it counts in this process alone. The table is made by the migrations. */
export function makeLimits(options: { pool?: Pool; quotas?: Partial<Quotas> } = {}): Limits {
  const quotas: Quotas = { ...QUOTAS, ...options.quotas };
  const limiterOf = (name: Counted | 'signIn'): RateLimiterAbstract => {
    const shared = { keyPrefix: name, points: quotas[name], duration: WINDOW_SECONDS };
    const inMemory = new RateLimiterMemory(shared);
    if (options.pool === undefined) return inMemory;
    return new RateLimiterPostgres({
      ...shared,
      storeClient: options.pool,
      storeType: 'pool',
      schemaName: 'countdown',
      tableName: 'limits',
      tableCreated: true,
      // Whoever is over it is answered without the database until the minute is over.
      inMemoryBlockOnConsumed: quotas[name] + 1,
      insuranceLimiter: inMemory,
    });
  };
  const limiters = {
    read: limiterOf('read'),
    write: limiterOf('write'),
    decide: limiterOf('decide'),
    abort: limiterOf('abort'),
    signIn: limiterOf('signIn'),
  };
  return {
    take: (budget, credential) => takeOf(limiters[budget], credential, quotas[budget]),
    failedSignIn: (address) => takeOf(limiters.signIn, address, quotas.signIn),
  };
}

async function takeOf(limiter: RateLimiterAbstract, key: string, quota: number): Promise<Taken> {
  try {
    return takenOf(await limiter.consume(key), true, quota);
  } catch (error) {
    // It throws its own answer where the budget is used up.
    if (error instanceof RateLimiterRes) return takenOf(error, false, quota);
    throw error;
  }
}

function takenOf(answer: RateLimiterRes, isWithin: boolean, quota: number): Taken {
  return {
    isWithin,
    quota,
    left: answer.remainingPoints,
    resetMs: Math.min(Math.max(answer.msBeforeNext, 0), MINUTE_MS),
  };
}

/** The two headers of the draft on rate limits, and when to come back for whoever is over. */
export function limitHeaders(name: string, taken: Taken): Record<string, string> {
  const seconds = Math.ceil(taken.resetMs / 1_000);
  return {
    'RateLimit-Policy': `"${name}";q=${taken.quota};w=${WINDOW_SECONDS}`,
    RateLimit: `"${name}";r=${taken.left};t=${seconds}`,
    ...(taken.isWithin ? {} : { 'Retry-After': String(Math.max(seconds, 1)) }),
  };
}
