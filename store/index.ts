/** The store's two sides. Which of them a process may use is decided by its database role, not here. */
import type { Pool } from 'pg';
import { readCounted, readUnheardAbort } from './counted.ts';
import {
  answerDecision,
  insertDecision,
  readDecision,
  readVotes,
  refuseDecision,
  unansweredDecisions,
} from './decisions.ts';
import {
  appendDecision,
  appendIntent,
  appendOutcome,
  appendRefused,
  appendRows,
  isCurrent,
  isPaused,
  journalRows,
  readRefused,
} from './journal.ts';
import { readExpected } from './durations.ts';
import { readFacts } from './facts.ts';
import { listen } from './listen.ts';
import { readMetrics } from './metrics.ts';
import { readBinds } from './outputs.ts';
import {
  admitRun,
  listLeases,
  readBlocker,
  readBlockerOfPlan,
  replayOf,
  sayReady,
  stopPlanned,
} from './admission.ts';
import { readPlan, readPlanByPrefix, savePlan } from './plans.ts';
import { saveProgress } from './progress.ts';
import { readRecovery } from './recovery.ts';
import { createRun, listAwaited, listOpenRuns, makeRunLoader, readBegun, tellReopened } from './runs.ts';
import { insertToken, issueToken, listTokens, readToken, readTokenById, revokeToken } from './tokens.ts';
import type { ApiStore, WorkerStore } from './types.ts';
import { readUndoing } from './undoing.ts';
import { listRuns, readRun } from './views.ts';

/** The worker's side, on a pool whose role is a member of `countdown_worker`. The caller ends the pool. */
export function makeWorkerStore(pool: Pool): WorkerStore {
  return {
    loadRun: makeRunLoader(pool),
    intent: (row) => appendIntent(pool, row),
    outcome: (row) => appendOutcome(pool, row),
    isCurrent: (row) => isCurrent(pool, row),
    isPaused: (run) => isPaused(pool, run),
    binds: (run, phases) => readBinds(pool, run, phases),
    begun: (run, execution) => readBegun(pool, run, execution),
    record: (run, rows) => appendRows(pool, run, rows),
    decision: (run, id) => readDecision(pool, run, id),
    countDecision: (run, id) => appendDecision(pool, run, id),
    unheardAbort: (run) => readUnheardAbort(pool, run),
    counted: (run, after) => readCounted(pool, run, after),
    votes: (run, step) => readVotes(pool, run, step),
    facts: (run, phases) => readFacts(pool, run, phases),
    undoing: (run, phase) => readUndoing(pool, run, phase),
    saveProgress: (row) => saveProgress(pool, row),
  };
}

/** The API's side, on a pool whose role is a member of `countdown_api`. The caller ends the pool. */
export function makeApiStore(pool: Pool): ApiStore {
  return {
    savePlan: (row) => savePlan(pool, row),
    plan: (hash) => readPlan(pool, hash),
    planByPrefix: (prefix) => readPlanByPrefix(pool, prefix),
    createRun: (row) => createRun(pool, row),
    run: (run) => readRun(pool, run),
    recovery: (run) => readRecovery(pool, run),
    expected: (plan) => readExpected(pool, plan),
    runs: (page) => listRuns(pool, page),
    journal: (run, page) => journalRows(pool, run, page),
    insertDecision: (decision) => insertDecision(pool, decision),
    answerDecision: (row) => answerDecision(pool, row),
    refuseDecision: (row) => refuseDecision(pool, row),
    unanswered: (olderMs, limit, which) => unansweredDecisions(pool, olderMs, limit, which),
    tellReopened: (run, reason) => tellReopened(pool, run, reason),
    refused: (row) => appendRefused(pool, row),
    refusals: (page) => readRefused(pool, page),
    insertToken: (row) => insertToken(pool, row),
    token: (hash) => readToken(pool, hash),
    revokeToken: (id, audit) => revokeToken(pool, id, audit),
    issueToken: (row, audit) => issueToken(pool, row, audit),
    tokens: (page) => listTokens(pool, page),
    tokenById: (id) => readTokenById(pool, id),
    metrics: () => readMetrics(pool),
    openRuns: () => listOpenRuns(pool),
    awaitedFollowUps: (limit) => listAwaited(pool, limit),
    replay: (key) => replayOf(pool, key),
    admit: (run, now) => admitRun(pool, run, now),
    blocker: (run, now) => readBlocker(pool, run, now),
    blockerOfPlan: (plan, now) => readBlockerOfPlan(pool, plan, now),
    sayReady: (row) => sayReady(pool, row),
    stopPlanned: (row) => stopPlanned(pool, row),
    leases: () => listLeases(pool),
    listen: (onRow, signal) => listen(pool, onRow, signal),
    ready: async () => {
      await pool.query('select from countdown.migrations limit 1');
    },
  };
}
