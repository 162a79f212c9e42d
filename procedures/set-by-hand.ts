/** How a person sets a switch back: the same words on every undo sheet. */
import type { ByHand } from './plan.ts';

/** `to` may be a reference to what was found before: the sheet leaves room to write it in. */
export function setByHand(name: string, { from, to }: { from: string; to: string }): ByHand {
  return {
    how:
      `GET the url of ${name} with its token: it says ${from}, or ${to} where nothing is left to do; anything else is ` +
      `somebody else's, so ask. Then PUT {"value": "${to}"} with the ETag of that answer as If-Match. Or set it in the application itself.`,
    seen: `when GET says ${to}, twice in a row.`,
  };
}
