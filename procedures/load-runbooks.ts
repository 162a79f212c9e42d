/** The runbooks that a runbook uses, read before the plan is made: making it waits for nothing. */
import { type Runbooks, LEVELS_MAX } from './include.ts';
import { PlanProblem } from './problem.ts';
import { type Runbook, parseRunbook } from './runbook.ts';

export type RunbookFile = { text: string; file: string };

export type LoadedRunbooks = {
  /** Throws the PlanProblem of a runbook that cannot be read. */
  runbooks: Runbooks;
  /** The texts by file, as problems name it. */
  texts: ReadonlyMap<string, string>;
};

/** `read` answers undefined where there is no such runbook, and may throw PlanProblem; anything else is thrown on. */
export async function loadRunbooks(
  runbook: Runbook,
  read: (name: string) => Promise<RunbookFile | undefined>,
): Promise<LoadedRunbooks> {
  const found = new Map<string, Runbook | PlanProblem>();
  const texts = new Map([[runbook.source.file, runbook.source.text]]);
  let level = [runbook];
  for (let depth = 0; depth < LEVELS_MAX && level.length > 0; depth += 1) {
    const names = new Set(level.flatMap(includedNames).filter((name) => !found.has(name)));
    level = [];
    for (const name of names) {
      const one = await readOne(name, read, texts);
      if (one === undefined) continue;
      found.set(name, one);
      if (!(one instanceof PlanProblem)) level.push(one);
    }
  }
  return {
    texts,
    runbooks(name) {
      const one = found.get(name);
      if (one instanceof PlanProblem) throw one;
      return one;
    },
  };
}

async function readOne(
  name: string,
  read: (name: string) => Promise<RunbookFile | undefined>,
  texts: Map<string, string>,
): Promise<Runbook | PlanProblem | undefined> {
  try {
    const file = await read(name);
    if (file === undefined) return undefined;
    texts.set(file.file, file.text);
    return parseRunbook(file.text, file.file);
  } catch (error) {
    if (error instanceof PlanProblem) return error;
    throw error;
  }
}

function includedNames({ steps, followUps }: Runbook): string[] {
  return [...steps, ...followUps.map(({ step }) => step)].flatMap(({ include }) =>
    include === undefined ? [] : [include.runbook],
  );
}
