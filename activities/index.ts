/** All activities of a worker, by the names that plans use: `KIND/PHASE/run|probe|undo`, `fingerprint/KIND`, and the recorder's local ones. */
import type { ActivityInterceptorsFactory } from '@temporalio/worker';
import type { Recorder } from '../workflows/messages.ts';
import { appSwitch } from './app-switch.ts';
import { type AroundDeps, makeAroundPhase } from './around-phase.ts';
import { command } from './command.ts';
import { databaseImport } from './database-import.ts';
import { databaseMigrate } from './database-migrate.ts';
import { fingerprint } from './fingerprint.ts';
import { httpCheck } from './http-check.ts';
import { notify } from './notify.ts';
import type { FingerprintTake, PhaseActivities } from './phase.ts';
import { makeRecorder } from './recorder.ts';
import { sqlCheck } from './sql-check.ts';
import { when } from './when.ts';

/** The kinds that act. `approval`, `wait` and `point-of-no-return` live in the core and need none. */
const KINDS = {
  'http.check': httpCheck,
  notify,
  'app.switch': appSwitch,
  command,
  'database.import': databaseImport,
  'database.migrate': databaseMigrate,
  'sql.check': sqlCheck,
} satisfies Record<string, Record<string, PhaseActivities>>;

/** Phases that no kind plans: the compiler adds them. */
const SHARED = { when } satisfies Record<string, Record<string, PhaseActivities>>;

const FINGERPRINTS: Record<string, FingerprintTake> = fingerprint;

export type Activity = (...args: never[]) => Promise<unknown>;

/** What a worker needs: the functions by name, and the interceptor that stands around every phase. */
export type Activities = {
  recorder: Recorder;
  phases: Record<string, Activity>;
  aroundPhase: ActivityInterceptorsFactory;
};

/** `extra` adds activities that no runbook names, by their full name: benches and engine tests bring their own. */
export function createActivities(deps: AroundDeps, extra: Record<string, Activity> = {}): Activities {
  return {
    recorder: makeRecorder(deps),
    phases: { ...extra, ...phaseActivities() },
    aroundPhase: makeAroundPhase(deps),
  };
}

/** The functions alone, by the names that plans use: what runs inside the interceptor. */
export function phaseActivities(): Record<string, Activity> {
  const phases: Record<string, Activity> = {};
  for (const [kind, byPhase] of Object.entries({ ...KINDS, ...SHARED })) {
    for (const [phase, directions] of Object.entries<PhaseActivities>(byPhase)) {
      for (const [direction, act] of Object.entries(directions))
        phases[`${kind}/${phase}/${direction}`] = act;
    }
  }
  for (const [kind, take] of Object.entries(FINGERPRINTS)) phases[`fingerprint/${kind}`] = take;
  return phases;
}
