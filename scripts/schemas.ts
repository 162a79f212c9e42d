/**
 * Writes the JSON Schemas of runbooks and environment files for editors, from the schemas that parse them; `--check` says
 * whether they are as they should be. Keys of later versions are left out, so that no editor offers them.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { z } from 'zod';
import { environmentSchema } from '../procedures/environment-schema.ts';
import { PROCEDURES } from '../procedures/index.ts';
import { includeSchema, runbookSchema } from '../procedures/runbook-schema.ts';
import { LATER_MARK } from '../procedures/schema.ts';

type Schema = { [key: string]: unknown };

/** The files that are made of the code, by their path from the project's folder. */
export function generatedSchemas(): Record<string, string> {
  const runbook = withKinds(schemaOf(runbookSchema));
  const environment = schemaOf(environmentSchema);
  return {
    'docs/schemas/runbook.schema.json': written('Runbook', 'What to do, step by step.', runbook),
    'docs/schemas/environment.schema.json': written(
      'Environment',
      'What runbooks may touch, who the people are, and what must be approved at least.',
      environment,
    ),
  };
}

function written(title: string, description: string, { $schema, ...rest }: Schema): string {
  return `${JSON.stringify({ $schema, title: `Countdown: ${title}`, description, ...rest }, null, 2)}\n`;
}

/** Draft 7, which every editor reads. */
function schemaOf(schema: z.ZodType): Schema {
  const made = z.toJSONSchema(schema, { io: 'input', target: 'draft-7', unrepresentable: 'any' });
  const { definitions: _anyJson, ...rest } = cleaned(made) as Schema;
  return rest;
}

/** Without what only zod says: marks, bounds of safe integers, and a definition of JSON itself, which is any value. */
function cleaned(value: unknown): unknown {
  if (Array.isArray(value)) return value.filter((one) => !isLater(one)).map(cleaned);
  if (!isSchema(value)) return value;
  if ('$ref' in value) {
    const { $ref: _anyJson, ...rest } = value;
    return cleaned(rest);
  }
  const entries = Object.entries(value)
    .filter(([, one]) => !isLater(one) && Math.abs(Number(one)) !== Number.MAX_SAFE_INTEGER)
    .map(([key, one]) => [key, cleaned(one)] as const);
  return Object.fromEntries(
    entries.filter(([key, one]) => key !== 'allOf' || JSON.stringify(one) !== '[{}]'),
  );
}

function isLater(value: unknown): boolean {
  return isSchema(value) && value[LATER_MARK] === true;
}

function isSchema(value: unknown): value is Schema {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What `with` takes depends on `uses`: one rule a kind. */
function withKinds(runbook: Schema): Schema {
  const step = part(runbook, ['properties', 'steps', 'items']);
  const followUp = part(runbook, ['properties', 'followUp', 'items']);
  const include = { kind: 'runbook', summary: 'the steps of another runbook', params: includeSchema };
  step['allOf'] = [...Object.values(PROCEDURES), include].map(({ kind, summary, params }) => {
    const taken = withReferences(schemaOf(params));
    delete taken['$schema'];
    const isNeeded = Array.isArray(taken['required']) && taken['required'].length > 0;
    return {
      if: { properties: { uses: { const: kind } }, required: ['uses'] },
      // oxlint-disable-next-line unicorn/no-thenable -- a keyword of JSON Schema
      then: {
        properties: { with: { description: `${kind}: ${summary}.`, ...taken } },
        ...(isNeeded ? { required: ['with'] } : {}),
      },
    };
  });
  followUp['allOf'] = step['allOf'];
  return runbook;
}

function part(schema: Schema, path: string[]): Schema {
  let at: unknown = schema;
  for (const key of path) at = isSchema(at) ? at[key] : undefined;
  if (!isSchema(at)) throw new Error(`The schema has no ${path.join('.')}, expected one: this is a bug.`);
  return at;
}

const SCALARS = ['string', 'integer', 'number', 'boolean'];

/** Each value may also be text with a reference in it, as in `$(params.pause)`. */
function withReferences(schema: Schema): Schema {
  const { description, ...rest } = schema;
  if (typeof rest['type'] === 'string' && SCALARS.includes(rest['type'])) {
    if (Object.keys(rest).length === 1 && rest['type'] === 'string') return schema;
    const said = description === undefined ? {} : { description };
    return { ...said, anyOf: [rest, { type: 'string', pattern: '\\$\\(' }] };
  }
  const properties = rest['properties'];
  const items = rest['items'];
  return {
    ...schema,
    ...(isSchema(properties) ? { properties: mapped(properties) } : {}),
    ...(isSchema(items) ? { items: withReferences(items) } : {}),
  };
}

function mapped(properties: Schema): Schema {
  return Object.fromEntries(
    Object.entries(properties).map(([key, one]) => [key, isSchema(one) ? withReferences(one) : one]),
  );
}

if (import.meta.main) {
  const root = new URL('../', import.meta.url);
  for (const [path, text] of Object.entries(generatedSchemas())) {
    const file = new URL(path, root);
    if (!process.argv.includes('--check')) await writeFile(file, text);
    else if ((await readFile(file, 'utf8')) !== text) {
      process.stderr.write(`${path} is not what the code says: run node scripts/schemas.ts\n`);
      process.exitCode = 1;
    }
  }
}
