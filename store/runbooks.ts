/** The folder of runbooks. `NAME.yaml` is runbook NAME; no other name is ever opened. */
import { readFile, readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { PlanProblem } from '../procedures/problem.ts';
import { parseRunbook } from '../procedures/runbook.ts';
import { decodeYaml } from '../procedures/yaml.ts';
import { digest } from './digest.ts';

/** `digest` is the one that plans of it name; null for a file that cannot be parsed. */
export type RunbookItem = { name: string; description: string | null; digest: string | null };
export type RunbookText = { text: string; file: string };

const NAME = /^[a-z][a-z0-9-]{0,39}$/;

/** By name. A file that cannot be parsed is listed too, without its description: planning says what is wrong with it. */
export async function listRunbooks(folder: string): Promise<RunbookItem[]> {
  const files = await readdir(folder);
  const names = files.filter((file) => file.endsWith('.yaml')).map((file) => file.slice(0, -'.yaml'.length));
  return Promise.all(
    names
      .filter((name) => NAME.test(name))
      .sort()
      .map(async (name) => ({ name, ...(await describe(folder, name)) })),
  );
}

async function describe(folder: string, name: string): Promise<Omit<RunbookItem, 'name'>> {
  try {
    const { text, file } = await readRunbook(folder, name);
    return describeRunbook(text, file);
  } catch (error) {
    if (error instanceof PlanProblem) return { description: null, digest: null };
    throw error;
  }
}

/** What a runbook's text says of itself. */
export function describeRunbook(text: string, file: string): Omit<RunbookItem, 'name'> {
  try {
    const { description, source } = parseRunbook(text, file);
    return { description: description ?? null, digest: digest(source.value) };
  } catch (error) {
    if (error instanceof PlanProblem) return { description: null, digest: null };
    throw error;
  }
}

/** The same, and undefined where there is no such file. */
export async function shippedRunbook(folder: string, name: string): Promise<RunbookText | undefined> {
  const files = await readdir(folder);
  return NAME.test(name) && files.includes(`${name}.yaml`) ? readRunbook(folder, name) : undefined;
}

/**
 * The text, and the file as messages name it. Throws PlanProblem for a text that is not UTF-8, and an Error for a name
 * that no runbook can have or a file that is not there.
 */
export async function readRunbook(folder: string, name: string): Promise<RunbookText> {
  if (!NAME.test(name)) {
    throw new Error(`'${name.slice(0, 60)}' cannot be a runbook: use small letters, digits and hyphens.`);
  }
  const file = `${basename(folder)}/${name}.yaml`;
  return { text: decodeYaml(await readFile(join(folder, `${name}.yaml`)), file), file };
}
