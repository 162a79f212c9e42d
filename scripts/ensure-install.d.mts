export function ensureInstall(options: {
  root: string;
  log: (line: string) => void;
  npm?: string;
}): Promise<boolean>;
export function isInstalled(root: string): boolean;
