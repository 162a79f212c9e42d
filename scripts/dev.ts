/** `npm run dev`: the whole stack with Piano Keys under write traffic, until Ctrl-C. Prints addresses and a token for each person. */
import { addressLines } from './lib/demo.ts';
import { onInterrupt, stopAll } from './lib/processes.ts';
import { startStack } from './lib/stack.ts';
import { makeStateFolder } from './lib/state-folder.ts';

const folder = await makeStateFolder('dev');
let isStopping = false;
onInterrupt(async () => {
  isStopping = true;
  process.stderr.write('\nStopping everything.\n');
  await stopAll();
  await folder.dropData();
});
try {
  const stack = await startStack({
    folder: folder.path,
    progress: (line) => process.stdout.write(`${line}\n`),
  });
  process.stdout.write(`${addressLines(stack).join('\n')}\n`);
  // A child that ends by itself is worth a word: the others go on.
  for (const child of [stack.processes.api, stack.processes.app, stack.processes.worker()]) {
    void child.exited.then(({ code, signal }) => {
      if (isStopping) return false;
      const how = signal ?? `exit code ${code}`;
      return process.stderr.write(`${child.name} ended with ${how}; its log is ${child.logFile}\n`);
    });
  }
  setInterval(() => {}, 1 << 30);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
