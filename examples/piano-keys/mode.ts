/**
 * Which store serves, and whether it takes writes. The mode can be read and set while the application runs:
 *
 *   sqlite ──▶ sqlite-held ──▶ postgres-held ──▶ postgres        and back, in any order; held = reads only
 *
 * Each setting, also of the value that stands already, has a generation of its own, and names the generation that it
 * follows: of two that read the same mode, one can set it. Mode and generation are on disk before they hold.
 */
import { open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';

export const MODES = ['sqlite', 'sqlite-held', 'postgres-held', 'postgres'] as const;
export type Mode = (typeof MODES)[number];
export type ModeState = { value: Mode; generation: number };

export type ModeSwitch = {
  current(): ModeState;
  /**
   * Sets the mode where `generation` is the current one; undefined otherwise. Writes that have begun end first, and
   * those that come meanwhile wait, so when it answers no write of the old mode is still under way.
   */
  set(value: Mode, generation: number): Promise<ModeState | undefined>;
  /** Runs a write in the mode that holds; undefined, and nothing was run, where writes are held. */
  write<T>(work: (mode: Mode) => Promise<T>): Promise<T | undefined>;
};

export function isMode(value: unknown): value is Mode {
  return MODES.some((mode) => mode === value);
}

export function isHeld(mode: Mode): boolean {
  return mode.endsWith('-held');
}

/** Reads the state file; a missing one means `sqlite`, generation 1. */
export async function openModeSwitch(file: string): Promise<ModeSwitch> {
  let state = await load(file);
  /** Settled, or the changes that are under way: writes wait for them. */
  let changes: Promise<unknown> = Promise.resolve();
  const writes = new Set<Promise<unknown>>();

  async function change(value: Mode, generation: number): Promise<ModeState | undefined> {
    if (generation !== state.generation) return undefined;
    await Promise.allSettled(writes);
    const next = { value, generation: generation + 1 };
    await save(file, next);
    state = next;
    return next;
  }

  return {
    current: () => state,
    set(value, generation) {
      const result = changes.then(() => change(value, generation));
      changes = Promise.allSettled([result]);
      return result;
    },
    async write(work) {
      for (let seen: unknown; seen !== changes; await changes) seen = changes;
      if (isHeld(state.value)) return undefined;
      const running = work(state.value);
      writes.add(running);
      try {
        return await running;
      } finally {
        writes.delete(running);
      }
    },
  };
}

async function load(file: string): Promise<ModeState> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT')
      return { value: 'sqlite', generation: 1 };
    throw error;
  }
  const { value, generation }: Partial<ModeState> = JSON.parse(text);
  if (!isMode(value) || !Number.isSafeInteger(generation) || generation === undefined) {
    throw new Error(
      `${file} holds ${text.trim()}, expected a mode and its generation; restore it from a backup.`,
    );
  }
  return { value, generation };
}

async function save(file: string, state: ModeState): Promise<void> {
  const beside = `${file}.new`;
  await flushed(beside, 'w', (handle) => handle.writeFile(`${JSON.stringify(state)}\n`));
  await rename(beside, file);
  await flushed(dirname(file), 'r');
}

async function flushed(
  path: string,
  flags: string,
  work?: (handle: Awaited<ReturnType<typeof open>>) => Promise<void>,
): Promise<void> {
  const handle = await open(path, flags);
  try {
    await work?.(handle);
    await handle.sync();
  } finally {
    await handle.close();
  }
}
