/** What of a table's lines is copied: everything but what PostgreSQL computes itself. */
import type { MappedTable } from '../mapping.ts';
import { quote } from '../sqlite.ts';

/** The columns that COPY fills. */
export function columnsCopied({ columns }: MappedTable): string {
  return columns
    .filter(({ computed }) => !computed)
    .map((column) => quote(column.target))
    .join(', ');
}

/** The line without the fields that PostgreSQL computes. */
export function lineCopied({ columns }: MappedTable, line: string): string {
  if (columns.every(({ computed }) => !computed)) return line;
  return line
    .split('\t')
    .filter((_, at) => columns[at]?.computed === false)
    .join('\t');
}
