/** `npm run check`: types, lint and format, without servers. Exits with 1 where one of them fails. */
import { runChecks } from './lib/checks.ts';
import { endWhenInterrupted } from './lib/processes.ts';

endWhenInterrupted();
const results = await runChecks();
process.exitCode = results.every(({ passed }) => passed) ? 0 : 1;
