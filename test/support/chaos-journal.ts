/**
 * What the chaos driver reads of Countdown's database, with SQL of its own, and the rules that the journal of any run keeps.
 * Nothing here calls the product: a rule that the product breaks must be seen by other eyes than its own.
 */
import { createHash } from 'node:crypto';

/** A row as it lies in the table; `body` is the text that was hashed. */
export type RawRow = {
  run: number;
  seq: number;
  at: string;
  kind: string;
  phase: string | null;
  direction: string | null;
  try: number | null;
  attempt: number | null;
  actor: string;
  key: string | null;
  body: string;
  prev: string;
  hash: string;
};

/** A law that a run broke: a short code, and what was found. */
export type Finding = { code: string; detail: string };

export const JOURNAL_SQL = `
  select run, seq, to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at, kind, phase, direction, try, attempt,
    actor, key, body::text as body, prev, hash
  from countdown.journal where run = $1 order by seq`;

const TERMINAL = ['succeeded', 'stopped', 'rolled-back'];
/** Phases whose effect must not happen twice between two undos. */
const EFFECTS = [
  'database/hold-writes',
  'database/copy',
  'database/switch',
  'database/release-writes',
  'keep/end-capture',
];

export type Body = Record<string, unknown>;

export function bodyOf(row: RawRow): Body {
  return JSON.parse(row.body) as Body;
}

export function stateIn(row: RawRow): string {
  const { state } = bodyOf(row);
  return typeof state === 'string' ? state : '';
}

/** Every rule that the rows alone show. `head` is the end of the chain as the run row has it. */
export function journalFindings(
  rows: readonly RawRow[],
  head: { seq: number; hash: string } | undefined,
): Finding[] {
  return [
    ...chainFindings(rows, head),
    ...endFindings(rows),
    ...outcomeFindings(rows),
    ...twiceFindings(rows),
    ...startedFindings(rows),
  ];
}

/**
 * The chain, written anew from its description: each field as `LENGTH:VALUE,` with the length in bytes, `-,` for null, the
 * last one being the hash of the row before; sha256 over all of it. The first row follows 64 zeros.
 */
export function chainFindings(
  rows: readonly RawRow[],
  head: { seq: number; hash: string } | undefined,
): Finding[] {
  const found: Finding[] = [];
  let prev = '0'.repeat(64);
  for (const [index, row] of rows.entries()) {
    if (row.seq !== index + 1) found.push({ code: 'gap', detail: `row ${index + 1} has seq ${row.seq}` });
    if (row.prev !== prev)
      found.push({ code: 'chain', detail: `row ${row.seq} does not follow the row before` });
    if (hashOf(row) !== row.hash)
      found.push({ code: 'chain', detail: `row ${row.seq} has another hash than its content` });
    prev = row.hash;
  }
  const last = rows.at(-1);
  if (head !== undefined && (last?.seq !== head.seq || last.hash !== head.hash))
    found.push({ code: 'chain', detail: `the last row is ${last?.seq}, the run's head is ${head.seq}` });
  return found;
}

export function hashOf(row: RawRow): string {
  const hash = createHash('sha256');
  const fields = [
    row.run,
    row.seq,
    row.at,
    row.kind,
    row.phase,
    row.direction,
    row.try,
    row.attempt,
    row.actor,
    row.body,
    row.prev,
  ];
  for (const field of fields) {
    const bytes = Buffer.from(String(field), 'utf8');
    hash.update(
      field === null ? '-,' : Buffer.concat([Buffer.from(`${bytes.length}:`), bytes, Buffer.from(',')]),
    );
  }
  return hash.digest('hex');
}

/** Nothing after the row that ended the run; nothing forward after the unwinding began. */
function endFindings(rows: readonly RawRow[]): Finding[] {
  const found: Finding[] = [];
  const end = rows.find((row) => row.kind === 'run' && TERMINAL.includes(stateIn(row)));
  const late = rows.filter((row) => end !== undefined && row.seq > end.seq);
  if (late.length > 0)
    found.push({ code: 'after-end', detail: `rows ${seqs(late)} follow the terminal row ${end?.seq}` });
  const unwinding = rows.find((row) => row.kind === 'run' && stateIn(row) === 'unwinding');
  const forward = rows.filter(
    (row) =>
      unwinding !== undefined && row.seq > unwinding.seq && row.kind === 'intent' && row.direction === 'run',
  );
  if (forward.length > 0)
    found.push({
      code: 'forward-after-unwinding',
      detail: `intents ${seqs(forward)} after row ${unwinding?.seq}`,
    });
  return found;
}

