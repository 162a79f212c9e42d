/**
 * What database.migrate refuses, each by a name that stands in brackets at the end of its sentence and on its page. Rules
 * of the lint have their own table, in `lint.ts`.
 */
import type { ErrorType } from '../../../procedures/errors.ts';
import { fail } from '../fail.ts';

export const CODES = {
  ChecksumDrift: 'PreconditionFailed',
  OutOfOrder: 'PreconditionFailed',
  MissingFile: 'PreconditionFailed',
  UnknownFile: 'PreconditionFailed',
  Unfinished: 'PreconditionFailed',
  QueryFails: 'PreconditionFailed',
  OtherDatabase: 'PreconditionFailed',
  DoubleVersion: 'PreconditionFailed',
  TooMany: 'PreconditionFailed',
  UnknownRevision: 'PreconditionFailed',
  MultipleHeads: 'PreconditionFailed',
  SqlSyntax: 'PreconditionFailed',
  NonTransactionalMulti: 'PreconditionFailed',
  TransactionControl: 'PreconditionFailed',
  TransactionNested: 'PreconditionFailed',
  TransactionUncommitted: 'PreconditionFailed',
  StatementRefused: 'PreconditionFailed',
  NoDown: 'PreconditionFailed',
  LossyDown: 'PreconditionFailed',
  ForGood: 'PreconditionFailed',
  UpFails: 'PreconditionFailed',
  DownFails: 'PreconditionFailed',
  DownDiffers: 'PreconditionFailed',
  UpDiffers: 'PreconditionFailed',
  ProgramFails: 'PreconditionFailed',
  ProbeUnreadable: 'PreconditionFailed',
  NoScratch: 'PreconditionFailed',
  NoPgDump: 'PreconditionFailed',
  CloneDiffers: 'PreconditionFailed',
  ReadOnly: 'PreconditionFailed',
  WrongDatabase: 'PreconditionFailed',
  PooledConnection: 'PreconditionFailed',
  InvalidIndex: 'PreconditionFailed',
  PreparedTransactions: 'PreconditionFailed',
  LockHeld: 'PreconditionFailed',
  StructureDrift: 'PreconditionFailed',
  ScriptsDrift: 'PreconditionFailed',
  BackfillColumns: 'PreconditionFailed',
  BackfillKey: 'PreconditionFailed',
  NoDualWrite: 'PreconditionFailed',
  LockTimeout: 'PhaseFailed',
  AdvisoryLockLost: 'PhaseFailed',
  StatementFails: 'PhaseFailed',
  IndexDiffers: 'PhaseFailed',
  SessionLost: 'PhaseFailed',
  CommitUnknown: 'PhaseFailed',
  BackfillResidual: 'PhaseFailed',
} as const satisfies Record<string, ErrorType>;

export type Code = keyof typeof CODES;

/** Ends the phase with the code's type. `sentence` ends without a full stop; the name of the code comes after it. */
export function refuse(code: Code, sentence: string, cause?: unknown): never {
  throw fail(CODES[code], `${sentence} (${code}).`, cause);
}

/** Ends an undo: whatever it met, a person must look. */
export function refuseUndo(code: Code, sentence: string, cause?: unknown): never {
  throw fail('UndoFailed', `${sentence} (${code}).`, cause);
}

const NAMED_MAX = 5;

/** The first few, and how many more. */
export function named(items: readonly string[], max = NAMED_MAX): string {
  const more = items.length - max;
  return items.slice(0, max).join('; ') + (more > 0 ? `; and ${more} more` : '');
}
