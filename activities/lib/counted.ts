/** Numbers of things in words, as people read them at night: `1 row`, `1,204,381 rows`. */
export function counted(count: number | bigint, one: string, several = `${one}s`): string {
  return `${grouped(count)} ${BigInt(count) === 1n ? one : several}`;
}

/** `1,204,381`. */
export function grouped(count: number | bigint): string {
  return count.toLocaleString('en-US');
}
