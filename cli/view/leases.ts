/** Targets that runs hold. */
import type { HeldWire, LeaseWire } from '../wire.ts';
import { COLUMNS_MAX, type Style, cut, duration, pad, span, widthOf } from './style.ts';

export function leasesLines(leases: readonly LeaseWire[], style: Style): string[] {
  if (leases.length === 0) return ['No target is held.'];
  const rows = [
    ['TARGET', 'IN', 'HELD BY', 'FOR', 'HOW', 'LEFT'],
    ...leases.map((lease) => [
      cut(style, lease.target, 30),
      cut(style, lease.environment, 16),
      `run ${lease.run}`,
      cut(style, `${lease.runbook}, ${lease.requester}`, 30),
      lease.mode,
      leftText(lease),
    ]),
  ];
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => widthOf(row[column] ?? ''))),
  );
  return rows.map((row) =>
    cut(
      style,
      row
        .map((text, column) => pad(text, (widths[column] ?? 0) + 2))
        .join('')
        .trimEnd(),
      COLUMNS_MAX,
    ),
  );
}

/** `about 20m`, or what the run waits for. */
export function leftText({ leftMs, waitsFor }: Pick<HeldWire, 'leftMs' | 'waitsFor'>): string {
  if (leftMs === null) return `waits for ${waitsFor ?? 'somebody'}`;
  // An estimate has no seconds beside its minutes.
  return `about ${leftMs < 60_000 ? duration(Math.ceil(leftMs / 1_000) * 1_000) : span(Math.ceil(leftMs / 60_000) * 60_000)}`;
}
