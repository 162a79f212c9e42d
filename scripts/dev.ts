/** `npm run dev`: the whole stack with Piano Keys under write traffic, until Ctrl-C. Prints addresses and a token for each person. */
import { addressLines } from './lib/demo.ts';
import { type Child, onInterrupt, stopAll } from './lib/processes.ts';
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
  const tellEnd = (child: Child, more = ''): void => {
    void child.exited.then(({ code, signal }) => {
      if (isStopping) return false;
      const how = signal ?? `exit code ${code}`;
      return process.stderr.write(`${child.name} ended with ${how}; its log is ${child.logFile}\n${more}`);
    });
  };
  const { api, app, worker } = stack.processes;
  tellEnd(api);
  tellEnd(app);
  const again = `The runs wait for a worker. Start another:  ${process.stdin.isTTY ? 'Enter in this terminal, or  ' : ''}kill -USR2 ${process.pid}\n`;
  tellEnd(worker(), again);
  const startWorker = async (): Promise<void> => {
    try {
      const next = await stack.startWorker();
      process.stdout.write(`${next.name} runs, as process ${next.pid}\n`);
      tellEnd(next, again);
    } catch (error) {
      process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    }
  };
  process.on('SIGUSR2', () => void startWorker());
  if (process.stdin.isTTY) {
    process.stdin.on('data', () => {
      // Enter beside a worker that runs starts none.
      if (worker().exit() !== undefined) void startWorker();
    });
  }
  process.stdout.write(
    `worker      process ${worker().pid}; to see a run survive it: kill -KILL ${worker().pid}\n`,
  );
  setInterval(() => {}, 1 << 30);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
