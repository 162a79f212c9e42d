/**
 * `$(params.x)` and `$(step.output)` in what people write: typed substitution, no logic. Params are filled in here, when
 * the plan is made; outputs stay in the plan as references and are filled in before each call. `$$(` is a literal `$(`.
 */
import type { Json } from './plan.ts';
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

const REFERENCE = /^\$\(([a-z][a-z0-9-]*)\.([A-Za-z][A-Za-z0-9]*)\)/;
const ESCAPABLE = /\$\((?=[a-z][a-z0-9-]*\.[A-Za-z][A-Za-z0-9]*\))/g;

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
      const match = REFERENCE.exec(text.slice(next, next + 100));
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
  return text.replace(/\$\$\((?=[a-z][a-z0-9-]*\.[A-Za-z][A-Za-z0-9]*\))/g, '$$(');
}
