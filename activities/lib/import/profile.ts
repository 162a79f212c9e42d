/** The look at every cell before anything is changed. */
import { counted, grouped } from '../counted.ts';
import type { PhaseContext } from '../../phase.ts';
import { fail } from '../fail.ts';
import type { ImportParams, MappedSource } from '../import-source.ts';
import type { MappedTable } from '../mapping.ts';
import type { Connection } from '../postgres.ts';
import { encodePage, labelOf } from '../rows.ts';
import { LOOK_ROWS, readPages, runAside } from '../sqlite.ts';
import type { Page, Source } from '../sqlite.ts';
import { Offenders, offenderText } from './offenders.ts';
import type { Offender } from './offenders.ts';
import { REFUSED_LISTED_MAX } from './refusals.ts';
import type { Refusal } from './refusals.ts';
import { lengthOf } from './encoding.ts';
import { withRehearsal } from './rehearse.ts';
import type { Refused } from './rehearse.ts';

/** Cells that may be kept beside their tables. */
export const QUARANTINED_MAX = 10_000;

export type Profile = {
  rows: number;
  cells: number;
  quarantined: number;
  notes: string[];
  refused: Refusal[];
};

/**
 * Encodes every cell as the copy would, and says which cannot be carried exactly. `checks`: a target whose tables are
 * there; rows are tried against their checks.
 */
export async function profileCells(
  { source, mapping }: MappedSource,
  params: ImportParams,
  { context, checks }: { context: PhaseContext; checks: Connection | undefined },
): Promise<Profile> {
  const listed: string[] = [];
  const offenders = new Offenders((offender) => {
    if (listed.length < REFUSED_LISTED_MAX) listed.push(offenderText(offender));
  });
  const profile: Profile = { rows: 0, cells: 0, quarantined: 0, notes: [], refused: [] };
  for (const table of mapping.tables) {
    const habits = new Habits(table);
    const pages = readPages(source, table.source, {
      order: 'storage',
      rowsMax: Math.min(params.chunkRows, LOOK_ROWS),
      signal: context.signal,
    });
    await withRehearsal(checks, table, async (rehearse) => {
      for await (const page of pages) {
        const before = offenders.total;
        const { lines, quarantined } = encodePage(source, table, page, offenders);
        const refused = offenders.total > before ? [] : ((await rehearse?.(lines)) ?? []);
        for (const one of refused) offenders.add(refusedRow({ source, table, page }, one));
        profile.quarantined += quarantined.length;
        habits.see(page);
        profile.rows += page.rows.length;
        profile.cells += page.rows.length * table.columns.length;
        context.progress({ done: profile.rows, unit: 'rows', detail: table.source.name });
      }
    });
    profile.notes.push(...habits.notes());
  }
  if (offenders.total > 0) {
    const what = counted(offenders.total, 'cell');
    profile.refused.push({
      type: 'VerificationFailed',
      message: `${what} of '${params.source}' cannot be carried exactly: ${offenders.text()}. Correct them in the source, or say in the step what becomes of them; nothing was changed.`,
      lines: listed,
      whole: offenders.isNamed,
    });
  }
  if (profile.quarantined > QUARANTINED_MAX) {
    profile.refused.push({
      type: 'VerificationFailed',
      message: `${counted(profile.quarantined, 'cell')} of '${params.source}' would go into quarantine, expected at most ${grouped(QUARANTINED_MAX)}; give their columns a type that holds them.`,
      lines: [],
      whole: true,
    });
  }
  return profile;
}

function refusedRow(
  at: { source: Source; table: MappedTable; page: Page },
  { place, constraint }: Refused,
): Offender {
  return {
    code: 'CheckViolation',
    table: at.table.source.name,
    row: labelOf(at, place),
    column: '',
    found: `what ${constraint} of the target refuses`,
    expected: 'a row that it takes',
    allow: 'correct it in the source, or drop the check in the target for the time',
  };
}

/** What SQLite let pass and a mapping carries all the same, so that people hear of it. */
class Habits {
  readonly #table: MappedTable;
  readonly #counts: number[];
  readonly #rules: ((cell: unknown) => boolean)[];

  constructor(table: MappedTable) {
    this.#table = table;
    this.#counts = table.columns.map(() => 0);
    this.#rules = table.columns.map(({ name, encoding }) => {
      const length = table.source.columns.find((column) => column.name === name)?.length ?? null;
      if (encoding.as === 'bytes') return (cell) => typeof cell === 'string';
      if (encoding.as === 'text' && length !== null)
        return (cell) => typeof cell === 'string' && cell.length > length && lengthOf(cell) > length;
      return () => false;
    });
  }

  see(page: Page): void {
    for (const [place, rule] of this.#rules.entries()) {
      for (const row of page.rows)
        if (rule(row[page.key.length + place])) this.#counts[place] = (this.#counts[place] ?? 0) + 1;
    }
  }

  notes(): string[] {
    return this.#table.columns.flatMap(({ name, encoding }, place) => {
      const count = this.#counts[place] ?? 0;
      if (count === 0) return [];
      const cells = `${counted(count, 'cell')} of ${this.#table.source.name}.${name}`;
      return encoding.as === 'bytes'
        ? [`BlobText: ${cells} hold text in a column of blobs, carried as its bytes`]
        : [`LengthIgnored: ${cells} are longer than declared, carried whole`];
    });
  }
}

/**
 * A NULL in a NOT NULL column counts as damage there, and so does a row that a CHECK forbids; here the first is a cell with a
 * name, and the second is no damage. Without them, so that no number of them hides what is.
 */
const NO_DAMAGE = ['ok', 'NULL value in ', 'CHECK constraint failed in '];

/** The file's own checks. They cannot be paged, so they run on a thread of their own. */
export async function checkIntegrity(source: Source, signal: AbortSignal): Promise<void> {
  const [integrity = []] = await runAside(
    source.name,
    { path: source.path, sql: ['PRAGMA integrity_check(1000000)'], without: NO_DAMAGE },
    signal,
  );
  const complaints = integrity.map((row) => String(row['integrity_check']).replace(/\s+/g, ' '));
  if (complaints.length > 0) {
    throw fail(
      'PreconditionFailed',
      `'${source.name}' is damaged: ${complaints.slice(0, 3).join('; ')}. Restore it from a backup first.`,
    );
  }
}
