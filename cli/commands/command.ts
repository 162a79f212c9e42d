/** The shape of a command: a file each, found by its name. */
import type { ParseArgsOptionsConfig } from 'node:util';
import { type CommandContext } from '../context.ts';
import { UsageError } from '../errors.ts';

export type Values = Record<string, string | boolean | (string | boolean)[] | undefined>;

export type Command = {
  /** What stands after `countdown`, as in `approve RUN [STEP]`. */
  usage: string;
  about: string;
  options?: ParseArgsOptionsConfig;
  /** How many arguments there may be. */
  takes: { least: number; most: number };
  /** Resolves with the exit code. */
  run(context: CommandContext, args: string[], values: Values): Promise<number>;
};

export function stringOf(values: Values, name: string): string | undefined {
  const value = values[name];
  return typeof value === 'string' ? value : undefined;
}

/** Throws UsageError where the option is missing. */
export function needed(values: Values, name: string, why: string): string {
  const value = stringOf(values, name);
  if (value === undefined) throw new UsageError(`--${name} is missing: ${why}.`);
  return value;
}

/** `name=value` pairs; a value that reads as JSON number or boolean is one. Throws UsageError. */
export function readParams(values: Values): Record<string, unknown> {
  const given = values['param'];
  const pairs = Array.isArray(given) ? given.map(String) : [];
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf('=');
      if (at < 1) throw new UsageError(`--param ${pair} has no value: write --param NAME=VALUE.`);
      return [pair.slice(0, at), readValue(pair.slice(at + 1))];
    }),
  );
}

function readValue(text: string): unknown {
  if (text === 'true' || text === 'false') return text === 'true';
  return /^-?(0|[1-9]\d{0,14})(\.\d{1,14})?$/.test(text) && String(Number(text)) === text
    ? Number(text)
    : text;
}
