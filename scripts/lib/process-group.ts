import { readFileSync, readdirSync } from 'node:fs';

/**
 * Whether a process of this group still runs. A dead one that nobody has collected does not count: in a container the
 * first process may never collect what it inherits, and such a group can be signalled for ever.
 */
export function isGroupAlive(group: number): boolean {
  try {
    process.kill(-group, 0);
  } catch {
    return false;
  }
  let entries: string[];
  try {
    entries = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  } catch {
    // No /proc on this system: then the signal is all there is.
    return true;
  }
  return entries.length === 0 || entries.some((pid) => isRunningMember(pid, group));
}

function isRunningMember(pid: string, group: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name stands in parentheses and may hold spaces; after it: state, parent, group.
    const [state, , member] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return Number(member) === group && state !== 'Z' && state !== 'X';
  } catch {
    return false;
  }
}
