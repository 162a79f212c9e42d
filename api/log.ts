/** The log of the API: JSON lines without secrets, be they known ones or anything that has the form of a token. */
import { type DestinationStream, type Logger, pino } from 'pino';
import { SCRUBBED, makeScrubber } from '../store/scrub.ts';

/** Tokens of ours, tokens that a provider signed, and whatever stands behind `Bearer`. */
const TOKENS = /\bcd_[\w-]{16,}|\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*|(?<=\bBearer )[^\s"\\]+/gi;

/** `secrets` are those that the process has read; `out` is standard output by default. */
export function makeLog(options: {
  level: string;
  secrets: readonly string[];
  out?: DestinationStream | undefined;
}): Logger {
  const scrubber = makeScrubber(options.secrets);
  const out = options.out ?? pino.destination({ dest: 1, sync: true });
  return pino(
    { level: options.level, base: { process: 'api' } },
    { write: (line) => out.write(scrubber.text(line).replaceAll(TOKENS, SCRUBBED)) },
  );
}
