/** Runs as a table, newest first. */
import type { RunWire } from '../wire.ts';
import { COLUMNS_MAX, type Style, arrow, cut, dash, pad, runWord, stamp, typed, widthOf } from './style.ts';

export function runsLines(runs: readonly RunWire[], style: Style): string[] {
  if (runs.length === 0) {
    return [`No run yet. Start with: ${typed(style, 'plan first-launch --env demo')}`];
  }
  const rows = runs.map((run) => ({
    run: String(run.run),
    runbook: cut(style, nameOf(run), 24),
    environment: cut(style, run.environment, 16),
    state: runWord(style, { ...run, notVerified: run.notVerified.slice(0, 1) }),
    now: run.because ?? (run.endedAt === null ? (run.step ?? begins(run)) : run.verdict) ?? dash(style),
    requester: cut(style, run.requester, 16),
  }));
  const width = (of: (row: (typeof rows)[number]) => string, least: number) =>
    Math.max(least, ...rows.map((row) => widthOf(of(row)))) + 2;
  const widths = {
    run: width((row) => row.run, 3),
    runbook: width((row) => row.runbook, 7),
    environment: width((row) => row.environment, 2),
    state: width((row) => row.state, 5),
  };
  const used = widths.run + widths.runbook + widths.environment + widths.state;
  const requester = width((row) => row.requester, 9) - 2;
  const room = style.isWhole === true ? width((row) => row.now, 8) : COLUMNS_MAX - used - requester;
  const now = Math.max(8, style.isWhole === true ? room - 2 : Math.min(40, room - 2));
  const line = (row: (typeof rows)[number]) =>
    `${pad(row.run, widths.run)}${pad(row.runbook, widths.runbook)}${pad(row.environment, widths.environment)}${pad(row.state, widths.state)}${pad(cut(style, row.now, now), now + 2)}${row.requester}`.trimEnd();
  return [
    line({
      run: 'RUN',
      runbook: 'RUNBOOK',
      environment: 'IN',
      state: 'STATE',
      now: 'NOW',
      requester: 'REQUESTER',
    }),
    ...rows.map(line),
  ];
}

/** When a run begins that has not. */
function begins({ state, dueAt }: RunWire): string | null {
  return state === 'planned' && dueAt !== null ? `begins ${stamp(dueAt)}` : null;
}

/** The runbook, or `check of` it. */
function nameOf({ runbook, check }: Pick<RunWire, 'runbook' | 'check'>): string {
  return check ? `check of ${runbook}` : runbook;
}

/** `piano-keys → production`. */
export function whereOf(run: Pick<RunWire, 'runbook' | 'check' | 'environment'>, style: Style): string {
  return `${nameOf(run)} ${arrow(style)} ${run.environment}`;
}
