/**
 * A worker that kills or freezes itself where an order says so, once. The order is a file; whoever carries it out renames
 * it first, so that neither the next attempt nor another worker does it again.
 */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { PhaseContext } from '../../activities/phase.ts';
import type { Activity } from '../../activities/index.ts';
import { runWorker } from '../../worker.ts';
import type { Order } from './chaos-worker-orders.ts';
import { ENDED, ORDER_VARIABLE, STRUCK } from './chaos-worker-orders.ts';

/** With the moment `soon`: the first request or statement is under way by then. */
const SOON_MS = 4;
/** With the moment `change`: between the check of the fence and the answer of the switch. */
const CHANGE_MS = 1;
/** With the moment `progress`: some of the work is done, and some is not. */
const PROGRESS_TURNS = 3;

type Act = (params: unknown, context: PhaseContext) => Promise<unknown>;

const file = process.env[ORDER_VARIABLE] ?? '';

/** Takes the order if it is for this activity. */
function takeOrder({ phase, direction }: PhaseContext): Order | undefined {
  if (!existsSync(file)) return undefined;
  const order = JSON.parse(readFileSync(file, 'utf8')) as Order;
  return order.phase === phase && order.direction === direction ? order : undefined;
}

function strike(order: Order): void {
  try {
    renameSync(file, `${file}${STRUCK}`);
  } catch {
    return;
  }
  writeFileSync(`${file}${STRUCK}`, String(process.pid));
  process.kill(process.pid, order.how === 'kill' ? 'SIGKILL' : 'SIGSTOP');
}

function disturbed(context: PhaseContext, order: Order): PhaseContext {
  let turns = 0;
  // Who wakes up hears at once that nobody waits for him any more; the fence must hold without that.
  const deaf = order.how === 'freeze';
  return {
    ...context,
    signal: deaf ? new AbortController().signal : context.signal,
    progress(progress) {
      turns += 1;
      if (order.moment === 'progress' && turns === PROGRESS_TURNS) strike(order);
      if (!deaf) context.progress(progress);
    },
    async assertCurrent() {
      await context.assertCurrent();
      if (order.moment !== 'change') return;
      // Frozen here, the request itself comes late; killed a moment later, it is under way.
      if (order.how === 'freeze') strike(order);
      else setTimeout(() => strike(order), CHANGE_MS);
    },
  };
}

async function perform(act: Act, params: unknown, context: PhaseContext): Promise<unknown> {
  const order = takeOrder(context);
  if (order === undefined) return act(params, context);
  if (order.moment === 'before') strike(order);
  if (order.moment === 'soon') setTimeout(() => strike(order), order.delayMs ?? SOON_MS);
  try {
    const result = await act(params, disturbed(context, order));
    // What was over before its moment came is struck at its end.
    strike(order);
    noteEnd({ ok: true });
    return result;
  } catch (error) {
    noteEnd({ ok: false, message: error instanceof Error ? error.message : String(error) });
    throw error;
  }
}

/** How the attempt that was struck came to its end: only one that was frozen gets here. */
function noteEnd(end: { ok: boolean; message?: string }): void {
  writeFileSync(`${file}${ENDED}`, JSON.stringify({ ...end, pid: process.pid }));
}

const wrap = (_name: string, act: Activity): Activity => {
  const inner = act as unknown as Act;
  const outer: Act = (params, context) => perform(inner, params, context);
  return outer;
};

await runWorker({ pools: ['default'], variables: process.env, wrap });
process.exit(0);
