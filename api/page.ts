/** The frame of the few pages that the API serves: no script, one style, which the policy names by its digest. */
import { createHash } from 'node:crypto';

const STYLE =
  'body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}' +
  'h2{font-size:1.1rem;margin:2rem 0 0}small{color:#666;font-weight:400}p,dl{margin:.2rem 0}dt{font-weight:600}' +
  'dd{margin:0 0 .3rem 1rem}code,pre{background:#f4f4f2;padding:.1em .3em}pre{padding:.6rem;overflow:auto}' +
  ':target{background:#fff8e1}';

/** For the policy of what a page may load: this one style. */
export const STYLE_DIGEST = `'sha256-${createHash('sha256').update(STYLE).digest('base64')}'`;

/** `body` is HTML. */
export function page(title: string, body: string): string {
  return `<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>${title} · Countdown</title><style>${STYLE}</style></head>\n<body><h1>${title}</h1>\n${body}\n</body></html>\n`;
}
