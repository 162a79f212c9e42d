export function withFolderLock<T>(
  path: string,
  work: () => Promise<T>,
  options?: { waiting?: (seconds: number) => void; staleMs?: number },
): Promise<T>;
