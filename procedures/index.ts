/** The table of kinds: what may stand after `uses`. */
import { appSwitch } from './app-switch.ts';
import { approval } from './approval.ts';
import { command } from './command.ts';
import { databaseImport } from './database-import.ts';
import { databaseMigrate } from './database-migrate.ts';
import { httpCheck } from './http-check.ts';
import { manual } from './manual.ts';
import { notify } from './notify.ts';
import { pointOfNoReturn } from './point-of-no-return.ts';
import type { Procedure } from './procedure.ts';
import { sqlCheck } from './sql-check.ts';
import { wait } from './wait.ts';

export type ProcedureName =
  | 'app.switch'
  | 'approval'
  | 'command'
  | 'database.import'
  | 'database.migrate'
  | 'http.check'
  | 'manual'
  | 'notify'
  | 'point-of-no-return'
  | 'sql.check'
  | 'wait';

export const PROCEDURES = {
  'app.switch': appSwitch,
  approval,
  command,
  'database.import': databaseImport,
  'database.migrate': databaseMigrate,
  'http.check': httpCheck,
  manual,
  notify,
  'point-of-no-return': pointOfNoReturn,
  'sql.check': sqlCheck,
  wait,
} satisfies { [K in ProcedureName]: Procedure };

export const PROCEDURE_NAMES = Object.keys(PROCEDURES) as ProcedureName[];

/** Kinds of later versions: known, so that they are refused by name. */
export const LATER_KINDS: readonly string[] = [
  'app.deploy',
  'backup.take',
  'database.failover',
  'dns.update',
  'gate',
  'load.test',
  'restore.drill',
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
