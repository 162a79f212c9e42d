/** The folder of environment files. `NAME.yaml` is environment NAME; other names, `NAME.example.yaml` too, are left alone. */
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Environment, parseEnvironment } from '../procedures/environment.ts';
import { PlanProblem, type Problem } from '../procedures/problem.ts';
import { decodeYaml } from '../procedures/yaml.ts';

export type LoadedEnvironment = { environment: Environment; text: string };

const FILE = /^([a-z][a-z0-9-]{0,39})\.ya?ml$/;

/**
 * Every environment by name. Throws PlanProblem with all that is wrong in all files, and an Error that names the folder
 * where it cannot be read.
 */
export async function loadEnvironments(folder: string): Promise<Map<string, LoadedEnvironment>> {
  const files = await readdir(folder).catch((cause: unknown) => {
    const message = `The folder of environments '${folder}' cannot be read: set COUNTDOWN_ENVIRONMENTS to a folder of YAML files.`;
    throw new Error(message, { cause });
  });
  const loaded = new Map<string, LoadedEnvironment>();
  const problems: Problem[] = [];
  for (const file of files.sort()) {
    const name = FILE.exec(file)?.[1];
    if (name === undefined) continue;
    try {
      const text = decodeYaml(await readFile(join(folder, file)), file, 'EnvironmentInvalid');
      const environment = parseEnvironment(text, file);
      if (environment.environment !== name) throw misnamed(file, environment.environment, name);
      if (loaded.has(name)) throw doubled(file, name);
      loaded.set(name, { environment, text });
    } catch (error) {
      if (!(error instanceof PlanProblem)) throw error;
      problems.push(...error.problems);
    }
  }
  if (problems.length > 0) throw new PlanProblem(problems);
  return loaded;
}

const place = { line: 1, column: 1, length: 1, code: 'EnvironmentInvalid' as const };

function misnamed(file: string, found: string, expected: string): PlanProblem {
  const message = `The file describes environment '${found}', expected '${expected}': an environment has the name of its file.`;
  return new PlanProblem([
    { ...place, file, pointer: '/environment', message, hint: `write  environment: ${expected}` },
  ]);
}

function doubled(file: string, name: string): PlanProblem {
  const message = `Environment '${name}' has two files, expected one.`;
  return new PlanProblem([{ ...place, file, pointer: '', message, hint: 'take one of the two away' }]);
}
