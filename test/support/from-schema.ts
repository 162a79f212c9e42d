/** Values that fit a JSON Schema, and values that nearly do, for whoever asks a server everything. */
import * as fc from 'fast-check';

export type Schema = {
  $ref?: string;
  type?: string;
  enum?: unknown[];
  pattern?: string;
  minLength?: number;
  maxLength?: number;
  minimum?: number;
  maximum?: number;
  anyOf?: Schema[];
  oneOf?: Schema[];
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  additionalProperties?: boolean | Schema;
};

type Known = {
  schemas: Record<string, Schema>;
  /** Values that stand for something on the server, by the name of the field. */
  words: Record<string, readonly unknown[]>;
};

const LENGTH_MAX = 60;

/** `name` is the field's: half of the time a word of that name is taken. */
export function fromSchema(schema: Schema, known: Known, name = ''): fc.Arbitrary<unknown> {
  const made = plain(schema, known);
  const words = known.words[name];
  return words === undefined ? made : fc.oneof(fc.constantFrom(...words), made);
}

function plain(schema: Schema, known: Known): fc.Arbitrary<unknown> {
  if (schema.$ref !== undefined) {
    const found = known.schemas[schema.$ref.replace('#/components/schemas/', '')];
    if (found === undefined) throw new Error(`There is no ${schema.$ref}.`);
    return plain(found, known);
  }
  const some = schema.anyOf ?? schema.oneOf;
  if (some !== undefined) return fc.oneof(...some.map((one) => plain(one, known)));
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  switch (schema.type) {
    case 'object':
      return objectOf(schema, known);
    case 'array':
      return fc.array(plain(schema.items ?? {}, known), { maxLength: 3 });
    case 'string':
      return textOf(schema);
    case 'integer':
    case 'number':
      return fc.integer({ min: schema.minimum ?? -1_000, max: Math.min(schema.maximum ?? 1_000, 1e9) });
    case 'boolean':
      return fc.boolean();
    default:
      return fc.jsonValue({ maxDepth: 2 });
  }
}

function textOf({ pattern, minLength = 0, maxLength = LENGTH_MAX }: Schema): fc.Arbitrary<string> {
  if (pattern !== undefined) return fc.stringMatching(new RegExp(pattern));
  return fc.string({
    minLength,
    maxLength: Math.max(minLength, Math.min(maxLength, LENGTH_MAX)),
    unit: 'binary',
  });
}

function objectOf(schema: Schema, known: Known): fc.Arbitrary<unknown> {
  const properties = Object.entries(schema.properties ?? {});
  const shape = Object.fromEntries(properties.map(([key, one]) => [key, fromSchema(one, known, key)]));
  const record = fc.record(shape, { requiredKeys: schema.required ?? [] });
  const { additionalProperties: more } = schema;
  if (typeof more !== 'object') return record;
  return fc
    .tuple(record, fc.dictionary(fc.string({ maxLength: 12 }), plain(more, known), { maxKeys: 3 }))
    .map(([own, others]) => ({ ...others, ...own }));
}

const STRANGE = [
  null,
  true,
  -1,
  1.5,
  Number.MAX_VALUE,
  '',
  '\u0000',
  '\ud800',
  "'; drop table countdown.runs; --",
  '../../etc/passwd',
  '$(params.x)',
  '{{constructor.constructor("return 1")()}}',
  '<!channel>',
  'a'.repeat(50_000),
  [],
  {},
  [[[[[[]]]]]],
];
const KEYS = ['__proto__', 'constructor', 'toString', 'x', '', 'text', 'length'];

/** The same with one thing wrong: a part replaced, taken away or added, or the whole of it something else. */
export function nearly(value: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> {
  const strange = fc.oneof(fc.constantFrom(...STRANGE), fc.jsonValue({ maxDepth: 3 }));
  const how = fc.constantFrom('replace' as const, 'drop' as const, 'add' as const, 'whole' as const);
  return fc
    .tuple(value, how, strange, fc.nat(), fc.constantFrom(...KEYS))
    .map(([good, change, odd, at, key]) => {
      if (change === 'whole' || typeof good !== 'object' || good === null) return odd;
      const entries = Object.entries(good);
      const index = entries.length === 0 ? 0 : at % entries.length;
      if (change === 'add') entries.push([key, odd]);
      else if (change === 'drop') entries.splice(index, 1);
      else if (entries[index] !== undefined) entries[index] = [entries[index][0], odd];
      // Not with fromEntries alone: `__proto__` is to be sent as a key.
      return Object.fromEntries(entries);
    });
}
