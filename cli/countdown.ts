#!/usr/bin/env node
/** The command `countdown`: this terminal around `main`. */
import { createInterface } from 'node:readline/promises';
import { main } from './main.ts';

const leaving = new AbortController();
process.on('SIGINT', () => {
  // The second one ends at once, for whoever does not want to wait for an answer.
  if (leaving.signal.aborted) process.exit(130);
  leaving.abort();
});
// A reader that went away (`countdown runs | head -1`) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));

const isPersonThere = process.stdin.isTTY && process.stderr.isTTY;

async function ask(question: string): Promise<string> {
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  lines.on('SIGINT', () => process.exit(130));
  try {
    return await lines.question(question);
  } finally {
    lines.close();
  }
}

process.exitCode = await main(process.argv.slice(2), {
  out: process.stdout,
  err: process.stderr,
  ask: isPersonThere ? ask : undefined,
  variables: process.env,
  signal: leaving.signal,
});