/** An outcome answers the latest intent of its phase, and nothing else was said of the phase since. */
function outcomeFindings(rows: readonly RawRow[]): Finding[] {
  const found: Finding[] = [];
  const latest = new Map<string, RawRow>();
  for (const row of rows) {
    const phase = row.phase ?? '';
    if (row.kind === 'intent' || row.kind === 'phase') latest.set(phase, row);
    if (row.kind !== 'outcome') continue;
    const intent = latest.get(phase);
    const fits =
      intent?.kind === 'intent' &&
      bodyOf(row)['intent'] === intent.seq &&
      row.direction === intent.direction &&
      row.try === intent.try;
    if (!fits)
      found.push({
        code: 'outcome-of-other-intent',
        detail: `row ${row.seq} of ${phase}, latest is row ${intent?.seq}`,
      });
  }
  return found;
}

/** Between two undos a phase with an effect ends well at most once. */
function twiceFindings(rows: readonly RawRow[]): Finding[] {
  return EFFECTS.flatMap((phase) => {
    let good: RawRow | undefined;
    const found: Finding[] = [];
    for (const row of rows) {
      if (row.phase !== phase || row.kind !== 'outcome' || bodyOf(row)['result'] !== 'ok') continue;
      if (row.direction === 'undo') good = undefined;
      if (row.direction !== 'run') continue;
      if (good !== undefined)
        found.push({
          code: 'effect-twice',
          detail: `${phase} ended well in rows ${good.seq} and ${row.seq}`,
        });
      good = row;
    }
    return found;
  });
}

/** What never began cannot have been taken back. */
function startedFindings(rows: readonly RawRow[]): Finding[] {
  const started = new Set<string>();
  const found: Finding[] = [];
  for (const row of rows) {
    const phase = row.phase ?? '';
    if (row.kind === 'intent' && row.direction === 'run') started.add(phase);
    const isUndone = (row.kind === 'phase' || row.kind === 'outcome') && stateIn(row) === 'undone';
    if (isUndone && !started.has(phase))
      found.push({
        code: 'undone-without-run',
        detail: `row ${row.seq}: ${phase} is undone and never began`,
      });
  }
  return found;
}

/** Each phase's state as the rows alone give it. */
export function phaseStates(rows: readonly RawRow[]): Map<string, string> {
  const states = new Map<string, string>();
  for (const row of rows) {
    if (row.phase === null || row.phase.startsWith('@')) continue;
    if (row.kind === 'intent' && row.direction === 'run') states.set(row.phase, 'running');
    else if (row.kind === 'intent' && row.direction === 'undo') states.set(row.phase, 'undoing');
    else if (row.kind !== 'intent' && row.direction !== 'probe') {
      const state = stateIn(row);
      if (state !== '') states.set(row.phase, state);
    }
  }
  return states;
}

/** The last `run` row; what it says is how the run is. */
export function lastRunRow(rows: readonly RawRow[]): RawRow | undefined {
  return rows.findLast((row) => row.kind === 'run');
}

/** The rows in short, for a look at a failure. */
export function excerpt(rows: readonly RawRow[], bodyMax = 170): string {
  return rows
    .map((row) => {
      const where = [row.phase, row.direction, row.try === null ? null : `${row.try}.${row.attempt}`];
      const what = where.filter((part) => part !== null).join(' ');
      return `${String(row.seq).padStart(4)} ${row.at.slice(11, 23)} ${row.kind.padEnd(8)} ${what} ${row.body.slice(0, bodyMax)}`;
    })
    .join('\n');
}

function seqs(rows: readonly RawRow[]): string {
  return rows.map(({ seq }) => seq).join(', ');
}
