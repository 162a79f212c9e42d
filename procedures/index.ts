/** The table of kinds: what may stand after `uses`. */
import { appSwitch } from './app-switch.ts';
import { approval } from './approval.ts';
import { databaseImport } from './database-import.ts';
import { httpCheck } from './http-check.ts';
import { pointOfNoReturn } from './point-of-no-return.ts';
import type { Procedure } from './procedure.ts';
import { wait } from './wait.ts';

export type ProcedureName =
  | 'app.switch'
  | 'approval'
  | 'database.import'
  | 'http.check'
  | 'point-of-no-return'
  | 'wait';

export const PROCEDURES = {
  'app.switch': appSwitch,
  approval,
  'database.import': databaseImport,
  'http.check': httpCheck,
  'point-of-no-return': pointOfNoReturn,
  wait,
} satisfies { [K in ProcedureName]: Procedure };

export const PROCEDURE_NAMES = Object.keys(PROCEDURES) as ProcedureName[];

/** Kinds of later versions: known, so that they are refused by name. */
export const LATER_KINDS: readonly string[] = [
  'app.deploy',
  'backup.take',
  'command',
  'database.failover',
  'database.migrate',
  'dns.update',
  'gate',
  'load.test',
  'manual',
  'notify',
  'restore.drill',
  'runbook',
  'sql.check',
  'storage.cleanup',
  'storage.cutover',
  'traffic.shift',
  'watch',
];

export function isProcedureName(kind: string): kind is ProcedureName {
  return Object.hasOwn(PROCEDURES, kind);
}

export function procedureOf(kind: ProcedureName): Procedure {
  return PROCEDURES[kind];
}
