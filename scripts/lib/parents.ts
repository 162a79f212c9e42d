/**
 * Whether npm, which started this process, is still there. npm that is killed takes neither its shell nor this process
 * with it, so both are looked at: this process's own parent, and the parent of the shell between it and npm.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const LOOK_MS = 500;
const SHELLS = ['sh', 'dash', 'bash', 'zsh', 'ash', 'busybox', 'ksh'];

/**
 * Calls `gone` once when npm is gone, at most about half a second later. Does nothing where npm did not start this process.
 * Gives back how to stop looking; looking alone keeps no process alive.
 */
export function onNpmGone(gone: () => void): () => void {
  if (process.env['npm_lifecycle_event'] === undefined) return () => {};
  const parent = process.ppid;
  const known = parentOf(parent);
  // npm starts a shell, and some shells put the program in their own place.
  const isShell = known !== undefined && SHELLS.includes(known.name);
  const timer = setInterval(() => {
    if (process.ppid === parent && (!isShell || parentOf(parent)?.parent === known.parent)) return;
    clearInterval(timer);
    gone();
  }, LOOK_MS);
  timer.unref();
  return () => clearInterval(timer);
}

/** The name of a process and who its parent is; undefined where it is gone, or nobody can say. */
function parentOf(pid: number): { name: string; parent: number } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name stands in parentheses and may hold spaces; after it: state, parent.
    const end = stat.lastIndexOf(')');
    const parent = Number(stat.slice(end + 2).split(' ')[1]);
    return { name: stat.slice(stat.indexOf('(') + 1, end), parent };
  } catch {
    return process.platform === 'linux' ? undefined : parentByPs(pid);
  }
}

function parentByPs(pid: number): { name: string; parent: number } | undefined {
  try {
    const text = execFileSync('ps', ['-o', 'ppid=,comm=', '-p', String(pid)], { encoding: 'utf8' });
    const [, parent, name = ''] = /^\s*(\d+)\s+(.*?)\s*$/.exec(text) ?? [];
    return parent === undefined
      ? undefined
      : { name: name.slice(name.lastIndexOf('/') + 1), parent: Number(parent) };
  } catch {
    return undefined;
  }
}
