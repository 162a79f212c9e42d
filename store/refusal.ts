import type { ErrorType } from '../procedures/errors.ts';

const NAMES: Record<string, ErrorType> = {
  RunClosed: 'FenceLost',
  Superseded: 'FenceLost',
  LeaseLost: 'LeaseLost',
  OutOfOrder: 'OutOfOrder',
  DecisionUnknown: 'ApprovalMissing',
};

/**
 * The journal said no to a row that the shell records. Its name is a type of `procedures/errors.ts`, which is how Temporal
 * knows that trying again is of no use.
 */
export class JournalRefusal extends Error {
  declare readonly name: ErrorType;
  readonly refused: string;

  constructor(refused: string, detail: string) {
    super(detail);
    this.name = NAMES[refused] ?? 'PlanUnknown';
    this.refused = refused;
  }
}
