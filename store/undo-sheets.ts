/** The undo sheet of a run: row 1 of its journal holds it, so that later versions of its words change nothing. */
import type { Pool } from 'pg';
import { undoSheet } from '../procedures/undo-sheet.ts';
import { textDigest } from './digest.ts';
import { readPlan } from './plans.ts';

export type UndoSheet = { sha256: string; text: string };

/** The sheet of a plan as it is now; undefined where there is no such plan. */
export async function undoSheetOf(pool: Pool, hash: string): Promise<UndoSheet | undefined> {
  const plan = await readPlan(pool, hash);
  if (plan === undefined) return undefined;
  const text = undoSheet(plan, hash).toWellFormed();
  return { sha256: textDigest(text), text };
}
