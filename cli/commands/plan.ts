/** `countdown plan RUNBOOK --env NAME`: what would happen, and who would be asked. Changes nothing. */
import { isUtf8 } from 'node:buffer';
import { readFile } from 'node:fs/promises';
import type { EmergencyBody } from '../client.ts';
import type { CommandContext } from '../context.ts';
import { ApiError, UsageError } from '../errors.ts';
import { EXIT } from '../exit-codes.ts';
import { planLines } from '../view/plan.ts';
import type { PlanWire } from '../wire.ts';
import { type Command, type Values, needed, readParams, stringOf } from './command.ts';

export const plan: Command = {
  usage: 'plan RUNBOOK|FILE.yaml --env ENVIRONMENT [--param NAME=VALUE] [--emergency REASON] [--freeze NAME]',
  about: 'Make a plan and show it. Nothing is changed. --emergency: it may start inside the change freeze.',
  options: {
    env: { type: 'string', short: 'e' },
    param: { type: 'string', multiple: true },
    emergency: { type: 'string' },
    freeze: { type: 'string' },
  },
  takes: { least: 1, most: 1 },
  async run(context, [runbook], values) {
    const made = await makePlan(context, runbook ?? '', values);
    context.answer(() => planLines(made, context.style), made);
    return EXIT.succeeded;
  },
};

/** A name stands for a runbook of the server, a path for a file of this machine. */
export async function makePlan(context: CommandContext, runbook: string, values: Values): Promise<PlanWire> {
  const request = { ...(await planRequest(runbook, values)), ...emergencyOf(values) };
  return inFile(runbook, () => context.client().makePlan(request));
}

/** Throws UsageError for a change freeze without a reason. */
function emergencyOf(values: Values): { emergency?: EmergencyBody } {
  const reason = stringOf(values, 'emergency');
  const freeze = stringOf(values, 'freeze');
  if (reason !== undefined) return { emergency: { reason, ...(freeze === undefined ? {} : { freeze }) } };
  if (freeze === undefined) return {};
  throw new UsageError("--emergency is missing: say why it cannot wait, as --emergency 'the reason'.");
}

/** The API calls a text that it was sent `your text`: whoever sent a file knows better. */
export async function inFile<T>(path: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw error instanceof ApiError ? error.in(path) : error;
  }
}

/** What a plan or a check is made of. Throws UsageError where the environment is missing, or the file cannot be read. */
export async function planRequest(runbook: string, values: Values) {
  const environment = needed(values, 'env', 'name the environment, as --env demo');
  const isFile = isPath(runbook);
  const params = readParams(values);
  const source = isFile ? { text: await textOf(runbook) } : runbook;
  return { runbook: source, environment, params };
}

/**
 * Whether an argument is the path of a file; else it is a name. Throws UsageError for the name of a file that is no YAML:
 * names have no dots.
 */
export function isPath(name: string): boolean {
  if (/[/\\]|\.ya?ml$/.test(name)) return true;
  if (!name.includes('.')) return false;
  throw new UsageError(
    `${name} is no YAML file: give the path of a .yaml file, or a name without an ending.`,
  );
}

async function textOf(path: string): Promise<string> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (error) {
    throw new UsageError(
      `${path} cannot be read: give the path of a runbook, or the name of one of the server's.`,
      {
        cause: error,
      },
    );
  }
  if (isUtf8(bytes)) return bytes.toString('utf8');
  throw new UsageError(`${path} is not UTF-8: save it so, and plan again.`);
}
