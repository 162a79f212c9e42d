/**
 * The import in a process of its own, as a worker holds it: the phases themselves, on contexts like those that the
 * interceptor makes. Its last message says how long each took and the most memory that it ever had.
 */
import { readFile } from 'node:fs/promises';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { databaseImport } from '../activities/database-import.ts';
import type { ImportParams } from '../activities/lib/import-source.ts';
import type { Json } from '../procedures/plan.ts';
import { makePhaseContext, postgresTarget } from '../test/support/phase-context.ts';
import { startSwitchServer } from '../test/support/switch-server.ts';

export type ImportWork = { path: string; url: string; folder: string; chunkRows: number };
/** Milliseconds by phase, bytes at the peak, and the longest time for which the event loop stood still. */
export type ImportMeasured = {
  phases: Record<(typeof PHASES)[number], number>;
  peakBytes: number;
  blockedMs: number;
  verified: string;
};

const PHASES = ['inspect', 'hold-writes', 'copy', 'verify'] as const;
const LOOK_EVERY_MS = 5;

async function run({ path, url, folder, chunkRows }: ImportWork): Promise<ImportMeasured> {
  await using switchServer = await startSwitchServer(['sqlite', 'sqlite-held', 'postgres-held', 'postgres']);
  const { target, secrets } = postgresTarget(url);
  const outputs: Record<string, Record<string, Json>> = {};
  const params: ImportParams = {
    step: 'database',
    source: 'src',
    target: 'dst',
    switch: 'mode',
    chunkRows,
    schema: 'auto',
    mapping: {},
    skip: [],
    timezone: null,
    reverseCapture: false,
  };
  const delay = monitorEventLoopDelay({ resolution: LOOK_EVERY_MS });
  delay.enable();
  const phases = { inspect: 0, 'hold-writes': 0, copy: 0, verify: 0 };
  let verified = '';
  for (const phase of PHASES) {
    const context = makePhaseContext({
      targets: { src: { kind: 'sqlite', path }, dst: target, mode: switchServer.target },
      secrets: { ...secrets, TEST_SWITCH_TOKEN: switchServer.token },
      folder,
      outputs,
    });
    const startedAt = performance.now();
    const result = await databaseImport[phase].run(params, context);
    phases[phase] = performance.now() - startedAt;
    if (result.verdict !== 'pass')
      throw new Error(`${phase} ended with ${result.verdict}: ${result.summary}`);
    outputs[`database/${phase}`] = result.output ?? {};
    verified = result.summary;
  }
  return { phases, peakBytes: await peakBytes(), blockedMs: delay.max / 1e6, verified };
}

/** The most that the process ever had in memory, as Linux counts it. */
async function peakBytes(): Promise<number> {
  const status = await readFile('/proc/self/status', 'utf8');
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}

if (import.meta.main) {
  try {
    process.send?.(await run(JSON.parse(process.argv[2] ?? '{}') as ImportWork));
  } catch (error) {
    process.send?.({ failed: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  }
  process.disconnect?.();
}
