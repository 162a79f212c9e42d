/**
 * `$(params.x)` and `$(step.output)` in what people write: typed substitution, no logic. Params are filled in here, when
 * the plan is made; outputs stay in the plan as references and are filled in before each call. `$$(` is a literal `$(`.
 */
import type { Note } from './collector.ts';
import { nearest } from './nearest.ts';
import type { Json } from './plan.ts';
import { listOr } from './schema.ts';
import type { Path } from './yaml.ts';

/** Found in a string: a reference to an output of a step. */
export type OutputReference = { path: Path; step: string; output: string };

/**
 * Found in a string, and cannot stand: what only looks like a reference, a param that is not declared, too many references,
 * too much text, or a dollar sign that a param brings right before a reference, where it would be read as part of it.
 */
export type BadReference = {
  path: Path;
  text: string;
  why: 'form' | 'param' | 'references' | 'text' | 'dollar';
  /** Of an undeclared param. */
  param?: string;
};

/** References to outputs that one step may hold. */
export const REFERENCES_MAX = 200;

/** Characters that params may bring into one step, all together. */
export const FILLED_MAX = 64 * 1024;

/** The id of a step, that of a step of an included runbook with the ids above it: `hold`, `prepare.hold`. */
const STEP = '[a-z][a-z0-9-]*(?:\\.[a-z][a-z0-9-]*)*';
const OUTPUT = '[A-Za-z][A-Za-z0-9]*';

/** Inside of `$(…)`: the step and the output. */
export const REFERENCE_PATTERN = `(${STEP})\\.(${OUTPUT})`;

const REFERENCE = new RegExp(`^\\$\\(${REFERENCE_PATTERN}\\)`);
const ESCAPABLE = new RegExp(`\\$\\((?=${STEP}\\.${OUTPUT}\\))`, 'g');
const ESCAPED = new RegExp(`\\$\\$\\((?=${STEP}\\.${OUTPUT}\\))`, 'g');
const WITHIN = new RegExp(`(\\$?)\\$\\(${REFERENCE_PATTERN}\\)`, 'g');
/** Longer than any reference that names a step. */
const REFERENCE_LENGTH_MAX = 400;

export type Filled = { value: Json; outputs: OutputReference[]; bad: BadReference[] };

/** The value with its params filled in, and every reference that stays or cannot stand. */
export function fillParams(value: Json, params: Readonly<Record<string, Json>>): Filled {
  const outputs: OutputReference[] = [];
  const bad: BadReference[] = [];
  let room = FILLED_MAX;
  const fill = (one: Json, path: Path): Json => {
    if (Array.isArray(one)) return one.map((item, index) => fill(item, [...path, index]));
    if (one !== null && typeof one === 'object') {
      return Object.fromEntries(Object.entries(one).map(([key, item]) => [key, fill(item, [...path, key])]));
    }
    return typeof one === 'string' && one.includes('$(') ? fillText(one, path) : one;
  };

  const fillText = (text: string, path: Path): Json => {
    let filled = '';
    /** Text since the last reference that stays, as it is meant; marked as a whole, so that parts cannot make a reference together. */
    let plain = '';
    for (let at = 0; at < text.length;) {
      const next = text.indexOf('$(', at);
      if (next < 0) {
        plain += text.slice(at);
        break;
      }
      const isLiteral = next > at && text[next - 1] === '$';
      plain += text.slice(at, isLiteral ? next - 1 : next);
      const match = REFERENCE.exec(text.slice(next, next + REFERENCE_LENGTH_MAX));
      const [whole = '$(', owner = '', name = ''] = match ?? [];
      at = next + whole.length;
      if (isLiteral) plain += whole;
      else if (match === null) note(bad, { path, text: text.slice(next, next + 30), why: 'form' });
      else if (owner !== 'params') {
        if (outputs.length < REFERENCES_MAX) outputs.push({ path, step: owner, output: name });
        else note(bad, { path, text: whole, why: 'references' });
        if (plain.endsWith('$')) note(bad, { path, text: whole, why: 'dollar' });
        filled += escapeText(plain) + whole;
        plain = '';
      } else if (!Object.hasOwn(params, name)) note(bad, { path, text: whole, why: 'param', param: name });
      else {
        const param = params[name] ?? null;
        if (whole === text && typeof param !== 'string') return param;
        const written = typeof param === 'string' ? param : JSON.stringify(param);
        room -= written.length;
        if (room >= 0) plain += written;
        else note(bad, { path, text: whole, why: 'text' });
      }
    }
    return filled + escapeText(plain);
  };

  return { value: fill(value, []), outputs, bad };
}

/** As many as a person would read. */
const BAD_MAX = 20;

function note(bad: BadReference[], one: BadReference): void {
  if (bad.length < BAD_MAX) bad.push(one);
}

/** Text that the calls give back as it is, whatever it looks like. */
export function escapeText(text: string): string {
  return text.replace(ESCAPABLE, '$$$$(');
}

/** For text that no call fills: the literal `$(` without its mark. */
export function unescapeText(text: string): string {
  return text.replace(ESCAPED, '$$(');
}

/** The same for every text of a value. */
export function unescapeAll(value: Json): Json {
  return mapTexts(value, unescapeText);
}

/** References to outputs as they are meant once the runbook is included under this prefix, as in `prepare.`. */
export function prefixReferences(value: Json, prefix: string): Json {
  return mapTexts(value, (text) =>
    text.replace(WITHIN, (whole, mark: string, step: string, output: string) =>
      mark === '$' || step === 'params' ? whole : `$(${prefix}${step}.${output})`,
    ),
  );
}

/** The step and the output of `restore.rows`: what stands before and after the last dot. */
export function splitOutput(output: string): { step: string; name: string } {
  const dot = output.lastIndexOf('.');
  return { step: output.slice(0, dot), name: output.slice(dot + 1) };
}

function mapTexts(value: Json, map: (text: string) => string): Json {
  if (Array.isArray(value)) return value.map((one) => mapTexts(one, map));
  if (value !== null && typeof value === 'object')
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, mapTexts(one, map)]));
  return typeof value === 'string' ? map(value) : value;
}

/** What is wrong with it, in a sentence; `known` are the params that there are. */
export function badReference({ text, why, param = '' }: BadReference, known: string[]): Note {
  switch (why) {
    case 'references':
      return {
        message: `The step holds more than ${REFERENCES_MAX} references to outputs.`,
        hint: 'use fewer',
      };
    case 'text':
      return { message: `The step holds more than ${FILLED_MAX} characters of params.`, hint: 'use fewer' };
    case 'dollar': {
      const message = `A param ends in $ right before ${text}, where it would be read as part of the reference.`;
      return { message, hint: 'write something between the two' };
    }
    case 'form': {
      const message = `'${text}' is no reference, expected $(params.NAME) or $(STEP.OUTPUT).`;
      return { message, hint: 'write  $$(  where the text itself is meant' };
    }
    case 'param': {
      const near = nearest(param, known);
      const expected = known.length === 0 ? 'one that params declares' : listOr(known);
      return {
        message: `The runbook has no param '${param}', expected ${expected}.`,
        hint: near === undefined ? `add ${param} to params` : `write  $(params.${near})`,
      };
    }
  }
}
