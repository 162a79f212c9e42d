/** What a line of `mapping` of database.import may say about a column. */
export const MAPPING_WORDS = [
  'text',
  'bytea',
  'quarantine',
  'bigint',
  'integer',
  'smallint',
  'numeric',
  'double precision',
  'boolean',
  'date',
  'time',
  'timestamp',
  'timestamptz',
  'epoch-seconds',
  'epoch-milliseconds',
  'julian-day',
  'uuid',
  'json',
  'jsonb',
] as const;

export type MappingWord = (typeof MAPPING_WORDS)[number];
