/** Guards a body before zod sees it: size, type, depth, number of nodes, keys. */
import type { MiddlewareHandler } from 'hono';
import { ApiProblem } from './problems.ts';

export const BODY_SIZE_BYTES_MAX = 256 * 1024;
export const BODY_DEPTH_MAX = 32;
export const BODY_NODES_MAX = 5_000;
const FORBIDDEN = ['__proto__', 'constructor', 'prototype'];

/** Refuses what is no small, flat, plain JSON object; leaves the value for the validator. */
export const guardBody: MiddlewareHandler = async (c, next) => {
  if (c.req.method !== 'POST') return next();
  const type = c.req.header('content-type') ?? '';
  // Nothing at all is an empty object: what is needed of it is told by name.
  if (type === '' && (await readBounded(c.req.raw)) === '') {
    c.req.bodyCache.json = Promise.resolve({});
    return next();
  }
  if (!/^application\/json *(?:; *charset="?utf-8"? *)?$/i.test(type)) {
    throw new ApiProblem(
      'NotJson',
      `Content-Type is '${type.slice(0, 80)}', expected application/json: send the body as JSON.`,
    );
  }
  if (c.req.header('content-encoding') !== undefined) {
    throw new ApiProblem('BadHeader', 'Content-Encoding is not taken: send the body as it is.');
  }
  const text = await readBounded(c.req.raw);
  // The cache holds promises; the validator finds the value there and parses nothing again.
  c.req.bodyCache.json = Promise.resolve(checkJson(text));
  return next();
};

async function readBounded(request: Request): Promise<string> {
  const declared = Number(request.headers.get('content-length') ?? 0);
  const tooLarge = () =>
    new ApiProblem(
      'TooLarge',
      `The body is larger than ${BODY_SIZE_BYTES_MAX / 1024} KiB: send a smaller one.`,
    );
  if (declared > BODY_SIZE_BYTES_MAX) throw tooLarge();
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of request.body ?? []) {
    sizeBytes += chunk.byteLength;
    if (sizeBytes > BODY_SIZE_BYTES_MAX) throw tooLarge();
    chunks.push(chunk);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks));
  } catch (error) {
    throw new ApiProblem('NotJson', 'The body is not UTF-8: send it in UTF-8.', { cause: error });
  }
}

/** The object that the text says. Throws NotJson or BodyInvalid. The depth is measured before the parser builds anything. */
export function checkJson(text: string): object {
  if (depthOf(text) > BODY_DEPTH_MAX) {
    throw new ApiProblem('BodyInvalid', `The body is nested more than ${BODY_DEPTH_MAX} deep: flatten it.`);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new ApiProblem('NotJson', 'The body cannot be read as JSON: correct it.', { cause: error });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new ApiProblem('BodyInvalid', 'The body is no object: send a JSON object.');
  }
  let nodes = 0;
  const queue: { value: unknown; pointer: string }[] = [{ value, pointer: '' }];
  for (let node = queue.pop(); node !== undefined; node = queue.pop()) {
    nodes += 1;
    if (nodes > BODY_NODES_MAX) {
      throw new ApiProblem('BodyInvalid', `The body has more than ${BODY_NODES_MAX} values: send fewer.`);
    }
    if (typeof node.value === 'string') assertText(node.value, node.pointer);
    if (typeof node.value !== 'object' || node.value === null) continue;
    for (const [key, inner] of Object.entries(node.value)) {
      if (FORBIDDEN.includes(key)) {
        throw new ApiProblem('BodyInvalid', `The key '${key}' is not allowed: leave it out.`, {
          errors: [{ pointer: `${node.pointer}/${key}`, detail: 'not allowed' }],
        });
      }
      assertText(key, node.pointer);
      queue.push({ value: inner, pointer: `${node.pointer}/${escapePointer(key)}` });
    }
  }
  return value;
}

/** Throws BodyInvalid for half a character: it can be neither stored nor digested as it is. */
function assertText(text: string, pointer: string): void {
  if (text.isWellFormed()) return;
  throw new ApiProblem(
    'BodyInvalid',
    `${pointer.slice(1).toWellFormed() || 'A key'} holds half a character: send whole ones.`,
    {
      errors: [{ pointer: pointer.toWellFormed(), detail: 'expected well-formed Unicode' }],
    },
  );
}

/** The deepest nesting of brackets outside strings; one pass, no recursion. */
function depthOf(text: string): number {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let index = 0; index < text.length; index += 1) {
    const char = text.charCodeAt(index);
    if (inString) {
      if (char === 0x5c) index += 1;
      else if (char === 0x22) inString = false;
    } else if (char === 0x22) inString = true;
    else if (char === 0x5b || char === 0x7b) deepest = Math.max(deepest, (depth += 1));
    else if (char === 0x5d || char === 0x7d) depth -= 1;
  }
  return deepest;
}

export function escapePointer(key: string | number): string {
  return String(key).replaceAll('~', '~0').replaceAll('/', '~1');
}
