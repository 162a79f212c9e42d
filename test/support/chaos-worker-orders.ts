/** How a test tells a chaos worker what to do, and learns that it was done. */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as pause } from 'node:timers/promises';

export const ORDER_VARIABLE = 'CHAOS_ORDER';
/** Suffix of the file that says who carried the order out. */
export const STRUCK = '.struck';
/** Suffix of the file that says how a frozen attempt ended after all. */
export const ENDED = '.ended';

export type Order = {
  phase: string;
  direction: 'run' | 'probe' | 'undo' | 'before' | 'after';
  /**
   * before  nothing of the effect has happened       soon      its first request is under way
   * after   it has happened, the journal knows not   progress  some of it is done
   *                                                  change    a switch is just being set
   */
  moment: 'before' | 'soon' | 'progress' | 'change' | 'after';
  how: 'kill' | 'freeze';
  /** With the moment `soon`: milliseconds after the beginning. Default 4. */
  delayMs?: number;
};

const CHAOS_WORKER = fileURLToPath(new URL('./chaos-worker.ts', import.meta.url));
const WAIT_MS = 60_000;

export type Chaos = {
  /** For `makeLaunchWorld`. */
  worker: { program: string; variables: Record<string, string> };
  /** Replaces the order before. */
  order(order: Order): Promise<void>;
  /** The pid of the worker that carried the order out; waits for it. */
  struck(): Promise<number>;
  /** How the frozen attempt ended; waits for it. */
  ended(): Promise<{ ok: boolean; message?: string; pid: number }>;
};

/** Orders lie in `folder`. */
export function makeChaos(folder: string): Chaos {
  const file = join(folder, 'chaos-order.json');
  return {
    worker: { program: CHAOS_WORKER, variables: { [ORDER_VARIABLE]: file } },
    async order(order) {
      await Promise.all([STRUCK, ENDED].map((suffix) => rm(`${file}${suffix}`, { force: true })));
      await writeFile(file, JSON.stringify(order));
    },
    struck: async () => Number(await contents(`${file}${STRUCK}`, (text) => /^\d+$/.test(text))),
    async ended() {
      const text = await contents(`${file}${ENDED}`, (found) => found.endsWith('}'));
      return JSON.parse(text) as { ok: boolean; message?: string; pid: number };
    },
  };
}

async function contents(file: string, isWhole: (text: string) => boolean): Promise<string> {
  const deadline = Date.now() + WAIT_MS;
  for (;;) {
    const text = await readFile(file, 'utf8').catch(() => '');
    if (isWhole(text)) return text;
    if (Date.now() > deadline) throw new Error(`No worker wrote ${file} within ${WAIT_MS} ms.`);
    await pause(20);
  }
}
